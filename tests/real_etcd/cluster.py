"""A cluster of real etcd processes on 127.0.0.1: certificates of our own profiles, clients must show theirs."""

import fcntl
import itertools
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest
from tests.real_etcd.binaries import binaries

START_SECONDS = 60


_LANE = 100  # ports, of one test process: no other run of these tests takes them while a member is down
_FIRST, _LAST = 20000, 32000  # below the range that the kernel hands out to clients


@cache
def _lane() -> tuple[Iterator[int], int]:
    """This process's own ports round and round, the last used come last; and the descriptor that keeps them so."""
    folder = Path(tempfile.gettempdir()) / "bootwright-test-ports"
    folder.mkdir(exist_ok=True)
    for first in range(_FIRST, _LAST, _LANE):
        descriptor = os.open(folder / str(first), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
        else:
            return itertools.cycle(range(first, first + _LANE)), descriptor
    raise RuntimeError("no free ports on loopback: every lane belongs to a running test")


def free_ports(count: int) -> list[int]:
    """Of this process's own lane, those that nobody listens on."""
    found: list[int] = []
    with ExitStack() as held:
        for port in itertools.islice(_lane()[0], _LANE):
            one = held.enter_context(socket.socket())
            # What a member closed a minute ago waits in TIME_WAIT, which keeps no listener off.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise RuntimeError("no free ports on loopback")


@dataclass(frozen=True)
class Pki:
    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Pki":
        folder.mkdir(parents=True)
        now = datetime.now(UTC)
        for profile, name in (("etcd-server", "member"), ("etcd-peer", "member"), ("etcd-healthcheck-client", "")):
            request = CertificateRequest(
                profile=profile, name=name, ip_addresses=("10.99.0.5",) if name else (), dns_names=()
            )
            path = folder / f"{request.authority}.crt"
            authority = _authority(folder, request.authority, now)
            path.write_bytes(authority.certificate.pem)
            key = make_key()
            certificate = authority.issue(request, load_public_key(public_key_pem(key)), now)
            (folder / f"{profile}.pem").write_bytes(combine(certificate, key))
        return cls(folder)

    @property
    def authorities(self) -> str:
        return str(self.folder / "etcd-clients.crt")

    @property
    def client(self) -> str:
        return str(self.folder / "etcd-healthcheck-client.pem")

    @property
    def server(self) -> str:
        return str(self.folder / "etcd-server.pem")


_KNOWN: dict[tuple[Path, str], Authority] = {}


def _authority(folder: Path, name: str, now: datetime) -> Authority:
    return _KNOWN.setdefault((folder, name), Authority.create(name, now))  # type: ignore[arg-type]


@dataclass
class Member:
    name: str
    client_port: int
    peer_port: int
    metrics_port: int
    data: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def client_url(self) -> str:
        return f"https://127.0.0.1:{self.client_port}"

    @property
    def peer_url(self) -> str:
        return f"https://127.0.0.1:{self.peer_port}"

    @property
    def metrics_url(self) -> str:
        return f"http://127.0.0.1:{self.metrics_port}"


@dataclass
class RealCluster:
    folder: Path
    pki: Pki
    members: dict[str, Member]
    token: str = "token-g1"
    quota: int = 0
    flags: Sequence[str] = ()
    logs: list[Path] = field(default_factory=list)

    @property
    def client_urls(self) -> tuple[str, ...]:
        return tuple(member.client_url for member in self.members.values())

    @property
    def initial_cluster(self) -> str:
        return ",".join(f"{member.name}={member.peer_url}" for member in self.members.values())

    def start(self, *names: str, state: str = "new") -> None:
        for name in names or tuple(self.members):
            self._start(self.members[name], state)

    def _start(self, member: Member, state: str) -> None:
        assert member.process is None
        pki, log = self.pki.folder, self.folder / f"{member.name}.log"
        arguments = [
            str(binaries() / "etcd"),
            f"--name={member.name}",
            f"--data-dir={member.data}",
            f"--listen-client-urls={member.client_url}",
            f"--advertise-client-urls={member.client_url}",
            f"--listen-peer-urls={member.peer_url}",
            f"--initial-advertise-peer-urls={member.peer_url}",
            f"--initial-cluster={self.initial_cluster}",
            f"--initial-cluster-token={self.token}",
            f"--initial-cluster-state={state}",
            f"--listen-metrics-urls={member.metrics_url}",
            f"--cert-file={pki}/etcd-server.pem",
            f"--key-file={pki}/etcd-server.pem",
            f"--trusted-ca-file={pki}/etcd-clients.crt",
            "--client-cert-auth=true",
            f"--peer-cert-file={pki}/etcd-peer.pem",
            f"--peer-key-file={pki}/etcd-peer.pem",
            f"--peer-trusted-ca-file={pki}/etcd-peers.crt",
            "--peer-client-cert-auth=true",
            "--snapshot-count=1000",
            *([f"--quota-backend-bytes={self.quota}"] if self.quota else []),
            *self.flags,
        ]
        with log.open("ab") as output:
            member.process = subprocess.Popen(
                arguments, stdout=output, stderr=output, env={"PATH": "/usr/bin"}, start_new_session=True
            )

    def wait_ready(self, *names: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        for name in names or tuple(self.members):
            while not self.is_ready(name):
                member = self.members[name]
                assert member.process is not None
                ended = member.process.poll()
                if ended is not None or time.monotonic() > deadline:
                    log = (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]
                    raise AssertionError(f"etcd {name} is not ready (exit {ended}): {log}")
                time.sleep(0.05)

    def is_ready(self, name: str) -> bool:
        try:
            with urllib.request.urlopen(f"{self.members[name].metrics_url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self, *names: str, by: signal.Signals = signal.SIGKILL) -> None:
        for name in names or tuple(self.members):
            process = self.members[name].process
            if process is not None:
                process.send_signal(by)
                process.wait(30)
                self.members[name].process = None

    def etcdctl(self, *arguments: str, member: str = "") -> str:
        """As an operator would, for what the tests put in and look at."""
        one = self.members[member] if member else next(m for m in self.members.values() if m.process)
        command = [
            str(binaries() / "etcdctl"),
            f"--endpoints={one.client_url}",
            f"--cacert={self.pki.authorities}",
            f"--cert={self.pki.client}",
            f"--key={self.pki.client}",
            *arguments,
        ]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin"}
        ).stdout

    def put_many(self, count: int, size: int, *, prefix: str = "/k/") -> None:
        """Through the gateway of one member, over one connection; values of random bytes."""
        from agent.etcd.gateway import Gateway
        from agent.etcd.wire import encoded

        with Gateway(self.client_urls, self.pki.authorities, self.pki.client) as gateway:
            for number in range(count):
                value = os.urandom(size)
                gateway.call("/v3/kv/put", {"key": encoded(f"{prefix}{number:08}"), "value": encoded(value)})

    def leader(self) -> str:
        for name, member in self.members.items():
            if member.process is None:
                continue
            status = json.loads(self.etcdctl("endpoint", "status", "-w", "json", member=name))[0]["Status"]
            if status["leader"] == status["header"]["member_id"]:
                return name
        raise AssertionError("no leader")


@contextmanager
def real_cluster(
    folder: Path, names: Sequence[str] = ("a",), *, start: bool = True, **more: object
) -> Iterator[RealCluster]:
    ports = free_ports(3 * len(names))
    members = {
        name: Member(name, *ports[3 * number : 3 * number + 3], folder / name / "data")
        for number, name in enumerate(names)
    }
    for member in members.values():
        member.data.parent.mkdir(parents=True)
    cluster = RealCluster(folder, Pki.make(folder / "pki"), members, **more)  # type: ignore[arg-type]
    try:
        if start:
            cluster.start()
            cluster.wait_ready()
        yield cluster
    finally:
        cluster.kill()
