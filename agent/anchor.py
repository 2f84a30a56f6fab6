"""Where trust begins: the root that python-tuf starts from, and never one that only the store vouches for."""

import hashlib
import json
from collections.abc import Callable

from agent import attacks
from agent.settings import Settings
from units.errors import Fatal


def bootstrap_root(
    settings: Settings,
    *,
    baked: bytes | None,
    cached: Callable[[int], bytes | None],
    fetch: Callable[[int], bytes],
) -> bytes:
    """The image's root if there is one; else exactly the root that user-data pins, from the cache or the store.

    A baked root older than the pinned one leads to it through the chain of signatures; `require_pin` checks that it
    came out there. Refused `trust-root-pin` if the bytes are not the pinned ones.
    """
    if baked is not None:
        if version_of(baked) == settings.root_version:
            _require(settings, baked)
        return baked
    kept = cached(settings.root_version)
    if kept is not None and hashlib.sha256(kept).hexdigest() == settings.root_sha256:
        return kept
    fetched = fetch(settings.root_version)
    _require(settings, fetched)
    return fetched


def require_pin(settings: Settings, *, bootstrap: bytes, cached: Callable[[int], bytes | None]) -> None:
    """After the chain was walked: the pinned version in it must be the pinned bytes."""
    if version_of(bootstrap) < settings.root_version:
        _require(settings, cached(settings.root_version) or b"")


def version_of(root: bytes) -> int:
    try:
        version = json.loads(root)["signed"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged() from error
    if not isinstance(version, int):
        raise _damaged()
    return version


def _require(settings: Settings, root: bytes) -> None:
    found = hashlib.sha256(root).hexdigest()
    if found != settings.root_sha256:
        raise attacks.root_pin(settings.root_version, found, settings.root_sha256)


def _damaged() -> Fatal:
    return Fatal(
        "trust-root-damaged",
        "the root that this node starts from is not TUF metadata",
        remedy="build the image again with the cluster's root.json, or without one",
    )
