"""Everything that an issuer ever answers. Whoever has proven nothing gets one and the same refusal (N20)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.issuer.wire import UNIFORM_CODE, VERSION
from units.errors import BootwrightError, Retryable

_LATER = 5.0  # seconds, where the trouble itself does not say


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the server read it. `certificate`: DER, of a client that TLS has verified."""

    source: str
    authorizations: tuple[str, ...] = field(repr=False)
    certificate: bytes | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    retry_after: int | None = None


def _document(**fields: object) -> bytes:
    return (json.dumps({"v": VERSION, **fields}) + "\n").encode()


REFUSED = Answer(403, _document(code=UNIFORM_CODE))


def issued(certificates: Mapping[str, bytes]) -> Answer:
    return Answer(200, _document(certificates={profile: pem.decode() for profile, pem in certificates.items()}))


def told(error: BootwrightError) -> Answer:
    """The reason, to a caller who has proven who it is."""
    return Answer(403, _document(code=error.code, message=error.message, remedy=error.remedy))


def not_now(error: Retryable) -> Answer:
    """Trouble of ours, which says nothing about the caller: its code, and never what our own services said."""
    status = 429 if error.code == "throttled" else 503
    return Answer(status, _document(code=error.code, remedy=error.remedy), max(1, round(error.after or _LATER)))
