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
from tests.etcd_machines.config import AUTHORITIES, ZONE, Config
from tests.etcd_machines.ebs import EbsDouble
from tests.etcd_machines.network import Socket, Switch, switched_network
from tests.etcd_machines.store import PREFIX, BucketDouble
from tests.lab.cache import CHECKOUT
from tests.real_etcd.binaries import binaries
from units.bootstrap_record import BootstrapRecord, decode_record, record_key

READY_SECONDS = 150.0  # a member gives its etcd 120 s, and two cores carry all machines of all tests


@dataclass
class Volume:
    volume_id: str
    member: str
    disk: Path  # a folder, or an image of a file system with an end


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
            member=self.volume.member,
            members=list(world.members),
            instance=self.instance,
            address=self.socket.address,
            binaries=str(binaries()),
            **world.settings,
        )
        world.ebs.set_instance(self.instance, "running")
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
        """Its volume stays attached: the instance runs on for EC2, or comes back."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def terminate(self) -> None:
        self.power_cut()
        self.world.ebs.set_instance(self.instance, "terminated")

    def sh(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """In its namespaces, as root on it."""
        assert self.process is not None
        inside = ["nsenter", f"--mount=/proc/{self.process.pid}/ns/mnt", f"--net=/proc/{self.socket.holder}/ns/net"]
        return subprocess.run([*inside, *command], capture_output=True, text=True, check=False, timeout=60)

    @property
    def status(self) -> dict[str, Any]:
        return _read(self._status_path)

    @property
    def told(self) -> dict[str, Any]:
        """The status object of the node with what the last round of care saw; empty before the first."""
        return _read(self.world.shared / "status" / f"{self.instance}.node.json")

    @property
    def conditions(self) -> dict[str, dict[str, str]]:
        return {one["code"]: one for one in self.told.get("conditions", ())}

    @property
    def etcd_seen(self) -> dict[str, Any]:
        """What `agent etcd status` shows."""
        return dict(next(iter(self.told.get("etcd", ())), {}))

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


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}


@dataclass
class World:
    """`settings`: what each machine is told beyond who it is (`tests.etcd_machines.config.Config`)."""

    shared: Path
    switch: Switch
    members: Sequence[str]
    settings: dict[str, Any] = field(default_factory=dict)
    machines: list[Machine] = field(default_factory=list)
    _volumes: int = 0

    @cached_property
    def bucket(self) -> BucketDouble:
        return BucketDouble(self.shared)

    @cached_property
    def ebs(self) -> EbsDouble:
        return EbsDouble(self.shared)

    def stored(self, key: str) -> bytes | None:
        """An object by its key in the cluster's folder."""
        return self.bucket.read(PREFIX + key)

    @property
    def record(self) -> BootstrapRecord:
        content = self.stored(record_key("main"))
        assert content is not None
        return decode_record(content, record_key("main"))

    @property
    def backups(self) -> list[str]:
        """Names, the oldest first."""
        folder = self.bucket.objects / PREFIX / "etcd/main/backups"
        return sorted(path.parent.name for path in folder.glob("*/meta.json"))

    def volume(self, member: str, *, megabytes: int | None = None) -> Volume:
        """Empty, formatted, unattached: as units.storage leaves it. The member's former volume is deleted by it."""
        self._volumes += 1
        volume_id, disk = f"vol-{self._volumes:017}", self.shared / "volumes" / f"{self._volumes}"
        if megabytes is None:
            disk.mkdir(parents=True)
        else:
            disk = disk.with_suffix(".img")
            subprocess.run(["truncate", f"--size={megabytes}M", disk], check=True)
            subprocess.run(["mkfs.ext4", "-q", "-m0", disk], check=True)
        self.ebs.create(volume_id, f"{member}/{','.join(self.members)}", ZONE, disk)
        return Volume(volume_id, member, disk)

    def machine(self, volume: Volume, *, socket: Socket | None = None, former_end: bool = True) -> Machine:
        """A new instance for the volume. Former ones without power are terminated by it; one that runs holds on."""
        for former in self.machines if former_end else ():
            if former.volume.member == volume.member and former.process is None:
                former.terminate()
        made = Machine(self, f"i-{len(self.machines):017}", socket or self.switch.socket(), volume)
        self.machines.append(made)
        return made

    def one_of_each(self, *, megabytes: int | None = None) -> list[Machine]:
        return [self.machine(self.volume(member, megabytes=megabytes)) for member in self.members]

    def step_clock(self, machine: Machine, seconds: int) -> None:
        """The agent's wall clock on this instance, from now on."""
        (self.shared / "clocks" / machine.instance).write_text(f"{seconds}")

    def care(self) -> None:
        """From now on the rounds mend what they see (machines with `care=False` only tell of it before)."""
        (self.shared / "care").touch()

    def look_away(self) -> None:
        """No machine's agent polls or runs again before `look_again`: the minute until the next poll of a node."""
        (self.shared / "away").touch()

    def look_again(self) -> None:
        (self.shared / "away").unlink()

    def pass_time(self, seconds: float) -> None:
        """For what must last: nothing is waited for."""
        time.sleep(seconds)

    def holder(self, member: str) -> Machine:
        (found,) = [machine for machine in self.running() if machine.volume.member == member]
        return found

    def leader(self) -> Machine:
        for machine in self.running():
            said = self.etcdctl(machine, "endpoint", "status", "-w", "json")
            if said.returncode == 0:
                status = json.loads(said.stdout)[0]["Status"]
                if status["leader"] == status["header"]["member_id"]:
                    return machine
        raise AssertionError("nobody leads")

    def back_up(self) -> str:
        """A backup by the leader's machine, now; its name. The machines must make their rounds."""
        wanted = self.shared / "backup-now"
        wanted.touch()
        self.wait_until("a backup", lambda: not wanted.exists())
        return self.backups[-1]

    def coordinator(self, *arguments: str) -> str:
        """What it says, both streams."""
        done = self.try_coordinator(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def try_coordinator(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The operator's own command, on the same store."""
        command = [sys.executable, "-m", "coordinator", *arguments]
        store = [f"--store=file://{self.bucket.objects}", f"--cluster={PREFIX.rstrip('/')}", f"--keys={self.shared}/no"]
        return subprocess.run([*command, *store], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60)

    def running(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.process is not None]

    def etcdctl(self, machine: Machine, *arguments: str, timeout: float = 10.0) -> "subprocess.CompletedProcess[str]":
        """Through this machine's etcd, from the switch's side."""
        return subprocess.run(
            self.etcdctl_command(machine, f"--command-timeout={timeout:.0f}s", *arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout + 20,
            env={},
        )

    def etcdctl_command(self, machine: Machine, *arguments: str) -> list[str]:
        flags = self.client_flags(f"https://{machine.socket.address}:2379")
        return [*self.switch.inside, str(binaries() / "etcdctl"), *flags, *arguments]

    def client_flags(self, endpoints: str) -> list[str]:
        shared = self.shared
        trust = [f"--cacert={shared}/etcd-clients.crt", f"--cert={shared}/operator.pem", f"--key={shared}/operator.pem"]
        return [f"--endpoints={endpoints}", *trust]

    def put_large(self, key: str, size: int) -> "subprocess.CompletedProcess[str]":
        """Through whoever takes it."""
        addresses = ",".join(f"https://{machine.socket.address}:2379" for machine in self.running())
        flags = [*self.client_flags(addresses), "--command-timeout=5s"]
        command = [*self.switch.inside, str(binaries() / "etcdctl"), *flags, "put", key]
        return subprocess.run(
            command, input="x" * size, capture_output=True, text=True, check=False, timeout=30, env={}
        )

    def serves(self, machine: Machine) -> bool:
        """With a quorum behind it."""
        return self.etcdctl(machine, "endpoint", "health", timeout=5.0).returncode == 0

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
        lines = [str(self.stored(record_key("main")))]
        for machine in self.machines:
            on = "on" if machine.process else "off"
            lines.append(f"{machine.instance} {machine.volume} {on}: {machine.status}")
            lines += [machine.log[-1500:], machine.agent_log[-800:]]
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
def world_of(folder: Path, members: Sequence[str], **settings: Any) -> Iterator[World]:
    for name in ("status", "configs", "logs", "volumes", "clocks", "roots"):
        (folder / name).mkdir(parents=True)
    make_authorities(folder)
    with switched_network() as switch:
        world = World(folder, switch, members, settings)
        try:
            yield world
        finally:
            world.end()
