"""The real node: every adapter, put together. The only place that knows which class stands behind which port."""

from pathlib import Path
from typing import IO

from agent import settings as enrolment
from agent.aws.ec2 import Ec2Access
from agent.aws.imds import Imds, Instance
from agent.aws.kms import Kms
from agent.aws.s3 import S3, Bucket
from agent.aws.volumes import Ec2Volumes
from agent.certificates import list_certificates
from agent.etcd.access import NodeEtcd
from agent.etcd.storage import NodeEtcdStorage
from agent.issuer_client import IssuerClient
from agent.kubelet_api import KubeletApi
from agent.linux.assets import LocalAssets, wanted_of
from agent.linux.clock import LinuxClock
from agent.linux.disks import Disks
from agent.linux.files import LinuxFiles
from agent.linux.images import ContainerdImages
from agent.linux.kernel import LinuxKernel
from agent.linux.machine import MachineFacts, gather_machine
from agent.linux.mounts import LinuxMounts
from agent.linux.notify import Notifier
from agent.linux.probes import LoopbackProbes
from agent.linux.runtime import ContainerdRuntime
from agent.linux.systemd import LinuxSystemd
from agent.linux.users import LinuxUsers
from agent.linux.verifier import LinuxVerifier
from agent.records import S3Records
from agent.reporter import Reporter
from agent.repository import Repository
from agent.rollout_store import RolloutStore
from agent.run_state import write_status
from agent.secrets import NodeSecrets
from agent.settings import Settings
from agent.trust import VerifiedRelease
from agent.volumes import NodeVolumes
from agent.waits import Waits
from units.errors import Fatal, Retryable
from units.generations import Generations, running_manifest
from units.host import Host
from units.manifest import Manifest
from units.status import CertificateState, NodeStatus, encode_status

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class RealNode:
    """Implements `agent.boot.Node` on the machine this runs on."""

    def __init__(self, status: NodeStatus | None = None, *, quiet: bool = False) -> None:
        """`status` goes on from an earlier run of this boot; `quiet` tells nobody anything (a dry run)."""
        self._quiet = quiet
        self._notifier = Notifier()
        self._clock = LinuxClock(self._progress)
        self._waits = Waits(progress=self._progress)
        self._imds = Imds(waits=self._waits)
        self._settings: Settings | None = None
        self._s3: S3 | None = None
        self._instance: Instance | None = None
        self.reporter = Reporter(
            status or NodeStatus(instance_id="", boot_id=_BOOT_ID.read_text().strip()),
            self._clock,
            (lambda _status: None) if quiet else write_status,
            self._notifier.status,
        )

    def instance(self) -> Instance:
        return self._imds.instance()

    def clock_ahead(self) -> float | None:
        return self._imds.clock_ahead

    def machine(self) -> MachineFacts:
        return gather_machine()

    def enrolment(self) -> Settings:
        return enrolment.find(self._imds.user_data)

    def connect(self, settings: Settings, instance: Instance) -> None:
        self._settings, self._instance = settings, instance
        bucket = Bucket(settings.bucket, settings.region or instance.region, settings.endpoint)
        imds = self._imds
        renew, itself = imds.forget_credentials, instance.instance_id
        self._s3 = S3(bucket, imds.credentials, renew=renew, waits=self._waits, instance_id=itself)
        # A status that cannot be sent must not hold up a boot: one short try.
        quick = S3(bucket, imds.credentials, renew=renew, limit=5.0, instance_id=itself)
        key = f"{settings.prefix}status/{instance.instance_id}.json"

        def publish(status: NodeStatus) -> None:
            quick.put(key, encode_status(status))

        if not self._quiet:
            self.reporter.publish = publish

    def verified_release(self) -> VerifiedRelease:
        """Verified now; or, when the store cannot be reached, what this machine applied before (DESIGN section 4)."""
        repository = self._repository()
        try:
            return repository.refresh(running=self._runs_something())
        except Retryable as error:
            kept = repository.kept(details=f"{error}") if self._runs_something() else None
            if kept is None:
                raise
            return kept

    def enrolment_on_disk(self) -> Settings:
        found = enrolment.read()
        if found is None:
            raise Fatal("not-enrolled", f"there is no {enrolment.PATH}", remedy="agent boot")
        return found

    def host(self, manifest: Manifest) -> Host:
        settings, s3, _instance = self._connected()
        mounts = LinuxMounts()
        bucket_prefix = settings.prefix

        def download(key: str, file: IO[bytes], size: int) -> str:
            return s3.sibling().get_to_file(bucket_prefix + key, file, size=size)

        etcd = NodeEtcd(s3, bucket_prefix, cluster=settings.cluster, now=self._clock.now)
        return Host(
            files=LinuxFiles(),
            systemd=LinuxSystemd(),
            kernel=LinuxKernel(),
            users=LinuxUsers(),
            volumes=self._volumes(mounts),
            mounts=mounts,
            secrets=self._secrets(manifest),
            issuer=IssuerClient(manifest, self._imds),
            assets=LocalAssets(download, wanted=wanted_of(manifest)),
            images=ContainerdImages(),
            records=S3Records(s3, bucket_prefix),
            probes=LoopbackProbes(),
            clock=self._clock,
            etcd=etcd,
            etcd_storage=NodeEtcdStorage(etcd.bucket, etcd.clients),
            verifier=LinuxVerifier(),
            runtime=ContainerdRuntime(),
            node_api=KubeletApi(),
        )

    def rollout_store(self) -> RolloutStore:
        settings, s3, _instance = self._connected()
        return RolloutStore(s3, settings.prefix, settings.group)

    def certificates(self, jitter_key: str) -> tuple[CertificateState, ...]:
        return list_certificates(self._clock.now(), jitter_key)

    def running(self) -> Manifest:
        """What this machine committed last, as it was verified then."""
        return running_manifest(self._generations())

    def _secrets(self, manifest: Manifest) -> NodeSecrets:
        settings, s3, _instance = self._connected()
        imds = self._imds
        kms = Kms(imds.credentials, endpoint=settings.endpoint, renew=imds.forget_credentials, waits=self._waits)
        return NodeSecrets(manifest, s3, settings.prefix, unwrap_with_kms=kms.unwrap, clock=self._clock)

    def _volumes(self, mounts: LinuxMounts) -> NodeVolumes:
        settings, _s3, instance = self._connected()
        access = Ec2Access(instance.region, self._imds.credentials, settings.endpoint)
        ec2 = Ec2Volumes(access, instance_id=instance.instance_id)
        return NodeVolumes(
            ec2,
            Disks(self._clock, mounts),
            zone=instance.zone,
            instance_id=instance.instance_id,
            waits=self._waits,
        )

    def _progress(self, text: str) -> None:
        self.reporter.progress(text)

    def _generations(self) -> Generations:
        return Generations(LinuxFiles())

    def _runs_something(self) -> bool:
        return self._generations().current is not None

    def _repository(self) -> Repository:
        settings, s3, _instance = self._connected()
        return Repository(settings, s3, clock=self._clock, waits=self._waits)

    def _connected(self) -> tuple[Settings, S3, Instance]:
        if self._settings is None or self._s3 is None or self._instance is None:
            raise Fatal("not-connected", "the store was asked for before the enrolment was known")
        return self._settings, self._s3, self._instance
