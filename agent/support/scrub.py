"""Takes secrets out of text, whoever wrote it there: logs quote requests, and people paste keys into configs. Pure.

It rather takes too much: a line that is missing costs a question, a key that is not costs the cluster.
"""

import re
from collections.abc import Callable, Sequence

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\r?\n?")

# A block whose end was cut off (a journal's longest line, a tail) ends with the text. JSON and logs escape the breaks.
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
# The other way round: a tail that begins in the middle of a block.
_KEY_WITHOUT_BEGIN = re.compile(r"\A(?:(?!-----BEGIN ).)*-----END [A-Z0-9 ]*PRIVATE KEY-----", re.DOTALL)

_NAMES = (
    r"aws_?secret_?access_?key|secret_?access_?key|secretkey|secret_?key|session_?token|security[-_]?token|"
    r"metadata-token|client-key-data|[a-z_-]*token|pass(?:word|wd|phrase)|api[-_]?key|plaintext|authorization|"
    r"x-amz-security-token|x-amz-signature|x-amz-credential|signature|private[-_]?key|client[-_]?secret"
)
_NAMED = re.compile(rf"""(?i)(?<![a-z0-9])(["']?(?:{_NAMES})["']?\s*(?:[:=]|%3d)\s*)(["']?)([^\s"',;&}}\]]+)""")
_HEADER = re.compile(r"(?im)((?:^|[\"'\s])(?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)[^\r\n\"']+")
_SCHEME = re.compile(r"(?i)\b(bearer|basic|NodeSTS1)\s+[A-Za-z0-9._~+/=-]{8,}")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*)?")
_ACCESS_KEY_ID = re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA)[A-Z0-9]{12,}(?![A-Z0-9])")
_BOOTSTRAP_TOKEN = re.compile(r"(?<![a-z0-9.])[a-z0-9]{6}\.[a-z0-9]{16}(?![a-z0-9.])")
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s:@]+:[^/\s@]+@")
_SECRET_KEY = re.compile(r"(?<![A-Za-z0-9/+=_.-])[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=_.-])")
_LONG = re.compile(r"[A-Za-z0-9+/_=%-]{120,}")
_HEX = re.compile(r"[0-9a-fA-F]+")


def scrub(text: str) -> str:
    for rule in _RULES:
        text = rule(text)
    return text


def public_part(pem: bytes) -> bytes:
    """Only the certificates of a PEM; whatever else stands in it, comments included, stays out."""
    return b"".join(_CERTIFICATE.findall(pem))


def _gone(what: str) -> str:
    return f"[{what} removed]"


def _random_looking(found: re.Match[str]) -> str:
    """As an AWS secret key: upper, lower and digits. A path or a git hash is none."""
    text = found[0]
    mixed = any(c.islower() for c in text) and any(c.isupper() for c in text) and any(c.isdigit() for c in text)
    return _gone("secret key") if mixed and not text.startswith("/") else text


def _long(found: re.Match[str]) -> str:
    return found[0] if _HEX.fullmatch(found[0]) else _gone("long token")


_RULES: Sequence[Callable[[str], str]] = (
    lambda text: _KEY_WITHOUT_BEGIN.sub(_gone("private key"), text),
    lambda text: _PRIVATE_KEY.sub(_gone("private key"), text),
    lambda text: _HEADER.sub(rf"\1{_gone('authorization')}", text),
    lambda text: _SCHEME.sub(rf"\1 {_gone('token')}", text),
    lambda text: _NAMED.sub(rf"\1\2{_gone('value')}", text),
    lambda text: _JWT.sub(_gone("JWT"), text),
    lambda text: _ACCESS_KEY_ID.sub(_gone("access key id"), text),
    lambda text: _BOOTSTRAP_TOKEN.sub(_gone("token"), text),
    lambda text: _USERINFO.sub(rf"\1{_gone('credentials')}@", text),
    lambda text: _SECRET_KEY.sub(_random_looking, text),
    lambda text: _LONG.sub(_long, text),
)
