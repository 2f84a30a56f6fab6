"""etcd's health as this node sees it. The only file that names the etcd3 client (DESIGN section 3).

etcd3 0.12 drops the server's error texts, so what a person reads comes from the metrics port; the client answers what
that port does not know: members, leader, size.
"""

from dataclasses import dataclass
from pathlib import Path

from units.host import Probes
from units.paths import authority_bundle, pem

_SECONDS = 3


@dataclass(frozen=True, slots=True)
class EtcdHealth:
    name: str
    ready: bool
    detail: str
    version: str = ""
    leader: str = ""  # the leading member's name, `none` without one
    members: int = 0
    database_bytes: int = 0


def etcd_health(name: str, *, client_port: int, metrics_port: int, probes: Probes) -> EtcdHealth:
    """Never raises: an etcd that cannot be asked is what status is for."""
    answer = probes.get(f"http://127.0.0.1:{metrics_port}/readyz")
    if answer is None:
        unit = f"bootwright-etcd-{name}"
        return EtcdHealth(name, ready=False, detail=f"nothing answers on port {metrics_port}: journalctl -u {unit}")
    if answer.status != 200:
        return EtcdHealth(name, ready=False, detail=answer.body.strip()[:300])
    return _asked(name, client_port)


def _asked(name: str, client_port: int) -> EtcdHealth:
    credential = pem("etcd", "healthcheck-client")
    if not Path(credential).exists():
        return EtcdHealth(name, ready=True, detail="ready; no client certificate on this node")
    import etcd3
    import grpc

    try:
        client = etcd3.client(
            host="127.0.0.1",
            port=client_port,
            ca_cert=authority_bundle("etcd-clients"),
            cert_cert=credential,
            cert_key=credential,
            timeout=_SECONDS,
        )
        status = client.status()
        members = len(list(client.members))
    except (etcd3.Etcd3Exception, grpc.RpcError) as error:
        return EtcdHealth(name, ready=False, detail=f"the port is ready, but a client gets {type(error).__name__}")
    return EtcdHealth(
        name,
        ready=True,
        detail="ready",
        version=status.version,
        leader=status.leader.name if status.leader else "none",
        members=members,
        database_bytes=status.db_size,
    )
