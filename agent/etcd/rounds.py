"""The rounds that the timer makes: a backup when one is due, old ones out, a daily test, the care of the members."""

import logging

from agent.etcd.care import Carer
from agent.etcd.here import EtcdHere
from agent.etcd.maintenance import member_status
from agent.etcd.node import EtcdNode, utc_now
from agent.waits import Waits
from units.errors import BootwrightError, Fatal
from units.etcd_backup import is_due, to_test
from units.etcd_conditions import TEST_FAILED
from units.status import Condition

LOG = logging.getLogger("bootwright.etcd")


def back_up(node: EtcdNode, here: EtcdHere, *, scheduled: bool, reason: str) -> str:
    """What was done, in words. Scheduled: the leader's machine alone, so that there is one backup and not five."""
    access = node.access
    bucket = access.bucket(here.name)
    record = access.record(here.name)
    if scheduled:
        with here.own.gateway() as gateway:
            if not member_status(gateway).leads:
                return "the leader's machine takes the backups"
        if not is_due(bucket.backups(), utc_now()):
            return "the next backup is not due yet"
        if record is not None and record.state == "restoring":
            return f"no backup while generation {record.generation} is being restored"
        reason = "every 15 minutes"
    backup = access.taker(here.name, here.own.urls).take(record, reason)
    protected = {record.restore.backup} if record and record.restore else set()
    gone = bucket.tidy(utc_now(), protected=protected)
    return f"backup {backup.name}, {backup.meta.size} bytes{f'; {len(gone)} outlived ones deleted' if gone else ''}"


def care_for(node: EtcdNode, here: EtcdHere, waits: Waits) -> tuple[tuple[str, ...], tuple[BootwrightError, ...]]:
    """What was done, and what went wrong. A failed test of a backup keeps nobody from making room."""
    done: list[str] = []
    errors: list[BootwrightError] = []
    carer = Carer(here.own, here.all, here.quota_bytes, waits, LOG.info)
    for act in (carer.care, lambda: _tested(node, here)):
        try:
            done += act()
        except BootwrightError as error:
            LOG.warning("etcd %s: %s", here.name, error, extra={"code": error.code})
            errors.append(error)
    return tuple(done), tuple(errors)


def care_and_tell(
    node: EtcdNode, only: str | None, waits: Waits
) -> tuple[tuple[str, ...], tuple[BootwrightError, ...]]:
    """Care for every cluster of this machine, and put what is seen then into its status, here and in the store.

    One cluster's trouble does not keep the other from its care.
    """
    said: list[str] = []
    failures: list[BootwrightError] = []
    for here in node.clusters(only):
        done, errors = care_for(node, here, waits)
        said += (f"etcd {here.name}: {one}" for one in done)
        failures += errors
    lives = [node.look(here) for here in node.clusters()]
    conditions = [condition for live in lives for condition in live.conditions]
    conditions += (
        Condition(code="etcd-care-failed", message=str(error), remedy=error.remedy, since=lives[0].state.seen)
        for error in failures
        if error.code != TEST_FAILED  # each look tells it, as long as it lies in the bucket
    )
    node.publish(tuple(live.state for live in lives), tuple(conditions))
    return tuple(said), tuple(failures)


def _tested(node: EtcdNode, here: EtcdHere) -> tuple[str, ...]:
    with here.own.gateway() as gateway:
        if not member_status(gateway).leads:
            return ()
    bucket = node.access.bucket(here.name)
    last, at = bucket.newest_test() or (None, None)
    outcome = bucket.test(last) if last else None
    failed = last if outcome and not outcome.ok else None
    chosen = to_test(bucket.backups(), at, utc_now(), failed=failed)
    meta = bucket.meta(chosen.name) if chosen else None
    if chosen is None or meta is None:
        return ()
    outcome = node.tester(here).test(chosen.name, meta)
    if not outcome.ok:
        raise Fatal(
            "etcd-backup-test-failed",
            f"backup {chosen.name} of etcd {here.name!r} cannot be restored: {outcome.problem}",
            remedy="the next backup is tested at once: take one (`agent etcd backup`), and look at the disk and the "
            "bucket; older backups are in `coordinator etcd backups`",
        )
    return (f"backup {chosen.name} was restored as a test: {outcome.keys} keys in {outcome.seconds} s",)
