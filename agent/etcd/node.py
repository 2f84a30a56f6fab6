"""What the commands of `agent etcd` share: this machine's clusters, its bucket, and its status object."""

from dataclasses import dataclass
from datetime import UTC, datetime

from agent import settings as enrolment
from agent.aws.imds import Imds
from agent.aws.s3 import S3, Bucket
from agent.etcd.access import NodeEtcd
from agent.etcd.here import EtcdHere, etcd_here
from agent.etcd.live import Live, late_backup, look_live, remembered_volume, with_backups
from agent.etcd.tools import EtcdTools
from agent.etcd.trial import RestoreTester
from agent.linux.files import LinuxFiles
from agent.linux.mounts import LinuxMounts
from agent.run_state import STATUS, running_alone, write_status
from agent.settings import Settings
from agent.waits import Waits
from units.errors import BootwrightError, Fatal, Retryable
from units.etcd_conditions import BACKUP_LATE, TEST_FAILED, failed_test, with_care
from units.generations import Generations, running_manifest
from units.manifest import Manifest
from units.status import Condition, EtcdState, NodeStatus, decode_status, encode_status


@dataclass(frozen=True, slots=True)
class EtcdNode:
    """Of a machine that has booted; asks IMDS only for credentials."""

    settings: Settings
    status: NodeStatus
    manifest: Manifest
    s3: S3

    @classmethod
    def open(cls, *, limit: float = 60.0) -> "EtcdNode":
        """Retryable `not-booted` before the first boot. `limit`: seconds that the bucket may take for a call."""
        settings = enrolment.read()
        manifest = running_manifest(Generations(LinuxFiles()))
        if settings is None or not STATUS.exists():
            raise Retryable("not-booted", "this machine has not come up yet", remedy="`agent status` tells why")
        status = decode_status(STATUS.read_bytes())
        if manifest.group.role != "control-plane":
            raise Fatal("not-a-control-plane", f"group {settings.group!r} runs no etcd")
        imds = Imds()
        region = settings.region or manifest.cluster.region
        bucket = Bucket(settings.bucket, region, settings.endpoint)
        renew, itself = imds.forget_credentials, status.instance_id
        s3 = S3(bucket, imds.credentials, renew=renew, limit=limit, instance_id=itself)
        return cls(settings, status, manifest, s3)

    @property
    def access(self) -> NodeEtcd:
        return NodeEtcd(self.s3, self.settings.prefix, cluster=self.settings.cluster, now=utc_now)

    def clusters(self, only: str | None = None) -> tuple[EtcdHere, ...]:
        return etcd_here(self.manifest, self.status.zone, self.access.clients, only=only)

    def tester(self, here: EtcdHere) -> RestoreTester:
        return RestoreTester(
            bucket=self.access.bucket(here.name),
            clients=here.own,
            server=here.server,
            instance_id=self.status.instance_id,
            now=utc_now,
            tools=EtcdTools(),
            waits=Waits(),
        )

    def look(self, here: EtcdHere) -> Live:
        """With what lies in the bucket; if that cannot be reached, what was told of it before still stands."""
        mounted = LinuxMounts().mounted(str(here.mount))
        live = look_live(
            here, utc_now(), device=mounted.source if mounted else "", volume_id=remembered_volume(here.name)
        )
        try:
            state = with_backups(live.state, self.access.bucket(here.name), self.access.record(here.name))
        except BootwrightError as error:
            state = live.state.model_copy(update={"backup_problem": f"the bucket cannot be asked: {error.message}"})
            told = tuple(one for one in self.status.conditions if one.code in (BACKUP_LATE, TEST_FAILED))
            return Live(state, (*live.conditions, *told))
        return Live(state, (*live.conditions, *late_backup(state, utc_now()), *failed_test(state)))

    def publish(self, states: tuple[EtcdState, ...], conditions: tuple[Condition, ...]) -> None:
        """Into the status of this machine, here and in the store. Not while a boot or sync is under way: it writes the
        same object, and the next care comes in minutes. Several conditions of one code become one.
        """
        with running_alone("etcd"):
            now = utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
            status = with_care(decode_status(STATUS.read_bytes()), states, conditions, now)
            write_status(status)
        self.s3.put(f"{self.settings.prefix}status/{status.instance_id}.json", encode_status(status))


def utc_now() -> datetime:
    return datetime.now(UTC)
