"""etcd's health as this node sees it, for `agent status`: one line, never an error."""

from dataclasses import dataclass

from agent.aws.http import Timeouts
from agent.etcd.admin import EtcdClients, look_at
from agent.etcd.maintenance import LEARNER, member_status
from units.errors import BootwrightError
from units.host import Probes
from units.paths import authority_bundle, pem

_ASK = Timeouts(connect=1.5, read=3.0, total=4.0)  # a screen waits for it


@dataclass(frozen=True, slots=True)
class EtcdHealth:
    name: str
    ready: bool
    detail: str
    version: str = ""
    leader: str = ""  # the leading member's name, `none` without one
    members: int = 0
    database_bytes: int = 0


def local_clients(client_port: int) -> EtcdClients:
    """The member of this machine, with this machine's own certificate."""
    return local_clients_at(f"https://127.0.0.1:{client_port}")


def local_clients_at(url: str) -> EtcdClients:
    return EtcdClients((url,), authority_bundle("etcd-clients"), pem("etcd", "healthcheck-client"))


def readiness(name: str, metrics_port: int, probes: Probes) -> str:
    """Empty if the member is ready, else what it says: the metrics port tells even when no client is served."""
    answer = probes.get(f"http://127.0.0.1:{metrics_port}/readyz")
    if answer is None:
        return f"nothing answers on port {metrics_port}: journalctl -u bootwright-etcd-{name}"
    return "" if answer.status == 200 else answer.body.strip()[:300]


def etcd_health(
    name: str, *, client_port: int, metrics_port: int, probes: Probes, clients: EtcdClients | None = None
) -> EtcdHealth:
    """Never raises: an etcd that cannot be asked is what status is for."""
    said = readiness(name, metrics_port, probes)
    clients = clients or local_clients(client_port)
    try:
        with clients.gateway() as gateway:
            own = member_status(gateway, timeouts=_ASK)
            if own.learner:  # which since 3.5.19 says so itself, among much else
                return EtcdHealth(name, ready=False, detail=LEARNER, version=own.version)
            if said:
                return EtcdHealth(name, ready=False, detail=said)
            look = look_at(clients, gateway, linearizable=False)
    except BootwrightError as error:
        return EtcdHealth(name, ready=False, detail=said or f"the port is ready, but a client is refused: {error}")
    names = {seen.member.id: seen.member.name for seen in look.members}
    return EtcdHealth(
        name,
        ready=True,
        detail="ready",
        version=own.version,
        leader=names.get(own.leader, "none"),
        members=len(look.members),
        database_bytes=own.database_bytes,
    )
