"""Durations as people type them: 30m, 18h, 7d."""

import re
from datetime import timedelta

_TEXT = re.compile(r"^([0-9]{1,5})(s|m|h|d)$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(option: str, text: str) -> timedelta:
    from units.errors import Invalid

    found = _TEXT.match(text)
    if not found:
        raise Invalid(
            "duration-invalid", f"{option} {text!r}: a number with s, m, h or d is allowed", remedy=f"{option} 18h"
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
