"""What an unquoted YAML word means, and which words mean one thing to YAML 1.1 and another to YAML 1.2."""

import re

_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]{1,17}\.[0-9]{0,17}|\.[0-9]{1,17}|[0-9]{1,17}(?=[eE]))(?:[eE][-+]?[0-9]{1,2})?", re.ASCII
)
_YES_OR_NO = re.compile(r"yes|no|on|off", re.IGNORECASE)
_OCTAL = re.compile(r"[-+]?0[0-9_]+", re.ASCII)
_BASE_SIXTY = re.compile(r"[-+]?[1-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?", re.ASCII)


def meaning(word: str) -> str | int | float | bool | None:
    """The value of an unquoted word by YAML 1.2's core schema. Dates, hexadecimal numbers and infinities are text."""
    if word in _NULL:
        return None
    if word in _BOOLEAN:
        return _BOOLEAN[word]
    if _INTEGER.fullmatch(word):
        return int(word)
    return float(word) if _FLOAT.fullmatch(word) else word


def doubts(word: str) -> tuple[str, str] | None:
    """(what is allowed, what to do) for a word that other readers of the same file take for something else."""
    if _YES_OR_NO.fullmatch(word):
        truth = "true" if word.lower() in {"yes", "on"} else "false"
        return "true, false, or text in quotes", f'many YAML readers take {word} for {truth}: write {truth} or "{word}"'
    if _OCTAL.fullmatch(word):
        return "numbers without a leading zero, or text in quotes", f'YAML 1.1 reads {word} as octal: write "{word}"'
    if _BASE_SIXTY.fullmatch(word):
        return "text in quotes", f'YAML 1.1 reads {word} as a number in base 60: write "{word}"'
    return None
