"""All of a test's machines, volumes and the store, as whoever stands outside sees them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from pki.authority import Authority
from pki.certificate import combine
from pki.keys import dump_private_key, load_public_key, make_key, public_key_pem
from pki.request import CertificateRequest
from tests.etcd_machines.machine import AUTHORITIES, Config
from tests.etcd_machines.network import Socket, Switch, switched_network
from tests.etcd_machines.store import RecordsDouble
from tests.lab.cache import CHECKOUT
from tests.real_etcd.binaries import binaries
from units.bootstrap_record import BootstrapRecord, decode_record, record_key

READY_SECONDS = 150.0  # a member gives its etcd 120 s, and two cores carry all machines of all tests


@dataclass
class Volume:
    volume_id: str
    member: str
    folder: Path


@dataclass
class Machine:
    """One instance. Off until `power_on`; a power cut takes every process of it at once."""

    world: "World"
    instance: str
    socket: Socket
    volume: Volume
    process: "subprocess.Popen[bytes] | None" = None

    def power_on(self) -> None:
        assert self.process is None
        world = self.world
        self._status_path.unlink(missing_ok=True)
        config = Config(
            shared=str(world.shared),
            volume=str(self.volume.folder),
            volume_id=self.volume.volume_id,
            member=self.volume.member,
            members=list(world.members),
            instance=self.instance,
            address=self.socket.address,
            etcd=str(binaries() / "etcd"),
        )
        path = world.shared / "configs" / f"{self.instance}.json"
        path.write_text(json.dumps(asdict(config)))
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL"]
        program = [sys.executable, "-m", "tests.etcd_machines.machine", str(path)]
        with (world.shared / "logs" / f"{self.instance}.agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*self.socket.inside, *namespaces, *program],
                cwd=CHECKOUT,
                stdout=log,
                stderr=log,
                env={**os.environ, "TMPDIR": "/run"},
            )

    def power_cut(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    @property
    def status(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._status_path.read_text()))
        except FileNotFoundError:
            return {}

    @property
    def is_ready(self) -> bool:
        return self.status.get("stage") == "ready"

    @property
    def log(self) -> str:
        """etcd's, of all boots of this instance."""
        path = self.world.shared / "logs" / f"{self.instance}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def agent_log(self) -> str:
        path = self.world.shared / "logs" / f"{self.instance}.agent.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def _status_path(self) -> Path:
        return self.world.shared / "status" / f"{self.instance}.json"


@dataclass
class World:
    shared: Path
    switch: Switch
    members: Sequence[str]
    machines: list[Machine] = field(default_factory=list)
    _volumes: int = 0

    @cached_property
    def records(self) -> RecordsDouble:
        return RecordsDouble(self.shared)

    @property
    def record(self) -> BootstrapRecord:
        content = self.records.read(record_key("main"))
        assert content is not None
        return decode_record(content, record_key("main"))

    def volume(self, member: str) -> Volume:
        """Empty, formatted, mounted: as units.storage leaves it."""
        self._volumes += 1
        folder = self.shared / "volumes" / f"{self._volumes}"
        folder.mkdir(parents=True)
        return Volume(f"vol-{self._volumes:017}", member, folder)

    def machine(self, volume: Volume, *, socket: Socket | None = None) -> Machine:
        made = Machine(self, f"i-{len(self.machines):017}", socket or self.switch.socket(), volume)
        self.machines.append(made)
        return made

    def one_of_each(self) -> list[Machine]:
        return [self.machine(self.volume(member)) for member in self.members]

    def running(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.process is not None]

    def etcdctl(self, machine: Machine, *arguments: str, timeout: float = 10.0) -> "subprocess.CompletedProcess[str]":
        """Through this machine's etcd, from the switch's side."""
        command = [
            str(binaries() / "etcdctl"),
            f"--endpoints=https://{machine.socket.address}:2379",
            f"--cacert={self.shared}/etcd-clients.crt",
            f"--cert={self.shared}/operator.pem",
            f"--key={self.shared}/operator.pem",
            f"--command-timeout={timeout:.0f}s",
            *arguments,
        ]
        return subprocess.run(
            [*self.switch.inside, *command], capture_output=True, text=True, check=False, timeout=timeout + 20, env={}
        )

    def put(self, machine: Machine, key: str, value: str) -> None:
        done = self.etcdctl(machine, "put", key, value)
        assert done.returncode == 0, done.stderr

    def get(self, machine: Machine, key: str) -> str:
        done = self.etcdctl(machine, "get", key, "--print-value-only")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def member_list(self, machine: Machine) -> list[dict[str, Any]]:
        done = self.etcdctl(machine, "member", "list", "-w", "json")
        assert done.returncode == 0, done.stderr
        return list(json.loads(done.stdout)["members"])

    def cluster_ids(self) -> set[int]:
        """What each running member calls its cluster: one number, or two clusters were formed."""
        said = [self.etcdctl(machine, "endpoint", "status", "-w", "json") for machine in self.running()]
        return {json.loads(one.stdout)[0]["Status"]["header"]["cluster_id"] for one in said if one.returncode == 0}

    def wait_until(self, name: str, condition: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{name}: not within {seconds:.0f} s\n{self.described()}"
            for machine in self.running():
                assert machine.process is not None
                assert machine.process.poll() is None, machine.agent_log[-3000:]
            time.sleep(0.1)

    def wait_until_ready(self, *machines: Machine) -> None:
        wanted = machines or tuple(self.running())
        self.wait_until("every machine is ready", lambda: all(machine.is_ready for machine in wanted))

    def described(self) -> str:
        lines = [json.dumps(self.records.read(record_key("main")), default=bytes.decode)]
        for machine in self.machines:
            on = "on" if machine.process else "off"
            lines.append(f"{machine.instance} {machine.volume} {on}: {machine.status}\n{machine.log[-1500:]}")
        return "\n".join(lines)

    def end(self) -> None:
        for machine in self.machines:
            machine.power_cut()


def make_authorities(shared: Path) -> None:
    now = datetime.now(UTC)
    for name in AUTHORITIES:
        authority = Authority.create(name, now)  # type: ignore[arg-type]
        (shared / f"{name}.crt").write_bytes(authority.certificate.pem)
        (shared / f"{name}.key").write_bytes(dump_private_key(authority.key).pem)
        if name == "etcd-clients":
            key = make_key()
            request = CertificateRequest(profile="etcd-healthcheck-client")
            certificate = authority.issue(request, load_public_key(public_key_pem(key)), now)
            (shared / "operator.pem").write_bytes(combine(certificate, key))


@contextmanager
def world_of(folder: Path, members: Sequence[str]) -> Iterator[World]:
    for name in ("status", "configs", "logs", "volumes"):
        (folder / name).mkdir(parents=True)
    make_authorities(folder)
    with switched_network() as switch:
        world = World(folder, switch, members)
        try:
            yield world
        finally:
            world.end()
