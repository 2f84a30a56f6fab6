"""Inside one machine: what systemd and the agent do on a node, for etcd alone. `python -m ... CONFIG`; never ends.

Real: the plan of units.services.etcd, files, certificates, /etc/hosts, probes, the client of the other members, etcd.
Doubles: systemd (one unit), the volume (a folder that is there), the store (a folder).
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.etcd.storage import NodeEtcdStorage
from agent.etcd_peers import refresh
from agent.linux.clock import LinuxClock
from agent.linux.files import LinuxFiles
from agent.linux.probes import LoopbackProbes
from pki.authority import Authority
from pki.certificate import load_certificate
from pki.keys import PrivateKeyPem, load_private_key
from tests.etcd_machines.access import Access, clients, no_bucket
from tests.etcd_machines.store import RecordsDouble, StoreDouble
from tests.units.sample import manifest as sample_manifest
from units import paths
from units.converge import converge
from units.facts import NodeFacts, sample_facts
from units.files import Directory
from units.host import HeldVolume, Host, UnitState, VolumeClaim
from units.manifest import Authority as PublicAuthority
from units.manifest import EtcdCluster, EtcdMember, Group, Manifest
from units.memory import MemoryHost, MemorySecrets
from units.plan import Plan
from units.resource import Resource
from units.services.base import authority_file, base
from units.services.etcd import etcd

MOUNT = "/var/lib/etcd/main"
UNIT = "bootwright-etcd-main.service"
ZONE = "eu-west-1a"
AUTHORITIES = ("etcd-clients", "etcd-peers")


@dataclass(frozen=True)
class Config:
    shared: str
    volume: str  # folder
    volume_id: str
    member: str
    members: list[str]
    instance: str
    address: str
    etcd: str  # the binary

    @classmethod
    def read(cls, path: str) -> "Config":
        return cls(**json.loads(Path(path).read_text()))


def manifest_of(shared: Path, member: str, members: list[str]) -> Manifest:
    groups = {name: f"cp-{name}" for name in members}
    sample = sample_manifest("control-plane")
    bundles = {name: (shared / f"{name}.crt").read_text() for name in AUTHORITIES}
    authorities = tuple(
        PublicAuthority(name=a.name, bundle=bundles.get(a.name, a.bundle)) for a in sample.trust.authorities
    )
    return sample.model_copy(
        update={
            "group": Group(name=groups[member], role="control-plane", zones=(ZONE,)),
            "etcd": (
                EtcdCluster(
                    name="main", members=tuple(EtcdMember(name=n, zone=ZONE, group=groups[n]) for n in members)
                ),
            ),
            "trust": sample.trust.model_copy(update={"authorities": authorities}),
        }
    )


def facts_of(config: Config) -> NodeFacts:
    return dataclasses.replace(
        sample_facts(zone=ZONE, region="eu-west-1"),
        instance_id=config.instance,
        private_ip=config.address,
        etcd_version=(3, 5),
    )


class VolumesDouble:
    """The one volume is attached and mounted: formats and mounts have tests of their own."""

    def __init__(self, held: HeldVolume) -> None:
        self._held = held

    def held(self, claim: VolumeClaim) -> HeldVolume | None:
        return self._held if self._held.member in claim.candidates else None


class SystemdDouble:
    """One unit, with what its text says of environment, conditions, restarts. Ends with the machine."""

    def __init__(self, binary: str, log: Path) -> None:
        self._binary, self._log = binary, log
        self._process: subprocess.Popen[bytes] | None = None
        self._wanted = False
        self._restarting = threading.Thread(target=self._keep_running, daemon=True)
        self._restarting.start()

    def state(self, unit: str) -> UnitState:
        del unit
        return UnitState(enabled=False, active="active" if self._wanted else "inactive")

    def reload_daemon(self) -> None: ...

    def start(self, unit: str) -> None:
        self._unit = Path(f"/etc/systemd/system/{unit}").read_text()
        self._wanted = True

    def restart(self, unit: str) -> None:
        self.start(unit)
        if self._process is not None:
            self._process.terminate()

    def _keep_running(self) -> None:
        while True:
            if self._wanted and (self._process is None or self._process.poll() is not None):
                self._process = self._spawn()
                self._wanted = self._process is not None
            time.sleep(0.2)

    def _spawn(self) -> "subprocess.Popen[bytes] | None":
        (environment,) = re.findall(r"^EnvironmentFile=(.+)$", self._unit, re.MULTILINE)
        if not Path(environment).exists():
            return None
        values = dict(line.split("=", 1) for line in Path(environment).read_text().split())
        joined = self._unit.replace("\\\n", " ")
        (command,) = re.findall(r"^ExecStart=/usr/bin/etcd (.+)$", joined, re.MULTILINE)
        arguments = [
            argument.replace("${INITIAL_CLUSTER_STATE}", values["INITIAL_CLUSTER_STATE"])
            for argument in command.split()
        ]
        with self._log.open("ab") as log:
            return subprocess.Popen([self._binary, *arguments], stdout=log, stderr=log, env={"PATH": "/usr/bin"})


def etcd_resources(manifest: Manifest, facts: NodeFacts) -> tuple[Resource, ...]:
    """All that is etcd's, but for what needs a disk or an account of its own."""
    first = [Directory(paths.PKI), Directory(paths.AUTHORITIES), *(authority_file(manifest, n) for n in AUTHORITIES)]  # type: ignore[arg-type]
    hosts = (r for r in base(manifest, facts) if r.key.startswith("hosts-block:"))  # a member must know its own name
    return (*first, *hosts, *(r for r in etcd(manifest, facts) if _can_be_here(r.key)))


def _can_be_here(key: str) -> bool:
    """Not accounts and disks, nor what systemd runs beside the member."""
    kind, _, name = key.partition(":")
    return kind not in ("user", "volume", "mount") and (kind != "unit" or name == UNIT)


def secrets_of(shared: Path) -> MemorySecrets:
    authorities: dict[Any, Authority] = {}
    for name in AUTHORITIES:
        key = load_private_key(PrivateKeyPem((shared / f"{name}.key").read_bytes()))
        authorities[name] = Authority(load_certificate((shared / f"{name}.crt").read_bytes()), key)
    return MemorySecrets(authorities, {}, datetime.now(UTC))


class Node:
    def __init__(self, config: Config) -> None:
        self.config, self.shared = config, Path(config.shared)
        self.status = self.shared / "status" / f"{config.instance}.json"
        self.manifest = manifest_of(self.shared, config.member, config.members)
        facts = facts_of(config)
        self.plan = Plan(etcd_resources(self.manifest, facts))
        log = self.shared / "logs" / f"{config.instance}.log"
        clock = LinuxClock(lambda reason: self.tell("converging", waiting_for=reason))
        unused = MemoryHost(secrets_of(self.shared)).host
        self.host: Host = dataclasses.replace(
            unused,
            files=LinuxFiles(),
            systemd=SystemdDouble(config.etcd, log),  # type: ignore[arg-type]  # never enables nor stops
            volumes=VolumesDouble(HeldVolume(config.volume_id, config.member, "/dev/none")),  # type: ignore[arg-type]
            records=RecordsDouble(self.shared),
            probes=LoopbackProbes(),
            clock=clock,
            etcd=Access(self.shared),
            etcd_storage=NodeEtcdStorage(no_bucket, clients),
        )

    def tell(self, stage: str, **more: str) -> None:
        document = {"stage": stage, "at": time.monotonic(), "member": self.config.member, **more}
        rough = self.status.with_suffix(".rough")
        rough.write_text(json.dumps(document))
        rough.rename(self.status)

    def run(self) -> None:
        while True:
            report = converge(self.plan, self.host)
            if report.failure:
                failure = report.failure
                stage = "refused" if failure.exit_code == 3 else "failed"
                self.tell(stage, code=failure.code, message=failure.message, remedy=failure.remedy)
                time.sleep(0.5)
                continue
            self.tell("ready")
            for _poll in range(5):
                time.sleep(1.0)
                refresh(lambda: StoreDouble(self.shared), "")


def become_a_machine(config: Config) -> None:
    """In the namespaces that the caller made: an /etc, /run and /var/lib of this machine's own, and the volume."""
    for path in ("/etc", "/run", "/var/lib"):
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path], check=True)
    Path("/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\netcd:x:2379:2379::/var/lib/etcd:/bin/false\n")
    Path("/etc/group").write_text("root:x:0:\netcd:x:2379:\n")
    Path("/etc/hosts").write_text("127.0.0.1 localhost\n")
    Path("/etc/nsswitch.conf").write_text("hosts: files\npasswd: files\ngroup: files\n")
    Path("/run/bootwright").mkdir()
    Path(MOUNT).mkdir(parents=True)
    subprocess.run(["mount", "--bind", config.volume, MOUNT], check=True)


def main() -> None:
    config = Config.read(sys.argv[1])
    become_a_machine(config)
    os.nice(5)
    Node(config).run()


if __name__ == "__main__":
    main()
