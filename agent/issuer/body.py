"""The body of a request: which profiles, and a CSR for each (trust.md 2.3)."""

from typing import TYPE_CHECKING

from agent.issuer.checks import Check, require
from agent.issuer.strict_json import Document, read_document
from agent.issuer.wire import MAX_BODY, PROFILES, VERSION

if TYPE_CHECKING:
    from agent.issuer.rules import Rules


def read_csrs(body: bytes, rules: "Rules") -> dict[str, bytes]:
    """Profile -> PEM, not looked at yet."""
    require(rules.body, body)
    document = read_document(body, code="request-malformed")
    require(rules.csrs, document)
    csrs = document.get("csrs")
    found = csrs.items() if isinstance(csrs, dict) else ()
    return {str(profile): str(csr).encode() for profile, csr in found}


def _version(document: Document) -> str:
    found = document.get("v")
    return "" if found == VERSION and type(found) is int else f"v: {str(found)[:20]!r}; allowed: {VERSION}"


def _fields(document: Document) -> str:
    found = document.fields()
    return "" if found == {"v", "csrs"} else f"fields {sorted(found)}"[:200]


def _profiles(document: Document) -> str:
    csrs = document.get("csrs")
    if not isinstance(csrs, dict) or not csrs:
        return "csrs: no object with at least one profile"
    unknown = sorted(set(csrs) - set(PROFILES))
    return f"csrs: {', '.join(unknown)[:100]!r}; allowed: {', '.join(PROFILES)}" if unknown else ""


def _texts(document: Document) -> str:
    csrs = document.get("csrs")
    texts = isinstance(csrs, dict) and all(isinstance(csr, str) for csr in csrs.values())
    return "" if texts else "csrs: a value is no text"


BODY: tuple[Check[bytes], ...] = (
    Check("N1-body-size", "request-malformed", lambda body: "" if len(body) <= MAX_BODY else f"{len(body)} bytes"),
)
CSRS: tuple[Check[Document], ...] = (
    Check("N3-body-fields", "request-malformed", _fields),
    Check("N3-body-duplicates", "request-malformed", lambda found: "a field twice" if found.duplicates else ""),
    Check("N3-body-version", "request-malformed", _version),
    Check("N3-body-profiles", "request-malformed", _profiles),
    Check("N3-body-texts", "request-malformed", _texts),
)
