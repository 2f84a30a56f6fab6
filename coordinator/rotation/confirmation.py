"""Which nodes have not confirmed a phase yet, and why: from their status objects. Pure.

Nodes write these themselves, so a stolen node can hold a rotation up, or claim what is not so for itself; it cannot
speak for another.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from coordinator.documents import Rotation
from coordinator.state import PublishedGroup
from coordinator.status import Fleet, SeenNode
from units.status import NodeStatus

# A node that nothing happens to writes its status after its hourly run (agent.sync), a minute of timer and a run late.
STALE: Final = timedelta(minutes=75)
SIGNER_DIGITS: Final = 16  # units.status.CertificateState.signer


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """A node that the next phase must wait for."""

    instance_id: str
    group: str
    reason: str


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority as a leaf names it."""

    common_name: str
    key_identifier: str  # hex


def unconfirmed(
    fleet: Fleet, groups: Mapping[str, PublishedGroup], rotation: Rotation, ignored: Collection[str], now: datetime
) -> tuple[Unconfirmed, ...]:
    """Of the nodes whose group's release carries the phase; a group that trusts another key has nothing to confirm."""
    found = []
    for node in _counted(fleet, ignored):
        group = node.status.group if node.status else ""
        if group in groups and groups[group].serial < rotation.serial:
            continue
        if reason := _reason(node, groups.get(group), rotation.serial, now):
            found.append(Unconfirmed(node.instance_id, group, reason))
    return tuple(found)


def still_signed_by(fleet: Fleet, old: Authority, ignored: Collection[str]) -> tuple[Unconfirmed, ...]:
    """Nodes with a certificate of the authority that goes, or of one that cannot be told from it."""
    found = []
    for node in _counted(fleet, ignored):
        if node.status and (paths := tuple(_leaves_of(node.status, old))):
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            reason = f"still has certificates of the old {old.common_name}: {', '.join(paths[:3])}{more}"
            found.append(Unconfirmed(node.instance_id, node.status.group, reason))
    return tuple(found)


def last_word(fleet: Fleet) -> datetime | None:
    """When the last of the nodes spoke: what they all confirm, they had all taken by then."""
    return max((node.modified for node in fleet.nodes), default=None)


def _counted(fleet: Fleet, ignored: Collection[str]) -> Iterator[SeenNode]:
    return (node for node in fleet.nodes if node.instance_id not in ignored)


def _leaves_of(status: NodeStatus, old: Authority) -> Iterator[str]:
    for certificate in status.certificates:
        if certificate.authority or certificate.issuer != old.common_name:
            continue
        if certificate.signer == old.key_identifier[:SIGNER_DIGITS]:
            yield certificate.path
        elif not certificate.signer:
            yield f"{certificate.path} (an old agent does not say by which key)"


def _reason(node: SeenNode, group: PublishedGroup | None, serial: int, now: datetime) -> str:  # noqa: PLR0911  a list of reasons, first match
    status, age = node.status, now - node.modified
    if status is None:
        return f"its status cannot be read: {node.problem}"
    if age > STALE:
        return f"was last heard of {span_text(age)} ago"
    if group is None:
        return f"its group {status.group!r} is not published any more"
    if status.serial < serial:
        return f"has serial {status.serial}, the phase is serial {serial}"
    if status.stage != "ready":
        return f"is {status.stage}: {_conditions(status) or status.waiting_for or 'no reason given'}"
    if status.conditions:
        return _conditions(status)
    if not status.converged:
        # It tells a serial before it applies it, and is called ready meanwhile (agent.boot).
        return f"is applying serial {status.serial} right now"
    if status.manifest and status.manifest != group.wanted_sha256:
        # It knows the serial; its wave is not open yet, or it has not looked since the rollout was finished.
        return f"runs manifest {status.manifest[:12]}, the phase is {group.wanted_sha256[:12]}"
    return ""


def _conditions(status: NodeStatus) -> str:
    return "; ".join(f"{condition.code}: {condition.message}" for condition in status.conditions)


def span_text(span: timedelta) -> str:
    seconds = max(0, round(span.total_seconds()))
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
