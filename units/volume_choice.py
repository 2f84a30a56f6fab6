"""Which of a cluster's etcd volumes this machine takes. AttachVolume is the lock; this only says what to try.

Deterministic: the same volumes give the same answer, in whatever order EC2 lists them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from units.host import VolumeClaim

_GONE = ("deleting", "deleted")
# EC2 detaches by itself when the holder is terminated; of a stopped holder it never does.
_ENDING = ("shutting-down", "terminated")


@dataclass(frozen=True, slots=True)
class Refuse:
    """A person must decide."""

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class VolumeAttachment:
    instance_id: str
    state: Literal["attaching", "attached", "detaching", "detached", "busy"]
    instance_state: str | None = None  # of the holder, as DescribeInstances says; None if EC2 no longer knows it


@dataclass(frozen=True, slots=True)
class CandidateVolume:
    """A volume of this cluster that has the tag `k8s.io/etcd/ETCD`, as DescribeVolumes says."""

    volume_id: str
    zone: str
    state: str  # creating, available, in-use, deleting, deleted, error
    tag: str  # MEMBER/ALL,MEMBERS
    attachments: tuple[VolumeAttachment, ...] = ()
    multi_attach: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """Attached to this machine already."""

    volume: CandidateVolume
    member: str


@dataclass(frozen=True, slots=True)
class Attach:
    volume: CandidateVolume
    member: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet; `reason` is what to show meanwhile."""

    code: str
    reason: str


Choice = Use | Attach | Wait | Refuse
_WRONG_ZONE, _MISSING = "volume-wrong-zone", "volume-missing"


def choose(claim: VolumeClaim, volumes: Sequence[CandidateVolume], zone: str, instance_id: str) -> Choice:
    """What is attached here wins; then the first candidate that is free; then what a person must mend; then waiting."""
    known = sorted((volume for volume in volumes if volume.state not in _GONE), key=lambda volume: volume.volume_id)
    if here := [volume for volume in known if _attachment(volume, instance_id)]:
        return _choose_here(claim, here, instance_id)
    verdicts = [_judge(claim, member, known, zone) for member in claim.candidates]
    if not verdicts:
        return Refuse(
            "etcd-no-member",
            f"this instance group carries no member of etcd {claim.etcd!r}",
            "name the group in etcd.members of the cluster spec",
        )
    return min(verdicts, key=_rank)


def _rank(choice: Choice) -> int:
    """Volumes in other zones are other machines' business, unless there is nothing else to say."""
    match choice:
        case Attach() | Use():
            return 0
        case Refuse(code=code):
            return 4 if code == _WRONG_ZONE else 1
        case Wait(code=code):
            return 3 if code == _MISSING else 2


def parse_tag(value: str) -> tuple[str, tuple[str, ...]] | None:
    """`b/a,b,c` -> ("b", ("a", "b", "c")); None for anything else."""
    member, slash, rest = value.partition("/")
    members = tuple(rest.split(","))
    well_formed = slash and all(members) and len(set(members)) == len(members) and member in members
    return (member, members) if well_formed else None


def _is_tagged_for(claim: VolumeClaim, volume: CandidateVolume) -> bool:
    """Same members; their order in the tag is a matter of taste."""
    tag = parse_tag(volume.tag)
    return tag is not None and set(tag[1]) == set(claim.members)


def _attachment(volume: CandidateVolume, instance_id: str) -> VolumeAttachment | None:
    for attachment in volume.attachments:
        if attachment.instance_id == instance_id and attachment.state != "detached":
            return attachment
    return None


def _choose_here(claim: VolumeClaim, here: Sequence[CandidateVolume], instance_id: str) -> Choice:
    if len(here) > 1:
        return Refuse(
            "volume-several-attached",
            f"{instance_id} holds more than the one volume of etcd {claim.etcd!r} it may: {_described(here)}",
            "detach the one that does not belong here",
        )
    volume = here[0]
    tag = parse_tag(volume.tag)
    if tag is None or not _is_tagged_for(claim, volume):
        return _tag_refusal(claim, [volume])
    if tag[0] not in claim.candidates:
        return Refuse(
            "volume-of-another-group",
            f"{volume.volume_id} is attached here, but holds member {tag[0]!r}; this instance group carries "
            f"{', '.join(claim.candidates)}",
            "detach it, or correct etcd.members in the cluster spec",
        )
    if volume.multi_attach:
        return _multi_attach_refusal(volume)
    attachment = _attachment(volume, instance_id)
    assert attachment
    if attachment.state == "attached":
        return Use(volume, tag[0])
    return Wait(f"volume-{attachment.state}", f"{volume.volume_id} is {attachment.state} here")


def _judge(claim: VolumeClaim, member: str, known: Sequence[CandidateVolume], zone: str) -> Choice:
    """One member's volume, none of them attached here."""
    own = [volume for volume in known if (tag := parse_tag(volume.tag)) and tag[0] == member]
    if not own:
        if unreadable := [volume for volume in known if parse_tag(volume.tag) is None]:
            return _tag_refusal(claim, unreadable)
        return Wait(_MISSING, f"no volume is tagged {_tag_text(claim, member)}")
    return next(_refusals(claim, member, own, zone), None) or _judge_state(own[0], member)


def _refusals(claim: VolumeClaim, member: str, own: Sequence[CandidateVolume], zone: str) -> Iterator[Refuse]:
    volume = own[0]
    if len(own) > 1:
        yield Refuse(
            "volume-duplicate",
            f"member {member!r} of etcd {claim.etcd!r} has {len(own)} volumes: {_described(own)}",
            "two volumes would be two histories of one member: remove the tag from the wrong one",
        )
    if not _is_tagged_for(claim, volume):
        yield _tag_refusal(claim, own)
    if volume.zone != zone:
        yield Refuse(
            _WRONG_ZONE,
            f"the volume of member {member!r}, {volume.volume_id}, is in {volume.zone}; this machine is in {zone}",
            "EBS volumes cannot leave their zone: run this group in the volume's zone",
        )
    if volume.multi_attach:
        yield _multi_attach_refusal(volume)


def _judge_state(volume: CandidateVolume, member: str) -> Choice:
    holders = [attachment for attachment in volume.attachments if attachment.state != "detached"]
    if holders:
        return _judge_holder(volume, holders[0])
    match volume.state:
        case "available":
            return Attach(volume, member)
        case "error":
            return Refuse(
                "volume-error",
                f"EC2 says {volume.volume_id} is in state error: its hardware failed",
                "this member's data is lost: replace the member (etcd restore, or a new volume under quorum)",
            )
        case "creating":
            return Wait("volume-creating", f"{volume.volume_id} is being created")
        case _:  # in-use without an attachment: EC2 has not settled
            return Wait("volume-unsettled", f"{volume.volume_id} is {volume.state}, but EC2 names no holder yet")


def _judge_holder(volume: CandidateVolume, holder: VolumeAttachment) -> Wait:
    who = f"{holder.instance_id} ({holder.instance_state or 'unknown to EC2'})"
    if holder.state == "detaching":
        return Wait("volume-detaching", f"{volume.volume_id} is being detached from {who}")
    if holder.state == "busy":
        return Wait("volume-busy", f"{volume.volume_id} is detached in EC2, but {who} still has it mounted")
    if holder.instance_state in _ENDING or holder.instance_state is None:
        return Wait("volume-holder-ending", f"{volume.volume_id} comes free when {who} is gone")
    if holder.instance_state == "stopped":
        return Wait(
            "volume-holder-stopped",
            f"{volume.volume_id} is held by {who}, which keeps it for ever: terminate it, or detach the volume",
        )
    return Wait("volume-held", f"{volume.volume_id} is held by {who}")


def _multi_attach_refusal(volume: CandidateVolume) -> Refuse:
    return Refuse(
        "volume-multi-attach",
        f"{volume.volume_id} allows several attachments at once, so an attachment locks nothing",
        "etcd volumes need multi-attach off: `aws ec2 modify-volume --no-multi-attach-enabled`",
    )


def _tag_refusal(claim: VolumeClaim, volumes: Sequence[CandidateVolume]) -> Refuse:
    found = ", ".join(f"{volume.volume_id} = {volume.tag!r}" for volume in volumes)
    return Refuse(
        "volume-tag-mismatch",
        f"tag k8s.io/etcd/{claim.etcd}: {found}; the manifest has MEMBER/{','.join(claim.members)}",
        "correct the tag, or the members in the cluster spec; members of a running cluster change one at a time",
    )


def _tag_text(claim: VolumeClaim, member: str) -> str:
    return f"k8s.io/etcd/{claim.etcd} = {member}/{','.join(claim.members)}"


def _described(volumes: Iterable[CandidateVolume]) -> str:
    return ", ".join(f"{volume.volume_id} ({volume.tag}, {volume.zone}, {volume.state})" for volume in volumes)
