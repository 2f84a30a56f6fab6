"""Both ends of a TLS connection inside one process: Python's ssl module over memory, no sockets."""

import ssl
from pathlib import Path

import pytest

from pki.authority import Authority
from pki.chain import bundle

# Who connects to whom in a cluster: (client, server, a name that the client dials).
CONNECTIONS = [
    ("admin", "apiserver", "kubernetes"),
    ("kubelet-client", "apiserver", "10.99.0.5"),
    ("kube-controller-manager", "apiserver", "127.0.0.1"),
    ("kube-scheduler", "apiserver", "localhost"),
    ("kube-proxy", "apiserver", "kubernetes.default.svc"),
    ("agent", "apiserver", "::1"),
    ("super-admin", "apiserver", "kubernetes.default"),
    ("apiserver-kubelet-client", "kubelet-server", "10.99.0.5"),
    ("apiserver-etcd-client", "etcd-server", "127.0.0.1"),
    ("etcd-healthcheck-client", "etcd-server", "localhost"),
    ("etcd-server", "etcd-server", "127.0.0.1"),
    ("etcd-peer", "etcd-peer", "10.99.0.5"),
    ("kubelet-client", "issuer-server", "10.99.0.5"),
    ("apiserver-kubelet-client", "kube-scheduler-server", "127.0.0.1"),
    ("apiserver-kubelet-client", "kube-controller-manager-server", "localhost"),
]


def context(side: int, combined: bytes, trusted: bytes, path: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(side)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.verify_mode = ssl.CERT_REQUIRED
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    path.write_bytes(combined)
    made.load_cert_chain(path)
    made.load_verify_locations(cadata=trusted.decode())
    return made


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, dialled: str) -> tuple[dict, dict]:
    """What each end knows of the other once a byte has gone both ways; ssl.SSLError if either refuses."""
    upward, downward = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(downward, upward, server_hostname=dialled),
        server.wrap_bio(upward, downward, server_side=True),
    ]
    waiting = list(ends)
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                continue
        if not waiting:
            break
    assert not waiting
    for sender, receiver in (ends, ends[::-1]):
        sender.write(b"x")
        assert receiver.read(1) == b"x"
    seen_by_client, seen_by_server = (end.getpeercert() for end in ends)
    return seen_by_client, seen_by_server


def connect(tmp_path: Path, client, server, dialled: str, *, client_trusts=b"", server_trusts=b""):
    return handshake(
        context(ssl.PROTOCOL_TLS_CLIENT, client.combined, client_trusts or server.bundle, tmp_path / "client.pem"),
        context(ssl.PROTOCOL_TLS_SERVER, server.combined, server_trusts or client.bundle, tmp_path / "server.pem"),
        dialled,
    )


@pytest.mark.parametrize(("client", "server", "dialled"), CONNECTIONS)
def test_every_connection_of_a_cluster_comes_about(cluster, tmp_path, client: str, server: str, dialled: str) -> None:
    ours, theirs = cluster.issue(client), cluster.issue(server)
    seen_by_client, seen_by_server = connect(tmp_path, ours, theirs, dialled)
    assert (("commonName", theirs.request.common_name),) in seen_by_client["subject"]
    assert (("commonName", ours.request.common_name),) in seen_by_server["subject"]
    for organization in ours.request.organizations:
        assert (("organizationName", organization),) in seen_by_server["subject"]


def test_front_proxy_clients_are_trusted_by_their_own_authority_only(cluster, tmp_path) -> None:
    aggregated = cluster.issue("kube-scheduler-server")  # stands for any extension API server
    connect(tmp_path, cluster.issue("front-proxy-client"), aggregated, "localhost")
    with pytest.raises(ssl.SSLError):
        connect(
            tmp_path,
            cluster.issue("admin"),
            aggregated,
            "localhost",
            server_trusts=cluster.authorities["front-proxy"].certificate.pem,
        )


@pytest.mark.parametrize(
    ("client", "server", "dialled", "says"),
    [
        ("apiserver", "apiserver", "localhost", "certificate purpose"),
        ("kubelet-server", "apiserver", "localhost", "certificate purpose"),
        ("admin", "kubelet-client", "localhost", "certificate purpose"),
        ("admin", "apiserver", "evil.example", "match"),
        ("admin", "apiserver", "10.99.0.6", "match"),
    ],
    ids=["server as client", "kubelet's server as client", "client as server", "other name", "other address"],
)
def test_a_certificate_out_of_its_place_is_refused(cluster, tmp_path, client, server, dialled, says) -> None:
    with pytest.raises(ssl.SSLError, match=says):
        connect(tmp_path, cluster.issue(client), cluster.issue(server), dialled)


@pytest.mark.parametrize("outsider", ["admin", "etcd-peer", "front-proxy-client"])
def test_etcd_refuses_the_clients_of_every_other_authority(cluster, tmp_path, outsider: str) -> None:
    etcd = cluster.issue("etcd-server")
    with pytest.raises(ssl.SSLError):
        connect(tmp_path, cluster.issue(outsider), etcd, "localhost", server_trusts=etcd.bundle)


def test_a_whole_rotation_refuses_nobody(cluster, tmp_path) -> None:
    """etcd-pki.md 3.5: trust both, then sign anew, then forget the old one."""
    old, new = cluster.authorities["kubernetes"], Authority.create("kubernetes", cluster.now)
    both = bundle(new.certificate.pem, old.certificate.pem)
    pairs = [(client, server) for client in (old, new) for server in (old, new)]
    for client, server in pairs:
        connect(
            tmp_path,
            cluster.issue("kubelet-client", by=client),
            cluster.issue("apiserver", by=server),
            "localhost",
            client_trusts=both,
            server_trusts=both,
        )
    with pytest.raises(ssl.SSLError):
        connect(
            tmp_path,
            cluster.issue("kubelet-client", by=old),
            cluster.issue("apiserver", by=new),
            "localhost",
            server_trusts=new.certificate.pem,
        )


def test_an_expired_client_is_refused(cluster, tmp_path, later) -> None:
    past = Authority.create(
        "kubernetes", later(days=-20), lifetime=cluster.authorities["kubernetes"].certificate.lifetime
    )
    expired = cluster.issue("admin", by=past, now=later(days=-10))
    with pytest.raises(ssl.SSLError, match="expired"):
        connect(tmp_path, expired, cluster.issue("apiserver"), "localhost")
