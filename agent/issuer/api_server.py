"""Is a Node Ready? Asked of this machine's API server with a certificate that lives an hour, in memory (N17)."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import quote

from agent.aws.http import Broken, Timeouts, TooLarge
from agent.issuer.codes import later
from agent.issuer.https import ClusterHttp, client_context
from pki.authority import Authority
from pki.certificate import combine
from pki.keys import load_private_key, make_key
from pki.request import CertificateRequest
from units.issuer_config import IssuerConfig

_LIFETIME = timedelta(hours=1)
_MAX_ANSWER = 2 * 1024 * 1024  # a Node lists its images
_TIMEOUTS = Timeouts(connect=1.0, read=3.0, total=4.0)


class ApiServer:
    """For one thread. The user is `bootwright:agent:NAME` of the group bootwright:agents."""

    def __init__(
        self, config: IssuerConfig, authority: Authority, bundle_pem: str, now: Callable[[], datetime]
    ) -> None:
        self._config = config
        self._authority = authority
        self._bundle = bundle_pem
        self._now = now
        self._http: ClusterHttp | None = None
        self._renew = now()

    def is_ready(self, node: str) -> bool:
        """False if there is no such Node. Raises Retryable `api-server-unreachable`: then nothing is issued."""
        url = f"{self._config.api_server}/api/v1/nodes/{quote(node, safe='')}"
        try:
            with self._client().exchange(
                "GET", url, headers={"Accept": "application/json"}, timeouts=_TIMEOUTS
            ) as response:
                status, body = response.status, response.body(limit=_MAX_ANSWER)
        except (Broken, TooLarge) as error:
            raise _unreachable(f"{url}: {error}") from error
        if status == 404:
            return False
        if status != 200:
            raise _unreachable(f"{url}: HTTP {status}")
        return _ready(url, body)

    def _client(self) -> ClusterHttp:
        if self._http is None or self._now() >= self._renew:
            key, now = make_key(), self._now()
            request = CertificateRequest(profile="agent", name=self._config.issuer_name, lifetime=_LIFETIME)
            certificate = self._authority.issue(request, load_private_key(key).public_key(), now)
            self._http = ClusterHttp(client_context(self._bundle, combine(certificate, key)))
            self._renew = now + _LIFETIME / 2
        return self._http


def _ready(url: str, body: bytes) -> bool:
    try:
        conditions = json.loads(body)["status"].get("conditions", [])
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _unreachable(f"{url}: no Node in the answer") from error


def _unreachable(message: str) -> Exception:
    return later("api-server-unreachable", message, after=10)
