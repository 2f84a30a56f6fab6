"""The conditions that the rounds of `agent etcd` tell, and nobody else takes back. Pure."""

from collections.abc import Iterable

from units.status import Condition, EtcdState, NodeStatus

NO_QUORUM = "etcd-no-quorum"
BACKUP_LATE = "etcd-backup-late"
TEST_FAILED = "etcd-backup-test-failed"
CARE_CODES = frozenset(
    {
        "etcd-corrupt",
        "etcd-no-space",
        "etcd-member-unhealthy",
        NO_QUORUM,
        "etcd-disk-full",
        "etcd-disk-low",
        "etcd-no-reserve",
        BACKUP_LATE,
        TEST_FAILED,
        "etcd-care-failed",
    }
)


def with_care(
    status: NodeStatus, states: tuple[EtcdState, ...], conditions: Iterable[Condition], now: str
) -> NodeStatus:
    """The status with what the rounds saw now; conditions that they told before and do not see any more are gone."""
    known = {one.code: one.since for one in status.conditions}
    kept = tuple(one for one in status.conditions if one.code not in CARE_CODES)
    new = tuple(one.model_copy(update={"since": known.get(one.code, one.since)}) for one in joined(conditions))
    return status.model_copy(update={"etcd": states, "conditions": (*kept, *new), "updated": now})


def failed_test(state: EtcdState) -> tuple[Condition, ...]:
    """Of a state with what lies in the bucket: told until a later test restores another backup."""
    if not state.backup_problem:
        return ()
    return (
        Condition(
            code="etcd-backup-test-failed",
            message=f"etcd {state.name!r}: {state.backup_problem}",
            remedy="the next backup is tested at once: take one (`agent etcd backup`), and look at the disk and the "
            "bucket; older backups are in `coordinator etcd backups`",
            since=state.seen,
        ),
    )


def joined(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    """One condition for each code, in the order of their first: a status has a code once, and two clusters or two
    members may be ill of the same. The earliest `since`, the worst severity.
    """
    found: dict[str, list[Condition]] = {}
    for one in conditions:
        found.setdefault(one.code, []).append(one)
    return tuple(same[0] if len(same) == 1 else _one_of(same) for same in found.values())


def _one_of(same: list[Condition]) -> Condition:
    return same[0].model_copy(
        update={
            "message": "; ".join(dict.fromkeys(one.message for one in same)),
            "remedy": "; ".join(dict.fromkeys(one.remedy for one in same if one.remedy)),
            "since": min(one.since for one in same),
            "severity": "error" if any(one.severity == "error" for one in same) else "warning",
        }
    )
