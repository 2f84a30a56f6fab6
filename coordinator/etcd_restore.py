"""Begin a new generation of an etcd cluster from a backup: look, tell, and only then rewrite the record.

The record is all that is written, with If-Match on what was shown. The members do the rest by themselves
(`units.etcd_restore`).
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from coordinator.etcd_backups import SeenBackup, in_line, read_backups
from coordinator.etcd_restore_versions import check_versions
from coordinator.status import SeenNode, read_fleet
from coordinator.store import Conflict, Store
from units.bootstrap_record import REVISIONS, BootstrapRecord, RestoreFrom, decode_record, record_key
from units.errors import Invalid, Refused
from units.etcd_backup import BackupMeta
from units.status import EtcdState

_RECORD_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What will happen on one control-plane node."""

    instance_id: str
    member: str  # empty for a node that has not told
    stage: str
    volume_id: str
    what: str


@dataclass(frozen=True, slots=True)
class RestorePlan:
    etcd: str
    old: BootstrapRecord
    etag: str
    backup: BackupMeta
    name: str
    verdict: str
    nodes: tuple[NodePlan, ...]
    lost: tuple[str, ...]  # what the restore costs, in sentences
    warnings: tuple[str, ...]

    @property
    def generation(self) -> int:
        return self.old.generation + 1


def plan_restore(store: Store, cluster: str, etcd: str, name: str, now: datetime, *, force: bool) -> RestorePlan:
    """Only reads. Invalid for a backup that is not there, Refused for one that should not be restored."""
    stored = store.get(record_key(etcd), limit=_RECORD_BYTES)
    if stored is None:
        raise Refused(
            "etcd-record-missing",
            f"{store.url}/{record_key(etcd)} does not exist: etcd {etcd!r} of this cluster was never formed",
            remedy="if it was deleted, undelete it (the bucket is versioned); a new cluster has nothing to restore",
        )
    record = decode_record(stored.body, record_key(etcd))
    backups = read_backups(store, etcd)
    line = in_line(backups, record)
    seen = _chosen(backups, line, name)
    meta = _usable(seen, cluster, etcd, force=force)
    fleet = [node for node in read_fleet(store).nodes if node.status and node.status.role in ("control-plane", "")]
    versions = check_versions(meta, fleet, now, force=force)
    states = [
        (node, state) for node in fleet for state in (node.status.etcd if node.status else ()) if state.name == etcd
    ]
    told = {node.instance_id for node, _ in states}
    nodes = [_member(node, state, record) for node, state in states]
    nodes += [_silent(node) for node in fleet if node.instance_id not in told and node.status and node.status.role]
    return RestorePlan(
        etcd=etcd,
        old=record,
        etag=stored.etag,
        backup=meta,
        name=seen.kept.name,
        verdict=seen.verdict,
        nodes=tuple(nodes),
        lost=tuple(_lost(meta, [state for _, state in states], now)),
        warnings=(*versions, *_foreign(seen, line), *_warnings(record, seen, [state for _, state in states])),
    )


def begin_restore(store: Store, plan: RestorePlan, cluster: str, operator: str) -> BootstrapRecord:
    """Conflict if the record is no longer what the plan showed."""
    meta = plan.backup
    record = BootstrapRecord(
        state="restoring",
        generation=plan.generation,
        token=f"{cluster}-{plan.etcd}-{secrets.token_hex(8)}-g{plan.generation}",
        volumes={},
        created_by=operator,
        restore=RestoreFrom(
            backup=plan.name,
            sha256=meta.sha256,
            size=meta.size,
            revision=meta.revision,
            bump=_bump(meta.revision, plan.generation),
        ),
    )
    try:
        store.put(record_key(plan.etcd), record.encode(), if_match=plan.etag)
    except Conflict as error:
        raise Refused(
            "etcd-record-changed",
            f"{record_key(plan.etcd)} changed since it was shown: {error}",
            remedy="run the command again, and read anew what will happen",
        ) from error
    return record


def _bump(revision: int, generation: int) -> int:
    """Beyond every revision of the generation before, also if the backup is of a still earlier one."""
    return REVISIONS * max(1, generation - 1 - revision // REVISIONS)


def _chosen(backups: tuple[SeenBackup, ...], line: tuple[SeenBackup, ...], name: str) -> SeenBackup:
    """`latest` is of this very cluster; any other backup in the bucket has to be named."""
    found = next((one for one in backups if one.kept.name == name), None)
    if name == "latest":
        found = next((one for one in line if not one.problem), None)
    if found is None:
        newest = ", ".join(one.kept.name for one in backups[:3]) or "there is none"
        raise Invalid(
            "etcd-backup-unknown",
            f"there is no backup {name!r}; the newest: {newest}",
            remedy="`coordinator etcd backups` lists them; `latest` takes this cluster's newest without a failed test",
        )
    return found


def _usable(seen: SeenBackup, cluster: str, etcd: str, *, force: bool) -> BackupMeta:
    meta, name = seen.meta, seen.kept.name
    if meta is None:
        raise Refused("etcd-backup-unreadable", f"backup {name}: {seen.problem}", remedy="choose another backup")
    if (meta.cluster, meta.etcd) != (cluster, etcd):
        raise Refused(
            "etcd-backup-of-another",
            f"backup {name} is of etcd {meta.etcd!r} in cluster {meta.cluster!r}, not of {etcd!r} in {cluster!r}",
            remedy="somebody copied it here: choose another backup",
        )
    # From the listing: whoever restores need not be able to read a snapshot, in which every secret of the cluster lies.
    if seen.kept.size != meta.size:
        raise Refused(
            "etcd-backup-damaged",
            f"backup {name}: snapshot.db has {seen.kept.size} bytes, but its meta.json says {meta.size}",
            remedy="choose another backup; the bucket keeps older versions of the object",
        )
    if seen.problem and not force:
        raise Refused(
            "etcd-backup-test-failed",
            f"backup {name} was restored as a test, and {seen.problem}",
            remedy="choose another backup; --force takes this one all the same",
        )
    return meta


def _member(node: SeenNode, state: EtcdState, record: BootstrapRecord) -> NodePlan:
    volume = state.volume_id or record.volumes.get(state.member, "")
    stage = node.status.stage if node.status else ""
    what = (
        "stops its API server and etcd, keeps its data aside on "
        f"{volume or 'its volume'} as data.g{record.generation}, restores, starts"
    )
    return NodePlan(node.instance_id, state.member, stage, volume, what)


def _silent(node: SeenNode) -> NodePlan:
    """A node that never saw its etcd ready: it waits for this very restore, or for a person."""
    stage = node.status.stage if node.status else ""
    if stage in ("refused", "failed"):
        what = "does not try again by itself: `systemctl restart bootwright-boot` there, or replace the instance"
    else:
        what = "restores when its boot comes to etcd"
    return NodePlan(node.instance_id, "", stage, "", what)


def _lost(meta: BackupMeta, states: list[EtcdState], now: datetime) -> list[str]:
    minutes = int((now - datetime.fromisoformat(meta.taken)).total_seconds() // 60)
    found = [f"everything written in the last {minutes} minutes, since {meta.taken}"]
    newest = max((state.revision for state in states if state.ready), default=0)
    if newest > meta.revision and newest // REVISIONS == meta.revision // REVISIONS:
        found.append(
            f"{newest - meta.revision} revisions: the backup is at {meta.revision}, the cluster was at {newest}"
        )
    return found


def _foreign(seen: SeenBackup, line: tuple[SeenBackup, ...]) -> list[str]:
    if seen in line:
        return []
    token = seen.meta.token if seen.meta else ""
    return [f"this backup is of another cluster, which had this name before (its token is {token!r})"]


def _warnings(record: BootstrapRecord, seen: SeenBackup, states: list[EtcdState]) -> list[str]:
    found = []
    if record.state == "restoring":
        name = record.restore.backup if record.restore else "?"
        found.append(f"generation {record.generation} is being restored from {name} already; this overtakes it")
    if any(state.ready for state in states):
        found.append("the cluster was healthy when its members last told: it works, and would lose what is said below")
    if seen.test is None:
        found.append("this backup was never restored as a test (one a day is)")
    return found
