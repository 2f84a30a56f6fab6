"""May a certificate stay, or must it be issued again?"""

import hashlib
from collections.abc import Iterator
from datetime import datetime

from cryptography.exceptions import InvalidSignature

from pki.certificate import Certificate, load_credential
from pki.chain import load_authorities
from pki.errors import PkiError
from pki.profiles import BACKDATE
from pki.request import UNREADABLE_X509, CertificateRequest, subject_and_name_problems

_RENEW_AT_LATEST = 0.60
_RENEW_SPREAD = 0.05


def renew_at(certificate: Certificate, jitter_key: str) -> datetime:
    """When to renew: between 55 % and 60 % of its life, always the same for one `jitter_key` (a node's name).

    The spread only goes earlier, so that at 60 % nothing is left to renew.
    """
    digest = hashlib.sha256(jitter_key.encode()).digest()
    spread = int.from_bytes(digest[:8], "big") / 2**64 * _RENEW_SPREAD
    return certificate.not_before + certificate.lifetime * (_RENEW_AT_LATEST - spread)


def problems(
    combined_pem: bytes, request: CertificateRequest, bundle_pem: bytes, now: datetime, jitter_key: str
) -> tuple[str, ...]:
    """Every reason why the certificate in a combined PEM must be issued again; empty when it may stay.

    `bundle_pem` holds the authorities whose certificates may stay: while a CA rotation re-issues, the new one alone.
    PkiError only for an unreadable bundle, which no new certificate would heal.
    """
    authorities = load_authorities(bundle_pem)
    try:
        credential = load_credential(combined_pem)
        key_matches = credential.key_matches
    except PkiError as error:
        return (f"unreadable: {error}",)
    leaf = credential.leaf
    reasons = [] if key_matches else ["the private key is not the certificate's"]
    reasons += subject_and_name_problems(leaf.parsed, request)
    if leaf.is_authority:
        reasons.append("it is a CA certificate")
    if set(leaf.usages) != set(request.usages):
        reasons.append(f"usages are {', '.join(leaf.usages) or 'none'}, not {', '.join(request.usages)}")
    # What the authority clips at its own end is shorter than asked for, never longer.
    if leaf.lifetime > request.lifetime + BACKDATE:
        reasons.append(f"its life is {leaf.lifetime}, longer than {request.lifetime}")
    reasons += _authority_problems(leaf, authorities, now)
    reasons += _time_problems(leaf, authorities, now, renew_at(leaf, jitter_key))
    return tuple(reasons)


def _authority_problems(leaf: Certificate, authorities: tuple[Certificate, ...], now: datetime) -> Iterator[str]:
    signers = [authority for authority in authorities if _signed_by(leaf, authority)]
    if not signers:
        yield f"signed by an authority that is not in the bundle: {leaf.issuer}"
    elif not any(signer.not_before <= now <= signer.not_after for signer in signers):
        yield f"its authority {leaf.issuer} is not valid at {now:%Y-%m-%dT%H:%MZ}"


def _time_problems(
    leaf: Certificate, authorities: tuple[Certificate, ...], now: datetime, due: datetime
) -> Iterator[str]:
    if now < leaf.not_before:
        yield f"not yet valid: from {leaf.not_before:%Y-%m-%dT%H:%MZ}"
    elif now > leaf.not_after:
        yield f"expired on {leaf.not_after:%Y-%m-%dT%H:%MZ}"
    # At the end of an authority's life a renewal would gain nothing, and would be due again and again.
    elif now >= due and leaf.not_after < max(authority.not_after for authority in authorities):
        yield f"due for renewal since {due:%Y-%m-%dT%H:%MZ}"


def _signed_by(leaf: Certificate, authority: Certificate) -> bool:
    try:
        leaf.parsed.verify_directly_issued_by(authority.parsed)
    except (InvalidSignature, *UNREADABLE_X509):
        return False
    return True
