"""A machine that falls ill: a sandbox root, real adapters, and real servers on loopback in AWS's place."""

import dataclasses
import io
import json
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from agent import settings as enrolment
from agent.aws.imds import Instance
from agent.aws.s3 import S3, Bucket
from agent.boot import boot
from agent.certificates import list_certificates
from agent.doctor.checks import diagnose
from agent.doctor.finding import Examined
from agent.doctor.listeners import Listener
from agent.doctor.patient import OneTry, Patient, resolve
from agent.doctor.verdict import first_cause
from agent.linux.clock import LinuxClock
from agent.linux.kernel import LinuxKernel
from agent.linux.machine import MachineFacts
from agent.linux.systemd import LinuxSystemd
from agent.repository import Repository
from agent.run_state import STATUS, write_status
from agent.settings import Settings
from agent.status_screen import print_screen
from agent.trust import VerifiedRelease
from agent.trust_state import BAKED_ROOT, STATE
from pki.authority import Authority
from tests.agent.boot_double import NodeDouble, machine_facts
from tests.agent.conftest import Answer as HttpAnswer
from tests.agent.doctor.desk import Desk
from tests.agent.doctor.imds import INSTANCE
from tests.agent.doctor.imds import Instance as ImdsInstance
from tests.agent.doctor.served_api import ApiDouble
from tests.agent.doctor.tools_double import ToolsDouble
from tests.agent.repository.conftest import BUCKET, Bench
from tests.units.sample import manifest as sample_manifest
from units.host import Answer, Host
from units.manifest import Api, Cluster, Identity, Manifest, Release, encode_release
from units.memory import MemoryClock
from units.paths import PKI
from units.services.base import SYSCTLS, TUNING
from units.status import CertificateState, NodeStatus, encode_status

STATUS_KEY = f"status/{INSTANCE}.json"
Respond = Callable[[str, str, dict[str, str], bytes], HttpAnswer]
LIVE: dict[str, Any] = {
    "machine": {
        "memory_used_bytes": 0,
        "memory_bytes": 1,
        "load_1_minute": 0.0,
        "cpus": 1,
        "disks_used_percent": {},
    },
    "units": {},
    "health": {},
    "etcd": [],
}


def free_port() -> int:
    """Nobody listens there, at least now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class ProbesDouble:
    """Implements `units.host.Probes`: every health endpoint is well, or says what `real` finds."""

    real: Callable[[str], Answer | None] = lambda _url: Answer(200, "ok")

    def get(self, url: str) -> Answer | None:
        return self.real(url)


class WardNode(NodeDouble):
    """A NodeDouble that meets IMDS, the enrolment and the repository for real."""

    ward: "Ward"

    def instance(self) -> Instance:
        return self.ward.patient.imds().instance()

    def machine(self) -> MachineFacts:
        return machine_facts()

    def enrolment(self) -> Settings:
        return enrolment.find(self.ward.patient.imds().user_data, self.ward.path(enrolment.PATH))

    def connect(self, settings: Settings, _instance: Instance) -> None:
        self.settings = settings
        self.reporter.publish = lambda status: self.ward.send(settings, status)

    def verified_release(self) -> VerifiedRelease:
        return self.ward.repository(self.settings).refresh()

    def certificates(self, jitter_key: str) -> tuple[CertificateState, ...]:
        return list_certificates(self.ward.now(), jitter_key, str(self.ward.path(PKI)))

    def host(self, manifest: Manifest) -> Host:
        host = self.memory.host
        return dataclasses.replace(host, **{name: make(manifest) for name, make in self.ward.ports.items()})


class Ward:
    """Healthy at first. A test breaks something, boots, and asks both `agent status` and `agent doctor`."""

    def __init__(self, root: Path, bench: Bench, imds: ImdsInstance, *, role: str, api: ApiDouble) -> None:
        self.root, self.bench, self.imds_instance, self.role = root, bench, imds, role
        self.tools = ToolsDouble()
        self.probes = ProbesDouble()
        self.imds_url = imds.url
        self.ahead = 0.0  # seconds that this machine's clock is off
        self.endpoint = bench.server.url
        self.sent: bytes | None = None  # the status object in the bucket
        bench.server.respond = self._bucket_that_takes_a_status(bench.server.respond)
        self.listening: Callable[[], tuple[Listener, ...]] = lambda: ()
        # Of the host in memory, what real adapters stand in for.
        self.ports: dict[str, Callable[[Manifest], Any]] = {
            "systemd": lambda _manifest: LinuxSystemd(self.tools),
            "probes": lambda _manifest: self.probes,
            "kernel": lambda _manifest: LinuxKernel(root, self.tools),
        }
        self.changes: Mapping[str, Any] = {}
        self.api, self.api_port = api, api.port
        self.node = WardNode()
        self.node.ward = self
        self.tools.on_start = self.node.memory.systemd.start  # an etcd that starts writes its log
        if role == "control-plane":  # its certificates carry the address, and loopback is none
            imds.view = dataclasses.replace(imds.view, private_ip="10.99.1.4")
        now = datetime.now(UTC)
        self.authority = Authority.create("kubernetes", now - timedelta(days=1))
        bench.clock.time = bench.publisher.now = now
        _healthy(root)
        self.publish()

    def _bucket_that_takes_a_status(self, others: Respond) -> Respond:
        """A bucket that refuses everything refuses this too."""

        def respond(method: str, path: str, headers: dict[str, str], body: bytes) -> HttpAnswer:
            if (method, path) != ("PUT", f"/{BUCKET}/demo/{STATUS_KEY}") or "*" in self.bench.overrides:
                return others(method, path, headers, body)
            self.sent = body
            return HttpAnswer(200, b"", {"ETag": '"1"'})

        return respond

    @property
    def patient(self) -> Patient:
        return Patient(
            root=self.root,
            imds_url=self.imds_url,
            run=self.tools,
            probes=self.probes,
            now=self.now,
            synchronised=lambda: True,
            resolve=resolve,
            listeners=self.listening,
        )

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.ahead)

    def path(self, absolute: str | Path) -> Path:
        return self.patient.path(absolute)

    def manifest(self, **changes: Any) -> Manifest:
        found = sample_manifest(
            self.role,
            cluster=Cluster(name="demo", uid="7f3a1c", region="eu-west-1"),
            api=Api(endpoint="127.0.0.1", port=self.api_port),
            identity=Identity(sts_endpoint=self.bench.server.url, port=self.api_port),
            trust=self.node.manifest.trust if self.role == "control-plane" else self._worker_trust(),
            **{**self.changes, **changes},
        )
        group = found.group.model_copy(update={"name": self.group})
        members = tuple(
            one.model_copy(update={"members": tuple(m.model_copy(update={"group": self.group}) for m in one.members)})
            for one in found.etcd
        )
        return found.model_copy(update={"group": group, "etcd": members})

    def _worker_trust(self) -> Any:
        trust = self.node.manifest.trust
        ours = trust.authority("kubernetes").model_copy(update={"bundle": self.authority.certificate.pem.decode()})
        self.node.memory.secrets.authorities["kubernetes"] = self.authority
        self.node.memory.secrets.now = datetime.now(UTC)
        self.node.memory.clock.at = datetime.now(UTC)
        return trust.model_copy(update={"authorities": (ours,), "service_account_keys": ()})

    @property
    def group(self) -> str:
        return self.role

    def publish(self, **changes: Any) -> None:
        release = Release(serial=7, published="2026-06-01T00:00:00Z", stable=self.manifest(**changes))
        self.bench.publisher.publish({self.group: encode_release(release)})
        self.enroll()

    def enroll(self, **changes: Any) -> None:
        """As the launch template says from now on; nothing is on the disk yet."""
        settings = self.bench.publisher.settings(group=self.group, endpoint=self.endpoint, **changes)
        words = json.dumps(settings.model_dump(exclude_none=True))
        text = "#cloud-config\n" + json.dumps({"runcmd": [["agent", "enroll", words]]})
        self.imds_instance.view = dataclasses.replace(self.imds_instance.view, user_data=text.encode())

    def repository(self, settings: Settings) -> Repository:
        return Repository(
            settings,
            self.store(settings),
            clock=MemoryClock(at=self.now()),
            state_dir=self.path(STATE),
            baked_root=self.path(BAKED_ROOT),
            waits=OneTry(),
        )

    def send(self, settings: Settings, status: NodeStatus) -> None:
        self.store(settings).put(f"{settings.prefix}{STATUS_KEY}", encode_status(status))

    def store(self, settings: Settings) -> S3:
        bucket = Bucket(settings.bucket, settings.region or "eu-west-1", settings.endpoint)
        return S3(bucket, self.patient.imds().credentials, waits=OneTry())

    def boot(self) -> NodeStatus:
        """Through the agent's own story; the status lies where `agent status` reads it."""
        reporter = self.node.reporter
        reporter.write_local = lambda status: write_status(status, self.path(STATUS))
        reporter.clock = LinuxClock() if self.ahead else self.node.memory.clock
        boot(self.node)
        return reporter.status

    def screen(self) -> str:
        """What `agent status` prints."""
        status = self.node.reporter.status
        certificates = list_certificates(self.now(), status.instance_id, str(self.path(PKI)))
        text = io.StringIO()
        with redirect_stdout(text):
            print_screen(status.model_copy(update={"certificates": certificates}), LIVE, self.now())
        return text.getvalue()

    def from_afar(self) -> str:
        """What `coordinator validate` says of this machine."""
        status = self.node.reporter.status
        desk = Desk(self.bench.publisher, self.manifest(), self.root.with_name("desk"))
        faults = desk.validate(status, self.sent)
        return "\n".join(f"{fault.message}\n  what to do: {fault.remedy}" for fault in faults)

    def diagnose(self) -> tuple[Examined, ...]:
        return diagnose(self.patient)

    def cause(self) -> Examined:
        examined = self.diagnose()
        cause = first_cause(examined)
        assert cause is not None, _told(examined)
        sys.stdout.write(_told(examined))
        return cause


def _told(examined: tuple[Examined, ...]) -> str:
    return "".join(f"{one.finding.state:>8} {one.check}: {one.finding.found}\n" for one in examined)


def _healthy(root: Path) -> None:
    """What a booted image has: the kernel's settings, cgroup v2, a mount table, directories."""
    for name, value in {**SYSCTLS, **TUNING}.items():
        path = root / "proc/sys" / name.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    for name, text in {
        "proc/sys/kernel/osrelease": "6.12.0\n",
        "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
        "sys/module/overlay/initstate": "live\n",
        "sys/module/br_netfilter/initstate": "live\n",
        "proc/self/mountinfo": "22 1 259:1 / / rw,relatime - ext4 /dev/root rw\n",
        "run/bootwright/.keep": "",
        "etc/bootwright/.keep": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
