"""Warnings about the repository that a person should hear before nodes suffer from them."""

from datetime import datetime
from typing import Final

from coordinator.state import State

# Renewing the root needs people with offline keys; the others need one command (trust.md 1.6).
_WARN_DAYS: Final = {"root": 90, "targets": 60, "snapshot": 30, "timestamp": 7}
_REMEDIES: Final = {
    "root": "sign a new root with `coordinator trust rotate`",
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
