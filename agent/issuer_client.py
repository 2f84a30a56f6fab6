"""The issuer as a worker asks it: a proof of identity, or a renewal over mutual TLS (trust.md 2.3).

All it says no with is Retryable: a machine that cannot join goes on asking, and joins once the cause is gone.
"""

import hashlib
import json
import re
import ssl
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from agent.aws.credentials import Credentials
from agent.aws.http import Broken, Response, Timeouts, TooLarge
from agent.aws.imds import Imds
from agent.aws.sigv4 import sign
from agent.issuer.https import ClusterHttp, client_context
from agent.issuer.wire import PATH, STS_BODY, UNIFORM_CODE, bound_headers, encode_body, encode_token
from agent.issuer_callback import confirming
from pki.certificate import load_certificate
from pki.errors import PkiError
from pki.keys import spki_sha256
from pki.request import csr_public_key
from units.errors import Fatal, Retryable
from units.issuer_config import audience
from units.manifest import Manifest
from units.names import url_host

_TIMEOUTS = Timeouts(connect=5.0, read=22.0, total=30.0)  # an issuer ends every connection after 20 s
_MAX_ANSWER = 256 * 1024
_CLOCK_SECONDS = 60
_CODE = re.compile(r"[a-z][a-z0-9-]{1,60}", re.ASCII)
_SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})$")


def _utc_now() -> datetime:
    return datetime.now(UTC)


class IssuerClient:
    """Implements `units.host.Issuer` for one manifest."""

    def __init__(self, manifest: Manifest, imds: Imds, *, now: Callable[[], datetime] = _utc_now) -> None:
        self._manifest = manifest
        self._imds = imds
        self._now = now
        self._url = f"https://{url_host(manifest.api.endpoint)}:{manifest.identity.port}{PATH}"

    def issue(self, csrs: Mapping[str, bytes], credential: bytes | None) -> Mapping[str, bytes]:
        body = encode_body(csrs)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        asked_back = 0
        if credential is None:
            headers["Authorization"] = self._proof(body)
            asked_back = self._manifest.identity.callback_port
        bundle = self._manifest.trust.authority("kubernetes").bundle
        http = ClusterHttp(client_context(bundle, credential))
        try:
            with (
                confirming(hashlib.sha256(body).hexdigest(), asked_back),
                http.exchange("POST", self._url, headers=headers, timeouts=_TIMEOUTS, body=body) as response,
            ):
                answer = response.body(limit=_MAX_ANSWER)
        except (Broken, TooLarge) as error:
            raise self._unreachable(error) from error
        if response.status != 200:
            raise self._refusal(response, _document(answer))
        return _certificates(_document(answer), csrs)

    def _proof(self, body: bytes) -> str:
        """What STS will confirm: signed here, sent by the issuer."""
        identity, cluster = self._manifest.identity, self._manifest.cluster
        credentials = self._credentials()
        signed = sign(
            "POST",
            f"{identity.sts_endpoint.rstrip('/')}/",
            headers=bound_headers(audience(cluster.name, cluster.uid), hashlib.sha256(body).hexdigest()),
            body=STS_BODY,
            credentials=credentials,
            scope=(cluster.region, "sts"),
            now=self._now(),
        )
        signature = _SIGNATURE.search(signed["authorization"])
        if signature is None or credentials.token is None:
            raise Fatal("imds-unexpected", "IMDS gave credentials without a token; only temporary ones prove anything")
        return encode_token(
            akid=credentials.access_key_id,
            date=signed["x-amz-date"],
            token=credentials.token,
            signature=signature[1],
        )

    def _credentials(self) -> Credentials:
        if self._manifest.identity.source == "instance-profile":
            return self._imds.credentials()
        return self._imds.identity_credentials()

    def _unreachable(self, error: Exception) -> Retryable:
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            return Retryable(
                "issuer-not-trusted",
                f"what answers at {self._url} is not certified by the cluster's CA: {error.__cause__.verify_message}",
                remedy="after a rotation of the CA: this node needs the manifest with the new bundle (agent sync); "
                "otherwise check what listens behind api.endpoint, and this node's clock",
                after=15,
            )
        return Retryable(
            "issuer-unreachable",
            f"the issuer at {self._url} does not answer: {error}",
            remedy=f"check that api.endpoint forwards port {self._manifest.identity.port} to the control plane, the "
            "security groups between, and `systemctl status bootwright-issuer.socket` there",
            after=10,
        )

    def _refusal(self, response: Response, document: Mapping[str, Any]) -> Retryable:
        code = str(document.get("code"))
        if not _CODE.fullmatch(code):
            return self._unreachable(Broken(f"HTTP {response.status}, and no word of an issuer's"))
        after = _seconds(response.headers.get("retry-after", ""))
        message = _line(document.get("message")) or f"the issuer answers {response.status} {code}"
        remedy = _line(document.get("remedy"))
        if code == UNIFORM_CODE:
            if off := self._clock_off(response.date):
                return off
            message = "the issuer does not accept this machine's proof of identity"
            remedy = "the reason is in the issuer's journal alone: journalctl -u bootwright-issuer on the control plane"
        return Retryable(code, message, remedy=remedy, after=after)

    def _clock_off(self, date: datetime | None) -> Retryable | None:
        """The usual innocent reason for a proof that nobody confirms."""
        seconds = (self._now() - date).total_seconds() if date else 0.0
        if abs(seconds) <= _CLOCK_SECONDS:
            return None
        return Retryable(
            "clock-wrong",
            f"this machine's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the issuer's: no "
            "proof of identity is accepted",
            remedy="chronyc tracking; chronyc makestep; on EC2 the time source is 169.254.169.123",
            after=15,
        )


def _document(answer: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _certificates(document: Mapping[str, Any], csrs: Mapping[str, bytes]) -> Mapping[str, bytes]:
    """Exactly what was asked for, each for our own key."""
    found = document.get("certificates")
    if not isinstance(found, dict) or set(found) != set(csrs):
        raise _unexpected(f"certificates for {', '.join(csrs)} were asked for, others came")
    try:
        issued = {profile: str(found[profile]).encode("ascii") for profile in csrs}
        for profile, pem in issued.items():
            if load_certificate(pem).spki_sha256 != spki_sha256(csr_public_key(csrs[profile])):
                raise _unexpected(f"the certificate for {profile} is another key's")
    except (PkiError, UnicodeEncodeError) as error:
        raise _unexpected(f"{error}") from error
    return issued


def _unexpected(what: str) -> Retryable:
    return Retryable(
        "issuer-unexpected",
        f"the issuer's answer does not fit: {what}",
        remedy="compare the agents' versions here and on the control plane",
        after=30,
    )


def _line(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(letter if letter.isprintable() else " " for letter in text[:600])


def _seconds(text: str) -> float:
    return float(min(int(text), 300)) if re.fullmatch(r"[0-9]{1,6}", text, re.ASCII) else 10.0
