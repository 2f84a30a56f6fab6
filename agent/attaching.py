"""Getting a volume attached: look, do one thing, look again (etcd-pki.md 1.2). AttachVolume is the lock among machines.

What to do is `units.volumes.choose`'s decision. No volume is ever detached from another machine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent.volume_memory import Memory, VolumeMemory
from units.errors import Fatal, Refused, Retryable
from units.host import VolumeClaim
from units.volumes import Attach, CandidateVolume, Refuse, Use, Wait, choose

STUCK = 90.0  # seconds of `attaching`; aws-ebs-csi-driver gives up then, too
# From the end: away from the image's own names, and from aws-ebs-csi-driver, which begins at /dev/xvdaa.
DEVICE_NAMES = tuple(f"/dev/xvdb{letter}" for letter in "zyxwvutsrqponmlkjihgfedcba")


class AttachingEc2(Protocol):
    """The part of `agent.aws.volumes.Ec2Volumes` that attaches."""

    def candidates(self, claim: VolumeClaim) -> tuple[CandidateVolume, ...]: ...

    def device_names_in_use(self) -> frozenset[str]: ...

    def attach(self, volume_id: str, device_name: str) -> None: ...

    def detach_own(self, volume_id: str) -> None: ...


@dataclass
class Attaching:
    """One machine's way to the volume of one claim."""

    ec2: AttachingEc2
    memory: VolumeMemory
    claim: VolumeClaim
    zone: str
    instance_id: str
    monotonic: Callable[[], float]
    _attaching_since: dict[str, float] = field(default_factory=dict, init=False)

    def advance(self) -> Use:
        """The attached volume; or Retryable, which says what is waited for, after one step towards it."""
        volumes = self.ec2.candidates(self.claim)
        choice = choose(self.claim, volumes, self.zone, self.instance_id)
        match choice:
            case Use():
                return choice
            case Refuse():
                raise Refused(choice.code, choice.reason, remedy=choice.remedy)
            case Wait():
                self._end_stuck(volumes)
                raise Retryable(choice.code, choice.reason, remedy="look at the volume and its holder in EC2")
            case Attach():
                raise self._attach(choice)

    def _attach(self, choice: Attach) -> Retryable:
        volume_id = choice.volume.volume_id
        name = self._free_name()
        self._remember(choice, name)
        self.ec2.attach(volume_id, name)
        self._attaching_since[volume_id] = self.monotonic()
        return Retryable("volume-attaching", f"{volume_id} is attaching here as {name}", remedy="wait")

    def _end_stuck(self, volumes: Sequence[CandidateVolume]) -> None:
        """An attachment of this machine that hangs: end it, and begin anew under another device name."""
        for volume in volumes:
            if not any(a.instance_id == self.instance_id and a.state == "attaching" for a in volume.attachments):
                continue
            since = self._attaching_since.setdefault(volume.volume_id, self.monotonic())
            if self.monotonic() - since >= STUCK:
                del self._attaching_since[volume.volume_id]
                self.ec2.detach_own(volume.volume_id)
                raise Retryable(
                    "volume-stuck-attaching",
                    f"{volume.volume_id} was attaching here for {STUCK:.0f} s; detached, to try another device name",
                    remedy="if it happens again, look at the instance's console for kernel messages",
                )

    def _free_name(self) -> str:
        """A name never used before by this machine, if there is one left."""
        known = self.memory.of_etcd(self.claim.etcd)
        used = known.device_names if known else ()
        in_use = self.ec2.device_names_in_use()
        free = [name for name in DEVICE_NAMES if name not in in_use]
        fresh = [name for name in free if name not in used]
        if not free:
            raise Fatal(
                "volume-device-names",
                f"every device name from {DEVICE_NAMES[-1]} to {DEVICE_NAMES[0]} is in use on {self.instance_id}",
                remedy="detach what is not needed",
            )
        return fresh[0] if fresh else min(free, key=used.index)

    def _remember(self, choice: Attach, name: str) -> None:
        """Before the call, so that after a crash the machine knows which serial number to look for."""
        known = self.memory.of_etcd(self.claim.etcd)
        used = [past for past in (known.device_names if known else ()) if past != name]
        self.memory.write(
            Memory(
                cluster=self.claim.cluster,
                etcd=self.claim.etcd,
                volume_id=choice.volume.volume_id,
                member=choice.member,
                device_names=(*used, name),
            )
        )
