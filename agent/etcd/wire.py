"""The JSON of etcd's gRPC gateway: 64-bit numbers are decimal text, zero values are left out, bytes are base64."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from units.errors import Retryable

Document = Mapping[str, Any]


def encoded(value: str | bytes) -> str:
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def number(document: Document, name: str) -> int:
    """0 for what is left out."""
    try:
        return int(document.get(name, 0))
    except (TypeError, ValueError) as error:
        raise _unreadable(f"{name} is {str(document.get(name))[:60]!r}") from error


def text(document: Document, name: str) -> str:
    return str(document.get(name, ""))


def texts(document: Document, name: str) -> tuple[str, ...]:
    found = document.get(name, [])
    return tuple(str(one) for one in found) if isinstance(found, list) else ()


def part(document: Document, name: str) -> Document:
    found = document.get(name, {})
    if not isinstance(found, dict):
        raise _unreadable(f"{name} is no object")
    return found


def parts(document: Document, name: str) -> tuple[Document, ...]:
    found = document.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _unreadable(f"{name} is no list of objects")
    return tuple(found)


def content(document: Document, name: str) -> bytes:
    try:
        return binascii.a2b_base64(str(document.get(name, "")), strict_mode=True)
    except binascii.Error as error:
        raise _unreadable(f"{name} is no base64") from error


def _unreadable(why: str) -> Retryable:
    return Retryable("etcd-answer-unreadable", f"etcd answered something else than its interface says: {why}")
