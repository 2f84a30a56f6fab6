"""etcd's part of `coordinator validate`: quorum, members, leader, alarms, backups. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from coordinator.spec.etcd import EtcdCluster
from coordinator.validate_report import Fault, span_text, time_of
from units.status import EtcdState

# Backups are made every quarter of an hour (DESIGN section 6): four missed ones are no coincidence.
BACKUP_STALE: Final = timedelta(hours=1)


def etcd_faults(etcd: EtcdCluster, views: Sequence[EtcdState], now: datetime, oldest: datetime) -> Iterator[Fault]:
    """`views`: what live control-plane nodes say of this cluster. `oldest`: when the first machine was launched."""
    if not views:
        return  # no node tells: an agent of before, or none is up, which is said elsewhere
    view, wanted = max(views, key=lambda one: one.seen), len(etcd.members)
    healthy = sum(1 for member in view.members if member.healthy and not member.learner)
    if healthy <= wanted // 2:
        message = f"has no quorum: {healthy} of {wanted} members are healthy"
        yield Fault("Etcd", etcd.name, f"etcd {etcd.name} {message}", "agent etcd status, on a control-plane node")
    elif healthy < wanted:
        ill = [f"{m.name or m.id}: {m.detail or 'not healthy'}" for m in view.members if not m.healthy or m.learner]
        said = "; ".join(ill) or "a member is missing"
        yield Fault("Etcd", etcd.name, f"etcd {etcd.name} has {healthy} of {wanted} healthy members: {said}")
    if not view.leader:
        yield Fault("Etcd", etcd.name, f"etcd {etcd.name} has no leader")
    for alarm in view.alarms:
        yield Fault("Etcd", etcd.name, f"etcd {etcd.name}: alarm {alarm}", "agent etcd status, on a control-plane node")
    yield from _backup_faults(etcd.name, views, now, oldest)


def _backup_faults(name: str, views: Sequence[EtcdState], now: datetime, oldest: datetime) -> Iterator[Fault]:
    problem = next((view.backup_problem for view in views if view.backup_problem), "")
    why = f": {problem}" if problem else ""
    newest = max((at for view in views if (at := time_of(view.backup_at)) is not None), default=None)
    if newest is not None:
        if now - newest > BACKUP_STALE:
            message = f"etcd {name}: the newest backup is {span_text(now - newest)} old{why}"
            yield Fault("Backup", name, message, "agent etcd backup, on a control-plane node, says what keeps it")
        return
    if problem or now - oldest > BACKUP_STALE:
        yield Fault("Backup", name, f"etcd {name} has no backup{why}", "agent etcd backup, on a control-plane node")
