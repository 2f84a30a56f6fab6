"""Shapes: what a document of ours may hold, and nothing else. Unlike a schema it knows only fields that we write."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Place = tuple[str | int, ...]
"""The way from the root of a document to a value in it: keys and list indexes."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    place: Place
    said: str


Shape = Callable[[Any, Place], Iterator[Mismatch]]
"""Everything that is wrong with a value."""


def text(value: Any, place: Place) -> Iterator[Mismatch]:
    if not isinstance(value, str):
        yield _wrong(value, place, "text")


def whole(value: Any, place: Place) -> Iterator[Mismatch]:
    if not isinstance(value, int) or isinstance(value, bool):
        yield _wrong(value, place, "a whole number")


def truth(value: Any, place: Place) -> Iterator[Mismatch]:
    if not isinstance(value, bool):
        yield _wrong(value, place, "true or false")


def written(pattern: str, words: str) -> Shape:
    """Text that a regular expression matches whole; `words` tell a person what it stands for."""
    compiled = re.compile(pattern)

    def shape(value: Any, place: Place) -> Iterator[Mismatch]:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            yield _wrong(value, place, words)

    return shape


def one_of(*allowed: str) -> Shape:
    return written("|".join(re.escape(one) for one in allowed), " or ".join(allowed))


def texts(value: Any, place: Place) -> Iterator[Mismatch]:
    """A mapping of text to text: numbers and truth values need quotes."""
    if not isinstance(value, dict):
        yield _wrong(value, place, "a mapping of text to text")
        return
    for key, item in value.items():
        yield from text(key, (*place, str(key)))
        yield from text(item, (*place, str(key)))


def list_of(item: Shape) -> Shape:
    def shape(value: Any, place: Place) -> Iterator[Mismatch]:
        if not isinstance(value, list):
            yield _wrong(value, place, "a list")
            return
        for number, each in enumerate(value):
            yield from item(each, (*place, number))

    return shape


def fields(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """A mapping with these fields and no others."""
    known = {**required, **(optional or {})}

    def shape(value: Any, place: Place) -> Iterator[Mismatch]:
        if not isinstance(value, dict):
            yield _wrong(value, place, "a mapping")
            return
        yield from (Mismatch(place, f"lacks the field {name}") for name in required if name not in value)
        for name, item in value.items():
            if name in known:
                yield from known[name](item, (*place, name))
            else:
                yield Mismatch((*place, str(name)), "is not a field that is known here")

    return shape


def dotted(place: Place) -> str:
    """`spec.containers[0].image`."""
    words = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return words.removeprefix(".")


def _wrong(value: Any, place: Place, allowed: str) -> Mismatch:
    found = repr(value)
    return Mismatch(place, f"is {found if len(found) <= 60 else found[:57] + '...'}; allowed: {allowed}")
