"""A poll of the real machine with as little code as possible: what the timer runs every minute.

It reads agent.json without the schema that checked it when it was written (agent.settings), and imports no model, no
TUF and no X.509.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.aws.imds import Imds
from agent.aws.s3 import S3, Bucket
from agent.etcd.poll import MOUNTS, generation_changed
from agent.etcd_peers import HOSTS, NOTES, refresh
from agent.poll import Poll
from agent.trust_state import BAKED_ROOT, STATE, TrustState
from agent.waits import Waits

ENROLMENT = Path("/etc/bootwright/agent.json")


@dataclass(frozen=True, slots=True)
class EnrolmentRecord:
    """agent.json as it lies there; the same names as `agent.settings.Settings`."""

    store: str
    cluster: str
    group: str
    root_version: int
    targets_version: int
    region: str | None
    endpoint: str | None

    @property
    def bucket(self) -> str:
        return self.store.removeprefix("s3://").partition("/")[0]

    @property
    def prefix(self) -> str:
        path = self.store.removeprefix("s3://").partition("/")[2]
        return f"{path}/{self.cluster}/" if path else f"{self.cluster}/"


def read_record(path: Path = ENROLMENT) -> EnrolmentRecord | None:
    """None if it cannot be read so: then the long way round (`agent.settings.read`) says what is wrong."""
    try:
        document = json.loads(path.read_bytes())
        return EnrolmentRecord(
            store=str(document["store"]),
            cluster=str(document["cluster"]),
            group=str(document["group"]),
            root_version=int(document["root_version"]),
            targets_version=int(document["targets_version"]),
            region=document.get("region"),
            endpoint=document.get("endpoint"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def changed_since(imds: Imds, *, root: Path = Path("/"), waits: Waits | None = None) -> bool:
    """`Repository.changed_since` for this machine. True also when only the long way round can tell.

    A run that changes things looks for etcd's other members itself; only without one they are looked for here.
    """
    record = read_record(_below(root, ENROLMENT))
    if record is None:
        return True
    state = TrustState(_below(root, STATE))
    bucket = Bucket(record.bucket, record.region or imds.region(), record.endpoint)
    s3 = S3(bucket, imds.credentials, renew=imds.forget_credentials, waits=waits)
    now = state.time_at_least(datetime.now(UTC), baked_root=_below(root, BAKED_ROOT))
    if Poll(record, s3, state).changed_since(now):
        return True
    if generation_changed(s3, record.prefix, mounts=_below(root, MOUNTS)):
        return True
    refresh(s3, record.prefix, notes=_below(root, NOTES), hosts=_below(root, HOSTS))
    return False


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")
