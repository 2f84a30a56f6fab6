"""The record in S3 that grants `--initial-cluster-state=new` once in a cluster's life, and says who took part.

Why it matters, measured in etcd-pki.md 2.3: with `new`, members that lost their disks silently form a fresh, empty
cluster; with `existing` they fail closed. So the first start is decided by data, never by an empty directory.
"""

import json
from collections.abc import Collection
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from units.errors import Refused

InitialState = Literal["new", "existing", "rejoin"]


# Of etcd, that each generation has to itself: no client may see time go backwards, whatever backup a generation began
# with (etcd-pki.md 2.6). An API server would need years for as many.
REVISIONS = 1_000_000_000


class RestoreFrom(BaseModel):
    """The backup that a generation began with. Every member takes the same file: their logs must begin alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backup: str  # its name: etcd/NAME/backups/BACKUP/snapshot.db
    sha256: str  # of snapshot.db, trailer included
    size: int
    revision: int
    bump: int = REVISIONS  # by so many its revisions move up: more, if generations lie between the backup's and this


class BootstrapRecord(BaseModel):
    """`etcd/NAME/cluster.json`: changed only by compare-and-swap.

    `established` is written by the first member that is ready. API servers start only after it, so before it there is
    nothing to lose. Only `coordinator etcd restore` takes it back: it begins a new generation, as `restoring`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["bootstrapping", "restoring", "established"]
    generation: int  # 1 is the formed cluster; each restore begins another
    token: str  # of this generation: members of two generations never talk to each other
    volumes: dict[str, str]  # member -> volume id
    started: tuple[str, ...] = ()  # members that have been ready once: from then on an empty volume is a lost one
    replacing: str | None = None  # the one member that begins anew, on an empty volume, under a new member id
    created_by: str  # instance id, or the operator who restores
    restore: RestoreFrom | None = None  # what this generation began with; None for the first

    def encode(self) -> bytes:
        return (json.dumps(self.model_dump(), indent=1, sort_keys=True) + "\n").encode()

    def with_volume(self, member: str, volume_id: str) -> "BootstrapRecord":
        return self.model_copy(update={"volumes": {**self.volumes, member: volume_id}})

    def with_started(self, member: str) -> "BootstrapRecord":
        """A member is ready: the cluster is established, and this member's data counts."""
        return self.model_copy(
            update={
                "state": "established",
                "started": tuple(sorted({*self.started, member})),
                "replacing": None if self.replacing == member else self.replacing,
            },
        )

    def with_replacement(self, member: str, volume_id: str) -> "BootstrapRecord":
        """The member begins anew on this volume; what it had before counts no more."""
        return self.model_copy(
            update={
                "volumes": {**self.volumes, member: volume_id},
                "started": tuple(name for name in self.started if name != member),
                "replacing": member,
            }
        )


def record_key(etcd: str) -> str:
    return f"etcd/{etcd}/cluster.json"


def decode_record(content: bytes, key: str) -> BootstrapRecord:
    try:
        return BootstrapRecord.model_validate_json(content)
    except ValidationError as error:
        raise Refused(
            "etcd-record-unreadable",
            f"{key} is not a bootstrap record: {error.error_count()} errors",
            remedy="restore the previous version of that object (the bucket is versioned); never delete it: "
            "without it a lost volume looks like a new cluster",
        ) from error


def initial_state(
    record: BootstrapRecord, *, etcd: str, member: str, members: Collection[str], volume_id: str, attempted: bool
) -> InitialState:
    """How a member whose volume holds no data may start.

    `new` while the cluster forms. Once it is established, a member that was never seen joins with `existing`: two of
    three form the quorum before the third machine has booted (measured on etcd 3.4.23 and 3.5.16: it gets the log from
    the leader). One that was registered may have voted, and have forgotten with its data what for: as the member it was
    it could elect a leader without what the others stored. It begins anew: `rejoin` (units.etcd_rejoin). `attempted`
    says that etcd may have been started on this volume in this generation; a record from a backup may not know it.
    """
    if record.state == "established":
        unseen = member not in record.volumes and not attempted and len(members) > 1
        return "existing" if unseen else "rejoin"
    known = record.volumes.get(member, volume_id)
    if known != volume_id:
        raise Refused(
            "etcd-volume-changed",
            f"the etcd cluster {etcd!r} is forming with {known} as member {member!r}, but {volume_id} is attached",
            remedy=f"attach {known}; if it is gone for good, nothing was stored yet: stop etcd on every member, "
            f"empty their volumes, and only then delete {record_key(etcd)}",
        )
    return "new" if record.state == "bootstrapping" else "existing"
