"""Warnings about the repository and the fleet that a person should hear before nodes suffer from them."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from coordinator.inventory import NodeRow
from coordinator.state import State

# Renewing the root needs people with offline keys; the others need one command (trust.md 1.6).
_WARN_DAYS: Final = {"root": 90, "targets": 60, "snapshot": 30, "timestamp": 7}
_REMEDIES: Final = {
    "root": "run `coordinator trust rotate root --renew` where the root keys are",
    "targets": "run `coordinator publish --yes`",
    "snapshot": "run `coordinator refresh`",
    "timestamp": "run `coordinator refresh`, every day from cron",
}


def expiry_warnings(state: State, now: datetime) -> tuple[str, ...]:
    """What has expired, or will soon. A short lifetime warns when a third of it is left."""
    warnings = []
    for role, days in state.days_left(now).items():
        lifetime: int = getattr(state.note.lifetimes, role)
        if days < 0:
            warnings.append(f"{role} metadata has expired: nodes call the repository stale; {_REMEDIES[role]}")
        elif days <= min(_WARN_DAYS[role], lifetime // 3):
            warnings.append(f"{role} metadata expires in {days} days; {_REMEDIES[role]}")
    return tuple(warnings)


def certificate_warnings(rows: Iterable[NodeRow]) -> tuple[str, ...]:
    """How many nodes are in trouble: of a fleet of hundreds nobody reads every row."""
    expired = low = 0
    for row in rows:
        expired += row.expired
        low += bool(row.expiring) and not row.expired
    warnings = []
    if expired:
        warnings.append(f"{_nodes(expired)} with an expired certificate: `agent sync` there says why it is not renewed")
    if low:
        warnings.append(f"{_nodes(low)} with certificates or authorities that end soon: look at the rows marked !")
    return tuple(warnings)


def _nodes(number: int) -> str:
    return "1 node" if number == 1 else f"{number} nodes"
