"""How long to wait after the last node has confirmed a phase, and since when it has.

A status object says that a node has a phase, not since when. So the moment in which a command first sees all of them
confirm is kept in the key directory, and waiting counts from there: at another desk it counts anew, never too short.
"""

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from coordinator.documents import Rotation
from coordinator.key_directory import KeyDirectory
from coordinator.rotation.confirmation import last_word, span_text
from coordinator.status import Fleet
from units.errors import Fatal, Refused, Retryable
from units.manifest import Manifest

FILE: Final = "confirmed.json"
# A static pod restarts within two minutes, client-go looks at its files every five (etcd-pki.md 3.4): only then does
# everything on a node that is ready live with the phase.
SETTLE: Final = timedelta(minutes=6)
_MOST: Final = 50  # entries; nobody looks at older ones

_EXTEND: Final = "service-account-extend-token-expiration"
_USUAL_TOKEN: Final = timedelta(hours=1)  # what kubelet asks for on behalf of a pod, unless the pod says otherwise
_EXTENDED_TOKEN: Final = timedelta(days=365)


class Confirmations:
    """`confirmed.json` in the key directory."""

    def __init__(self, directory: KeyDirectory) -> None:
        self._directory = directory

    def since(self, rotation: Rotation, now: datetime) -> datetime:
        """When this desk first saw every node confirm this phase: now, if it never did before."""
        known = self._read()
        key = f"{rotation.name} {rotation.phase} {rotation.serial} {rotation.new[:16]}"
        if key not in known:
            known[key] = f"{now:%Y-%m-%dT%H:%M:%S%z}"
            kept = dict(list(known.items())[-_MOST:])
            self._directory.write(FILE, (json.dumps(kept, indent=1) + "\n").encode())
        return datetime.fromisoformat(known[key])

    def _read(self) -> dict[str, str]:
        content = self._directory.read(FILE)
        try:
            return dict(json.loads(content)) if content else {}
        except (ValueError, TypeError) as error:
            raise Fatal(
                "confirmations-damaged",
                f"{self._directory.path / FILE}: {error}",
                remedy="delete it: waiting then counts from now",
            ) from error


def require_settled(fleet: Fleet, since: datetime, now: datetime, settle: timedelta) -> None:
    """Retryable while something on a node may still be restarting."""
    spoken = last_word(fleet)
    quiet = spoken is None or now - spoken >= settle
    if not quiet and now - since < settle:
        raise Retryable(
            "rotation-settling",
            f"every node has confirmed the phase, first seen {span_text(now - since)} ago; what restarts and reloads "
            f"on a node needs {span_text(settle)} to live with it",
            remedy=f"run it again in {span_text(since + settle - now)}",
            after=int((since + settle - now).total_seconds()),
        )


def require_tokens_expired(
    manifests: Iterable[Manifest], since: datetime, now: datetime, after: timedelta | None
) -> None:
    """Refused until no token that the old key signed can be good any more, as the operator confirms with `after`."""
    least = max((_token_life(manifest) for manifest in manifests), default=_USUAL_TOKEN)
    if after is None or after < least:
        raise Refused(
            "token-life-unconfirmed",
            "from this phase on every token that the old service-account key signed is refused (401). Pods' own live "
            f"{span_text(least)} in this cluster; tokens that somebody asked longer ones for (`kubectl create token "
            "--duration`, projected volumes with expirationSeconds) live as long as they asked for"
            + (f"; --after {span_text(after)} is too short" if after is not None else ""),
            remedy=f"confirm the longest life of any token: --after {_hours(least)}",
        )
    if now - since < after:
        raise Refused(
            "token-life-not-over",
            f"the old service-account key may have signed tokens until {since:%Y-%m-%dT%H:%MZ}, when every API server "
            f"was first seen to sign with the new one; with a life of {span_text(after)} they are good until "
            f"{since + after:%Y-%m-%dT%H:%MZ}",
            remedy="run it again after that",
        )


def _token_life(manifest: Manifest) -> timedelta:
    extended = manifest.components.kube_apiserver.get(_EXTEND, "false").lower()
    return _EXTENDED_TOKEN if extended in ("true", "1", "t") else _USUAL_TOKEN


def _hours(span: timedelta) -> str:
    return f"{round(span.total_seconds() / 3600)}h"
