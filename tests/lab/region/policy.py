"""Role permissions: IAM's policy language, evaluated as IAM does (IAM user guide, "Policy evaluation logic"). Pure.

Elements, wildcards, `${variables}` and the condition operators that string, ARN and Boolean keys have, with IfExists,
ForAllValues and ForAnyValue. What is not understood never allows and always denies. moto's own evaluator knows neither
variables nor conditions of requests (reference/trust.md 1.7; tests/coordinator/iam/test_moto.py).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

Statement = Mapping[str, Any]
Context = Mapping[str, str | tuple[str, ...]]
_ELEMENTS = {"Sid", "Effect", "Action", "NotAction", "Resource", "NotResource", "Condition"}
_UNKNOWN = "\0"  # in no request: equal to nothing, like nothing


@dataclass(frozen=True, slots=True)
class Permission:
    """What one request must be allowed: EC2 asks for each resource, S3's copy for source and target.

    context: condition keys and variables, multi-valued ones as tuples; their names are compared without case.
    """

    action: str
    resource: str
    context: Context = field(default_factory=dict)


def is_allowed(statements: Iterable[Statement], permission: Permission) -> bool:
    """An explicit Deny wins; without an Allow it is no."""
    context = {name.lower(): value for name, value in permission.context.items()}
    allowed = False
    for statement in statements:
        deny = statement.get("Effect") != "Allow"
        if not set(statement) <= _ELEMENTS:
            matches = deny
        else:
            matches = _covers(statement, permission, context) and _holds(statement, context, unknown=deny)
        if matches and deny:
            return False
        allowed = allowed or matches
    return allowed


def _covers(statement: Statement, permission: Permission, context: Context) -> bool:
    def action(pattern: str) -> bool:
        return _like(pattern.lower(), permission.action.lower())

    def resource(pattern: str) -> bool:
        return _like(_filled(pattern, context), permission.resource)

    return _among(statement, "Action", action) and _among(statement, "Resource", resource)


def _among(statement: Statement, element: str, matches: Callable[[str], bool]) -> bool:
    if element in statement:
        return any(map(matches, _many(statement[element])))
    return f"Not{element}" in statement and not any(map(matches, _many(statement[f"Not{element}"])))


def _holds(statement: Statement, context: Context, *, unknown: bool) -> bool:
    """All operators, and under each all keys; the values of a key are alternatives."""
    for operator, tests in statement.get("Condition", {}).items():
        for key, patterns in tests.items():
            held = _test(operator, context.get(key.lower()), [_filled(text, context) for text in _many(patterns)])
            if held is False:
                return False
            if held is None and not unknown:
                return False
    return True


def _test(operator: str, found: str | tuple[str, ...] | None, wanted: list[str]) -> bool | None:
    """None: this operator is not known here."""
    quantifier, _, plain = operator.rpartition(":")
    plain, if_exists = plain.removesuffix("IfExists"), plain.endswith("IfExists")
    if plain == "Null":
        return any((found is None) == (text == "true") for text in wanted)
    compare = _OPERATORS.get(plain)
    if compare is None or quantifier not in ("", "ForAllValues", "ForAnyValue"):
        return None
    if found is None:
        # Nothing to compare: true of all values of none, of a negation, and where the key may be left out.
        return quantifier == "ForAllValues" or if_exists or (_is_negated(plain) and not quantifier)
    values = _many(found)
    each = [compare(value, wanted) for value in values]
    return any(each) if quantifier == "ForAnyValue" else all(each)


def _is_negated(operator: str) -> bool:
    return "Not" in operator


def _arn_like(pattern: str, value: str) -> bool:
    """Part by part: no wildcard reaches over a colon, but in the last of six parts."""
    patterns, values = pattern.split(":", 5), value.split(":", 5)
    return len(patterns) == len(values) == 6 and all(map(_like, patterns, values))


def _any_of(same: Callable[[str, str], bool]) -> Callable[[str, list[str]], bool]:
    return lambda value, wanted: any(same(text, value) for text in wanted)


def _none_of(same: Callable[[str, str], bool]) -> Callable[[str, list[str]], bool]:
    return lambda value, wanted: not any(same(text, value) for text in wanted)


def _same(pattern: str, value: str) -> bool:
    return _literal(pattern) == value


def _same_word(pattern: str, value: str) -> bool:
    return _literal(pattern).lower() == value.lower()


# Wildcards that a request brings in through a variable, and those of ${*}: characters like any other. They travel as
# characters of a private area of Unicode, which neither a policy nor a request here has.
_HIDDEN = {"*": "\ue000", "?": "\ue001", "$": "\ue002"}


def _filled(pattern: str, context: Context) -> str:
    """`${name}` -> its value; without a single value it matches nothing (user guide, "variables with no value")."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        found = name if name in _HIDDEN else context.get(name.lower(), _UNKNOWN)
        return _hide(found if isinstance(found, str) else _UNKNOWN)

    return re.sub(r"\$\{([^}]+)\}", value, pattern)


def _hide(text: str) -> str:
    return "".join(_HIDDEN.get(character, character) for character in text)


def _literal(text: str) -> str:
    for shown, hidden in _HIDDEN.items():
        text = text.replace(hidden, shown)
    return text


def _many(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value or ())


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = (
        ".*" if part == "*" else "." if part == "?" else re.escape(_literal(part))
        for part in re.split(r"([*?])", pattern)
    )
    return re.compile("".join(parts), re.DOTALL)


def _like(pattern: str, value: str) -> bool:
    return _compiled(pattern).fullmatch(value) is not None


_OPERATORS: Mapping[str, Callable[[str, list[str]], bool]] = {
    "StringEquals": _any_of(_same),
    "StringNotEquals": _none_of(_same),
    "StringEqualsIgnoreCase": _any_of(_same_word),
    "StringNotEqualsIgnoreCase": _none_of(_same_word),
    "StringLike": _any_of(_like),
    "StringNotLike": _none_of(_like),
    # ArnEquals and ArnLike "behave identically" (user guide).
    "ArnEquals": _any_of(_arn_like),
    "ArnLike": _any_of(_arn_like),
    "ArnNotEquals": _none_of(_arn_like),
    "ArnNotLike": _none_of(_arn_like),
    "Bool": _any_of(_same_word),
}
