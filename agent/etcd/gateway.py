"""etcd's own HTTP interface, `/v3/...`: one call, through whichever member answers.

Chosen over the etcd3 library for members and maintenance (ADR 0009): it knows learners and leadership,
keeps the server's error code and words, and tries every endpoint. etcd wants a client certificate; the member's
server certificate must be valid for clients too, because the gateway dials itself with it (etcd-pki.md 2.9).
"""

import json
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Self

from agent.aws.http import Broken, Http, Response, Timeouts, TooLarge
from agent.etcd.gateway_errors import EtcdRefusal, Unreachable, refusal
from agent.etcd.wire import Document

_MOST_ANSWER = 8 * 1024 * 1024  # of one answer; whole members of a cluster are 1 kB each
_MOST_ERROR = 64 * 1024
CALL = Timeouts(connect=2.0, read=8.0, total=10.0)


def tls_context(authorities: str, credential: str) -> ssl.SSLContext:
    """Trusts only `authorities`; `credential` is certificate and key in one PEM file. OSError without them."""
    context = ssl.create_default_context(cafile=authorities)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(credential)
    return context


class Gateway:
    """Endpoints of one cluster, tried in order, starting with the one that answered last. For one thread.

    A member that cannot be reached is passed over; an answer, good or bad, is final. Whether a call that broke off was
    done nobody knows: callers only make calls that may be made twice.
    """

    def __init__(self, urls: Sequence[str], authorities: str, credential: str) -> None:
        """Unreachable, like a call, when the certificates cannot be read: a node without them yet."""
        self._urls = [url.rstrip("/") for url in urls]
        try:
            self._http = Http(tls_context(authorities, credential))
        except OSError as error:
            raise Unreachable(
                "etcd-unreachable",
                f"no client certificate for etcd: {credential} or {authorities}: {error.strerror or error}",
                remedy="`agent boot` makes it; `agent status` says why it has not",
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def call(self, path: str, body: Document | None = None, *, timeouts: Timeouts = CALL) -> Document:
        """Raises EtcdRefusal with the server's code and words, Unreachable if no member answers."""
        with self._answered(path, body or {}, timeouts) as response:
            try:
                found = json.loads(response.body(limit=_MOST_ANSWER))
            except (Broken, TooLarge, ValueError) as error:
                raise Unreachable("etcd-unreachable", f"{path}: the answer broke off: {error}") from error
        if not isinstance(found, dict):
            raise Unreachable("etcd-unreachable", f"{path}: answered {type(found).__name__} instead of an object")
        return found

    @contextmanager
    def _answered(self, path: str, body: Document, timeouts: Timeouts) -> Iterator[Response]:
        """The response of the first member that gives one, if it is a success."""
        encoded, tried = json.dumps(body).encode(), []
        for url in tuple(self._urls):
            with ExitStack() as stack:
                try:
                    response = stack.enter_context(
                        self._http.exchange(
                            "POST",
                            url + path,
                            headers={"Content-Type": "application/json"},
                            timeouts=timeouts,
                            body=encoded,
                        )
                    )
                except Broken as broken:
                    tried.append(f"{url}: {broken}")
                    continue
                self._prefer(url)
                if response.status != 200:
                    raise _explained(path, response)
                yield response
                return
        raise Unreachable(
            "etcd-unreachable",
            f"no member of etcd answers {path}: {'; '.join(tried) or 'there is no endpoint to ask'}",
            remedy="`agent etcd status`; journalctl -u 'bootwright-etcd-*' on the members",
        )

    def _prefer(self, url: str) -> None:
        if self._urls[0] != url:
            self._urls.remove(url)
            self._urls.insert(0, url)


def _explained(path: str, response: Response) -> EtcdRefusal:
    try:
        said = response.body(limit=_MOST_ERROR)
    except (Broken, TooLarge) as error:
        said = str(error).encode()
    try:
        document = json.loads(said)
        # 3.6 has `message`, 3.5 both, 3.4 `error`.
        return refusal(path, document.get("code"), document.get("message") or document.get("error") or "")
    except (ValueError, AttributeError):
        return refusal(path, None, f"HTTP {response.status}: {said[:200].decode(errors='replace')}")
