"""What is known of the patient before anything is asked, and what the checks learn for those after them."""

from contextlib import suppress
from dataclasses import dataclass, field

from agent import settings as enrolment
from agent.aws.credentials import Credentials
from agent.aws.imds import Instance
from agent.doctor.patient import Patient
from agent.durable import read_bounded
from agent.linux.files import LinuxFiles
from agent.run_state import STATUS
from agent.settings import Settings
from agent.trust_state import STATE, TrustState
from units.errors import BootwrightError, Invalid
from units.generations import Generations
from units.manifest import Manifest, decode_release
from units.status import MAX_BYTES, NodeStatus, decode_status


@dataclass(slots=True)
class Learned:
    """Filled in by one check, read by those that run after it."""

    settings: Settings | None = None
    instance: Instance | None = None
    credentials: Credentials | None = field(default=None, repr=False)
    manifest: Manifest | None = None
    unresolved: dict[str, str] = field(default_factory=dict)  # host -> why


@dataclass(frozen=True, slots=True)
class Case:
    patient: Patient
    status: NodeStatus | None  # of the last run since this machine started
    learned: Learned

    @property
    def settings(self) -> Settings | None:
        return self.learned.settings

    @property
    def manifest(self) -> Manifest | None:
        return self.learned.manifest

    @property
    def role(self) -> str:
        """control-plane, node, or empty while nothing has told."""
        return self.manifest.group.role if self.manifest else self.status.role if self.status else ""

    @property
    def region(self) -> str:
        known = (
            self.settings.region if self.settings else None,
            self.learned.instance.region if self.learned.instance else None,
            self.manifest.cluster.region if self.manifest else None,
            self.status.zone[:-1] if self.status and self.status.zone else None,
        )
        return next((region for region in known if region), "")

    @property
    def private_ip(self) -> str:
        if self.learned.instance:
            return self.learned.instance.private_ip
        return self.status.private_ip if self.status and self.status.private_ip else "127.0.0.1"

    @property
    def instance_id(self) -> str:
        if self.learned.instance:
            return self.learned.instance.instance_id
        return self.status.instance_id if self.status else ""


def open_case(patient: Patient) -> Case:
    """From the disk alone. What cannot be read is not there: the checks say what is wrong with it."""
    learned = Learned()
    with suppress(BootwrightError, OSError):
        learned.settings = enrolment.read(patient.path(enrolment.PATH))
    learned.manifest = known_manifest(patient, learned.settings)
    return Case(patient, _last_status(patient), learned)


def known_manifest(patient: Patient, settings: Settings | None) -> Manifest | None:
    """What this machine runs; else what it verified last."""
    with suppress(BootwrightError, OSError):
        current = Generations(LinuxFiles(patient.root)).current
        if current is not None:
            return current
    if settings is None:
        return None
    verified = TrustState(patient.path(STATE)).verified()
    with suppress(BootwrightError):
        if verified:
            return decode_release(verified[1], cluster=settings.cluster, group=settings.group).stable
    return None


def _last_status(patient: Patient) -> NodeStatus | None:
    with suppress(OSError, Invalid):
        data = read_bounded(patient.path(STATUS), limit=MAX_BYTES)
        return decode_status(data) if data else None
    return None
