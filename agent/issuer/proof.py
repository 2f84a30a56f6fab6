"""A proof of identity: four words that a worker sends, judged before anything is sent on (trust.md 2.4, N1 to N5)."""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.issuer.checks import Check, require
from agent.issuer.codes import refused
from agent.issuer.strict_json import Document, read_document
from agent.issuer.wire import MAX_TOKEN, SCHEME, VERSION

if TYPE_CHECKING:
    from agent.issuer.rules import Rules

_NAMES = ("akid", "date", "token", "sig")
_FIELDS = frozenset({"v", *_NAMES})
_OLDEST, _EARLIEST = 300, -60  # seconds: STS allows five minutes
_DATE = "%Y%m%dT%H%M%SZ"
# re.fullmatch: a `$` would let a final line break through, and without ASCII \d means Arabic digits, too.
_AKID = re.compile(r"ASIA[A-Z0-9]{16}", re.ASCII)
_WHEN = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9+/=]+", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Proof:
    """What goes into the rebuilt request, letter by letter."""

    akid: str
    date: str
    token: str = field(repr=False)
    signature: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ProofCase:
    proof: Proof
    now: datetime

    @property
    def age(self) -> float:
        """Seconds; a date that is none is as old as can be."""
        try:
            return (self.now - datetime.strptime(self.proof.date, _DATE).replace(tzinfo=UTC)).total_seconds()
        except ValueError:
            return float("inf")


def read_proof(authorization: str, rules: "Rules", now: datetime) -> Proof:
    require(rules.authorization, authorization)
    encoded = authorization.removeprefix(SCHEME)
    require(rules.token, encoded)
    document = read_document(_decode(encoded), code="proof-malformed")
    require(rules.document, document)
    akid, date, token, signature = (str(document.get(name)) for name in _NAMES)
    proof = Proof(akid, date, token, signature)
    require(rules.proof, ProofCase(proof, now))
    return proof


def _decode(encoded: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
    except (binascii.Error, ValueError) as error:
        raise refused("proof-malformed", "the token is not base64url") from error


def _canonical(encoded: str) -> str:
    """Python's decoder skips what it does not know, and ignores bits behind the end: one proof, one spelling (N2)."""
    again = base64.urlsafe_b64encode(_decode(encoded)).rstrip(b"=").decode()
    return "" if again == encoded else "the token is not the one way to write its bytes in base64url"


def _no_strings(document: Document) -> str:
    wrong = [name for name in _NAMES if not isinstance(document.get(name), str)]
    return f"{', '.join(wrong)}: no string" if wrong else ""


def _version(document: Document) -> str:
    found = document.get("v")
    return "" if found == VERSION and type(found) is int else f"v: {str(found)[:20]!r}; allowed: {VERSION}"


def _matches(pattern: re.Pattern[str], value: Callable[[Proof], str], name: str) -> Callable[[ProofCase], str]:
    # Never the value itself: token and signature must not reach a log (N20).
    def complaint(case: ProofCase) -> str:
        return "" if pattern.fullmatch(value(case.proof)) else f"{name} is not of the form {pattern.pattern}"

    return complaint


AUTHORIZATION: tuple[Check[str], ...] = (
    Check("N1-token-size", "proof-malformed", lambda text: "" if len(text) <= MAX_TOKEN else f"{len(text)} bytes"),
    Check("N3-scheme", "proof-malformed", lambda text: "" if text.startswith(SCHEME) else f"no {SCHEME.strip()}"),
)
TOKEN: tuple[Check[str], ...] = (Check("N2-canonical", "proof-malformed", _canonical),)
DOCUMENT: tuple[Check[Document], ...] = (
    Check(
        "N3-fields",
        "proof-malformed",
        lambda document: "" if document.fields() == _FIELDS else f"fields {sorted(document.fields())}"[:200],
    ),
    Check("N3-duplicates", "proof-malformed", lambda document: "a field twice" if document.duplicates else ""),
    Check("N3-version", "proof-malformed", _version),
    Check("N3-strings", "proof-malformed", _no_strings),
)
PROOF: tuple[Check[ProofCase], ...] = (
    Check("N4-akid", "proof-malformed", _matches(_AKID, lambda proof: proof.akid, "akid")),
    Check("N4-date", "proof-malformed", _matches(_WHEN, lambda proof: proof.date, "date")),
    Check("N4-token", "proof-malformed", _matches(_TOKEN, lambda proof: proof.token, "token")),
    Check("N4-signature", "proof-malformed", _matches(_SIGNATURE, lambda proof: proof.signature, "sig")),
    Check(
        "N5-late",
        "proof-wrong-time",
        lambda case: "" if case.age <= _OLDEST else f"signed {case.age:.0f} s ago; allowed: {_OLDEST}",
    ),
    Check(
        "N5-early",
        "proof-wrong-time",
        lambda case: "" if case.age >= _EARLIEST else f"signed {-case.age:.0f} s ahead; allowed: {-_EARLIEST}",
    ),
)
