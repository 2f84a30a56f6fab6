"""What restores put aside on this machine's volumes and nobody goes back to, by the record and the backups."""

from datetime import UTC, datetime
from pathlib import Path

from agent.etcd.bucket import BackupBucket
from agent.etcd.node import EtcdNode, utc_now
from agent.etcd.room import measure
from units.bootstrap_record import BootstrapRecord
from units.etcd_restore import DATA, MARK
from units.etcd_room import Proven, outlived

_TESTED = 8  # of backups are looked at, the newest first: one a day is tested


def outlived_on(etcd: str, mount: Path) -> tuple[str, ...]:
    """Asks the bucket. Raises what it raises, and what reading this machine's settings does."""
    node = EtcdNode.open(limit=5.0)
    (here,) = node.clusters(etcd)
    record = node.access.record(etcd)
    return outlived(measure(mount).names, proven(record, here.member, mount, node.access.bucket(etcd)), utc_now())


def proven(record: BootstrapRecord | None, member: str, mount: Path, bucket: BackupBucket) -> Proven | None:
    """None unless the generation stands, this member has been ready in it, its data is of it, and a backup passed."""
    if record is None or record.state != "established" or member not in record.started:
        return None
    if measure(mount).data_generation != record.generation:
        return None
    began = datetime.fromtimestamp((mount / DATA / MARK).stat().st_mtime, UTC)
    tested = [kept for kept in bucket.backups() if kept.complete and kept.tested]
    for kept in tested[:_TESTED]:
        test, meta = bucket.test(kept.name), bucket.meta(kept.name)
        if test and test.ok and meta and meta.generation == record.generation:
            return Proven(record.generation, began, kept.taken)
    return None
