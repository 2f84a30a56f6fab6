"""The real node: every adapter, put together. The only place that knows which class stands behind which port."""

from pathlib import Path

from agent import settings as enrolment
from agent.aws.imds import Imds
from agent.aws.s3 import S3, Bucket
from agent.boot import InstanceLike
from agent.linux.clock import LinuxClock
from agent.linux.machine import MachineFacts, gather_machine
from agent.linux.notify import Notifier
from agent.reporter import Reporter
from agent.settings import Settings
from agent.waits import Waits
from units.paths import RUN
from units.status import NodeStatus, encode_status

STATUS = Path(RUN) / "status.json"
LOCK = Path(RUN) / "lock"
APPLIED = Path("/var/lib/bootwright/applied.json")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class RealNode:
    """Implements `agent.boot.Node` on the machine this runs on."""

    def __init__(self) -> None:
        self._notifier = Notifier()
        self._clock = LinuxClock(self._progress)
        self._waits = Waits(progress=self._progress)
        self._imds = Imds(waits=self._waits)
        self._settings: Settings | None = None
        self._s3: S3 | None = None
        self._instance: InstanceLike | None = None
        self.reporter = Reporter(
            NodeStatus(instance_id="", boot_id=_BOOT_ID.read_text().strip()),
            self._clock,
            write_status,
            self._notifier.status,
        )

    def instance(self) -> InstanceLike:
        return self._imds.instance()

    def machine(self) -> MachineFacts:
        return gather_machine()

    def enrolment(self) -> Settings:
        return enrolment.find(self._imds.user_data)

    def connect(self, settings: Settings, instance: InstanceLike) -> None:
        self._settings, self._instance = settings, instance
        bucket = Bucket(settings.bucket, settings.region or instance.region, settings.endpoint)
        imds = self._imds
        self._s3 = S3(bucket, imds.credentials, renew=imds.forget_credentials, waits=self._waits)
        # A status that cannot be sent must not hold up a boot: one short try.
        quick = S3(bucket, imds.credentials, renew=imds.forget_credentials, limit=5.0)
        key = f"{settings.prefix}status/{instance.instance_id}.json"

        def publish(status: NodeStatus) -> None:
            quick.put(key, encode_status(status))

        self.reporter.publish = publish
        self.reporter.update(force=True)
