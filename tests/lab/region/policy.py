"""Role permissions: the part of IAM's policy language the lab needs, evaluated as IAM does. Pure.

Effect, Action, Resource and Condition (StringEquals, StringLike) with `*`, `?` and `${variables}`. A condition that is
not understood never allows and always denies. moto's own evaluator knows no policy variables (reference/trust.md 1.7).
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

Statement = Mapping[str, Any]
Context = Mapping[str, str]


def is_allowed(statements: Iterable[Statement], action: str, resource: str, context: Context) -> bool:
    """action like "s3:GetObject"; context: values of variables and condition keys. An explicit Deny wins."""
    allowed = False
    for statement in statements:
        deny = statement.get("Effect") == "Deny"
        if _covers(statement, action, resource, context) and _holds(statement, context, unknown=deny):
            if deny:
                return False
            allowed = True
    return allowed


def _covers(statement: Statement, action: str, resource: str, context: Context) -> bool:
    return any(_like(pattern.lower(), action.lower()) for pattern in _many(statement.get("Action"))) and any(
        _like(_substitute(pattern, context), resource) for pattern in _many(statement.get("Resource"))
    )


def _holds(statement: Statement, context: Context, *, unknown: bool) -> bool:
    for operator, tests in statement.get("Condition", {}).items():
        if operator not in ("StringEquals", "StringLike"):
            return unknown
        for key, patterns in tests.items():
            found = context.get(key)
            if found is None:
                return False
            wanted = [_substitute(pattern, context) for pattern in _many(patterns)]
            if not any(_like(p, found) if operator == "StringLike" else p == found for p in wanted):
                return False
    return True


def _many(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


def _substitute(pattern: str, context: Context) -> str:
    """`${name}` -> its value; a name without a value matches nothing."""
    return re.sub(r"\$\{([^}]+)\}", lambda match: context.get(match[1], "\0"), pattern)


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)


def _like(pattern: str, value: str) -> bool:
    return _compiled(pattern).fullmatch(value) is not None
