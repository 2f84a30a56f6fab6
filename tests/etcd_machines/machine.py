"""Inside one machine: what systemd and the agent do on a node, for etcd alone. `python -m ... CONFIG`; never ends.

Real: the choice of a volume, the plan of units.services.etcd, files, certificates, /etc/hosts, probes, the client of
the other members, backups and restores, the rounds of care, etcd. Doubles: systemd (one unit), EC2 and disks, S3.
"""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

from agent.etcd.access import NodeEtcd
from agent.etcd.maintenance import member_status
from agent.etcd.node import EtcdNode
from agent.etcd.poll import generation_changed
from agent.etcd.relief import NOTHING, keep_room
from agent.etcd.rounds import back_up, care_and_tell
from agent.etcd.storage import NodeEtcdStorage
from agent.etcd_peers import refresh
from agent.linux.clock import LinuxClock
from agent.linux.files import LinuxFiles
from agent.linux.probes import LoopbackProbes
from agent.records import S3Records
from agent.run_state import STATUS, write_status
from agent.settings import Settings
from agent.volumes import NodeVolumes
from agent.waits import Waits
from pki.request import CertificateRequest
from tests.etcd_machines.config import AUTHORITIES, ZONE, Config
from tests.etcd_machines.ebs import DisksDouble, EbsDouble, Ec2Double
from tests.etcd_machines.store import PREFIX, BucketDouble
from tests.etcd_machines.systemd import SystemdDouble
from units import paths
from units.converge import converge
from units.errors import BootwrightError
from units.facts import NodeFacts
from units.files import Directory
from units.host import Host
from units.manifest import Manifest
from units.memory import MemoryHost, MemorySecrets
from units.plan import Plan
from units.resource import Resource
from units.services.base import authority_file, base
from units.services.etcd import claim_of, etcd, member_of
from units.status import STAGE_OF_EXIT, NodeStatus
from units.storage import MARKER

MOUNT = Path("/var/lib/etcd/main")
UNIT = "bootwright-etcd-main.service"
API_POD = Path("/etc/kubernetes/manifests/kube-apiserver.yaml")


def etcd_resources(manifest: Manifest, facts: NodeFacts, *, room: bool = False) -> tuple[Resource, ...]:
    """All that is etcd's, but for what needs a disk or an account of its own."""
    first = [Directory(paths.PKI), Directory(paths.AUTHORITIES), *(authority_file(manifest, n) for n in AUTHORITIES)]  # type: ignore[arg-type]
    hosts = (r for r in base(manifest, facts) if r.key.startswith("hosts-block:"))  # a member must know its own name
    return (*first, *hosts, *(r for r in etcd(manifest, facts) if _can_be_here(r.key, room=room)))


def _can_be_here(key: str, *, room: bool) -> bool:
    """Not accounts and disks, nor what systemd runs beside the member; a reserve only on a volume with an end."""
    kind, _, name = key.partition(":")
    absent = {"user", "volume", "mount"} | (set() if room else {"etcd-reserve"})
    return kind not in absent and (kind != "unit" or name == UNIT)


class ClockDouble(LinuxClock):
    """The agent's wall clock, which a test may set. etcd's own cannot be: it reads the kernel's, as all do here."""

    def __init__(self, node: "Node") -> None:
        super().__init__(lambda reason: node.tell("converging", waiting_for=reason))
        self._offset = node.shared / "clocks" / node.config.instance

    def now(self) -> datetime:
        seconds = float(self._offset.read_text()) if self._offset.exists() else 0.0
        return super().now() + timedelta(seconds=seconds)


class SecretsDouble(MemorySecrets):
    """Signs with the cluster's authorities at the agent's time of day."""

    def __init__(self, config: Config, clock: LinuxClock) -> None:
        super().__init__(config.authorities, {}, clock.now())
        self._clock = clock

    def issue(self, request: CertificateRequest, public_key_pem: bytes) -> bytes:
        self.now = self._clock.now()
        return super().issue(request, public_key_pem)


class Node:
    def __init__(self, config: Config) -> None:
        self.config, self.shared = config, Path(config.shared)
        self._booted = False
        self._status = self.shared / "status" / f"{config.instance}.json"
        self.manifest, facts = config.manifest, config.facts
        self.plan = Plan(etcd_resources(self.manifest, facts, room=config.room))
        self.bucket = BucketDouble(self.shared)
        clock = ClockDouble(self)
        ebs = EbsDouble(self.shared)
        self.volumes = NodeVolumes(
            Ec2Double(ebs, config.instance),
            DisksDouble(ebs, config.instance),
            zone=ZONE,
            instance_id=config.instance,
            waits=Waits(progress=lambda text: self.tell("attaching", waiting_for=text)),
        )
        cluster = self.manifest.cluster.name
        known = NodeEtcd(self.bucket, PREFIX, cluster=cluster, now=clock.now)  # type: ignore[arg-type]  # a double of S3
        log = self.shared / "logs" / f"{config.instance}.log"
        self.host: Host = dataclasses.replace(
            MemoryHost(SecretsDouble(config, clock)).host,
            files=LinuxFiles(),
            systemd=SystemdDouble(f"{config.binaries}/etcd", log),  # type: ignore[arg-type]  # never enables
            volumes=self.volumes,
            records=S3Records(self.bucket, PREFIX),  # type: ignore[arg-type]  # a double of S3
            probes=LoopbackProbes(),
            clock=clock,
            etcd=known,
            etcd_storage=NodeEtcdStorage(known.bucket, known.clients),
        )

    def tell(self, stage: str, **more: str) -> None:
        document = {"stage": stage, "at": time.monotonic(), "member": self.config.member, **more}
        _replace(self._status, json.dumps(document).encode())

    def run(self) -> None:
        self._mount()
        while True:
            report = converge(self.plan, self.host)
            if failure := report.failure:
                told = BootwrightError(failure.code, failure.message, remedy=failure.remedy)
                self._failed(told, failure.exit_code)
                continue
            self._booted = True
            self.tell("ready")
            if not API_POD.exists():
                API_POD.parent.mkdir(parents=True, exist_ok=True)
                API_POD.write_text("of a later part of the plan\n")
            self._poll()

    def _failed(self, error: BootwrightError, exit_code: int) -> None:
        """What systemd makes of it. bootwright-boot.service starts again, but for RestartPreventExitStatus=2 3: then
        nothing on this machine ever asks again. Once it has booted, the timer of every minute asks whatever came out.
        """
        stage = STAGE_OF_EXIT[exit_code]
        self.tell(stage, code=error.code, message=error.message, remedy=error.remedy)
        self._tell_off_the_node(stage)
        while exit_code in (2, 3) and not self._booted:
            time.sleep(3600)
        time.sleep(0.5)

    def rounds(self) -> None:
        """What bootwright-etcd-backup.service does by its timer, once the machine has come up."""
        settings = Settings(
            store="s3://double",
            cluster=self.manifest.cluster.name,
            group=self.manifest.group.name,
            root_version=1,
            root_sha256="0" * 64,
            targets_version=1,
        )
        while True:
            time.sleep(self.config.rounds)
            node = EtcdNode(settings, _status_of(self.config, "ready"), self.manifest, self.bucket)  # type: ignore[arg-type]  # a double of S3
            for act in (self._back_up, self._care):
                try:
                    act(node)
                except BootwrightError as error:
                    sys.stderr.write(f"rounds: {error.code}: {error}\n")
            if STATUS.exists():
                _replace(self.shared / "status" / f"{self.config.instance}.node.json", STATUS.read_bytes())

    def _back_up(self, node: EtcdNode) -> None:
        """By the timer's rule, or because a test wants one."""
        (here,) = node.clusters()
        wanted = self.shared / "backup-now"
        with here.own.gateway() as gateway:
            asked = wanted.exists() and member_status(gateway).leads
        said = back_up(node, here, scheduled=not asked, reason="asked for by a test")
        if asked:
            wanted.unlink(missing_ok=True)
        sys.stderr.write(f"rounds: {said}\n")

    def _care(self, node: EtcdNode) -> None:
        if not (self.config.care or (self.shared / "care").exists()):
            lives = [node.look(here) for here in node.clusters()]
            node.publish(tuple(live.state for live in lives), tuple(c for live in lives for c in live.conditions))
            return
        done, failures = care_and_tell(node, None, Waits())
        for said in (*done, *failures):
            sys.stderr.write(f"rounds: {said}\n")

    def _mount(self) -> None:
        """What units.storage does, without a device."""
        (cluster,) = self.manifest.etcd
        claim = claim_of(self.manifest, cluster, member_of(self.manifest, self.config.facts, cluster))
        held = self.volumes.held(claim)
        while held is None:
            try:
                held = self.volumes.attach(claim)
            except BootwrightError as error:
                self._failed(error, error.exit_code)
        disk = EbsDouble(self.shared).disk(held.volume_id)
        how = ["--bind"] if disk.is_dir() else ["-o", "loop,noatime"]
        MOUNT.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", *how, str(disk), str(MOUNT)], check=True)
        if self.config.room:
            (MOUNT / MARKER).write_text("{}")

    def _poll(self) -> None:
        """Of every minute on a node, and five of them before the next whole run."""
        for _poll in range(5):
            time.sleep(1.0)
            while (self.shared / "away").exists():
                time.sleep(0.2)
            if self.config.room:
                keep_room(NOTHING, str)
            try:
                if generation_changed(self.bucket, PREFIX):
                    return
            except BootwrightError:
                continue
            refresh(self.bucket, PREFIX)

    def _tell_off_the_node(self, stage: str) -> None:
        """As agent.reporter does; nothing is worse for it when the store is down."""
        write_status(_status_of(self.config, stage))


def _status_of(config: Config, stage: str) -> NodeStatus:
    return NodeStatus.model_validate(
        {
            "instance_id": config.instance,
            "cluster": PREFIX.rstrip("/"),
            "group": f"cp-{config.member}",
            "role": "control-plane",
            "zone": ZONE,
            "stage": stage,
        }
    )


def _replace(path: Path, content: bytes) -> None:
    rough = path.with_suffix(".rough")
    rough.write_bytes(content)
    rough.rename(path)


def become_a_machine(config: Config) -> None:
    """In the namespaces that the caller made: a root disk that outlives this boot, and a /run that does not."""
    root = Path(config.shared) / "roots" / config.instance
    first_boot = not root.exists()
    for name in ("etc", "lib/bootwright"):
        (root / name).mkdir(parents=True, exist_ok=True)
    if first_boot:
        _write_accounts(root / "etc")
    mounts = ((root / "etc", "/etc"), (root / "lib", "/var/lib"), (Path(config.binaries), "/usr/local/bin"))
    for source, path in mounts:
        subprocess.run(["mount", "--bind", str(source), path], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
    MOUNT.parent.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(MOUNT.parent)], check=True)  # room for snapshots on any host
    Path("/run/bootwright").mkdir()


def _write_accounts(etc: Path) -> None:
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\netcd:x:2379:2379::/var/lib/etcd:/bin/false\n")
    (etc / "group").write_text("root:x:0:\netcd:x:2379:\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n")
    (etc / "nsswitch.conf").write_text("hosts: files\npasswd: files\ngroup: files\n")


def main() -> None:
    config = Config.read(sys.argv[1])
    become_a_machine(config)
    os.nice(5)
    write_status(_status_of(config, "booting"))
    node = Node(config)
    if config.rounds:
        threading.Thread(target=node.rounds, daemon=True).start()
    node.run()


if __name__ == "__main__":
    main()
