"""Asking STS who signed: the request is rebuilt here, word for word, and goes to one host (trust.md 2.3, N6 to N9).

There is no URL, method, header or action from outside to judge. Six CVEs of other verifiers were about judging those.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from agent.aws.http import Broken, Http, Timeouts, TooLarge
from agent.aws.sigv4 import ALGORITHM
from agent.issuer.codes import later, refused
from agent.issuer.proof import Proof
from agent.issuer.wire import STS_BODY, bound_headers
from units.issuer_config import IssuerConfig

MAX_ANSWER = 16 * 1024
_TIMEOUTS = Timeouts(connect=2.0, read=4.0, total=5.0)
_BUSY = (b"<Code>Throttling", b"<Code>RequestLimitExceeded", b"<Code>ServiceUnavailable")


@dataclass(frozen=True, slots=True)
class StsAnswer:
    status: int
    content_type: str
    body: bytes


Rebuild = Callable[[IssuerConfig, Proof, str], dict[str, str]]


def rebuild(config: IssuerConfig, proof: Proof, body_sha256: str) -> dict[str, str]:
    """Every header of the request that the worker must have signed; audience and digest are our own (N7, N8)."""
    signed = bound_headers(config.audience, body_sha256) | {
        "host": urlsplit(config.sts_endpoint).netloc,
        "x-amz-content-sha256": hashlib.sha256(STS_BODY).hexdigest(),
        "x-amz-date": proof.date,
        "x-amz-security-token": proof.token,
    }
    scope = f"{proof.date[:8]}/{config.region}/sts/aws4_request"
    names = ";".join(sorted(signed))
    authorization = f"{ALGORITHM} Credential={proof.akid}/{scope}, SignedHeaders={names}, Signature={proof.signature}"
    return signed | {"authorization": authorization}


class Sts:
    """For one thread. No redirects, no proxy, no netrc: agent.aws.http knows none of them (N9)."""

    def __init__(self, config: IssuerConfig, *, rebuild: Rebuild = rebuild, limit: int = MAX_ANSWER) -> None:
        self._config = config
        self._limit = limit
        self._rebuild = rebuild
        self._http = Http()

    def ask(self, proof: Proof, body_sha256: str) -> StsAnswer:
        """Raises Retryable `sts-unreachable` or `sts-throttled`. The answer is judged by agent.issuer.sts_answer."""
        url = f"{self._config.sts_endpoint.rstrip('/')}/"
        headers = self._rebuild(self._config, proof, body_sha256)
        try:
            with self._http.exchange("POST", url, headers=headers, timeouts=_TIMEOUTS, body=STS_BODY) as response:
                body = response.body(limit=self._limit)
                answer = StsAnswer(response.status, response.headers.get("content-type", ""), body)
        except TooLarge as error:
            raise refused("sts-answer-refused", f"the answer has {error}") from error
        except Broken as broken:
            raise later("sts-unreachable", f"STS at {url} does not answer: {broken}", after=10) from broken
        if answer.status == 429 or (answer.status != 200 and any(code in answer.body for code in _BUSY)):
            raise later("sts-throttled", f"STS is busy ({answer.status})", after=10)
        if answer.status >= 500:
            raise later("sts-unreachable", f"STS at {url} answers {answer.status}", after=10)
        return answer
