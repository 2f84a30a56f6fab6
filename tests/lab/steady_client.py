"""Somebody who uses the cluster all the time, through the load balancer: on one connection that stays, and on new ones.

It does what client-go does: a connection that breaks, or cannot be made, is made again, once at once. What is said no
to is kept for the test: a status that is not 200, and every refusal of a certificate, by either side.
"""

import base64
import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self
from urllib.parse import urlsplit

import yaml

PATH = "/api/v1/nodes"
SECONDS = 5.0
PAUSE = 0.3

# OpenSSL's names for a connection that ended, which is nobody's refusal.
_ENDED = ("UNEXPECTED_EOF_WHILE_READING",)


class Refused(RuntimeError):
    """The server, or this client, said no: a certificate or a right is not good enough."""


class Unanswered(RuntimeError):
    """Nobody is there, or the connection ended before an answer."""


class ApiConnection:
    """One connection with what a kubeconfig holds, or with another certificate and key; made at the first request."""

    def __init__(self, kubeconfig: str, pair: bytes = b"") -> None:
        config = yaml.safe_load(kubeconfig)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authorities = base64.b64decode(cluster["certificate-authority-data"]).decode()
        pair = pair or b"".join(base64.b64decode(user[f"client-{part}-data"]) for part in ("certificate", "key"))
        server = urlsplit(cluster["server"])
        self._connection = http.client.HTTPSConnection(
            server.hostname or "", server.port, timeout=SECONDS, context=tls(authorities, pair)
        )

    def get(self, path: str = PATH) -> Any:
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Raises Refused or Unanswered; after either the connection is closed."""
        content = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = self._connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if isinstance(error, ssl.SSLError) and error.reason not in _ENDED:
                raise Refused(f"TLS: {error}") from error
            raise Unanswered(f"{type(error).__name__}: {error}") from error
        if answer.status not in (200, 201):
            self.close()
            raise Refused(f"HTTP {answer.status}: {said[:300].decode(errors='replace')}")
        return json.loads(said)

    def close(self) -> None:
        self._connection.close()


def tls(authorities: str, pair: bytes) -> ssl.SSLContext:
    """Trusts these authorities and no others, and shows the certificate in `pair` (PEM with its key)."""
    context = ssl.create_default_context(cadata=authorities)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "client.pem"
        path.touch(mode=0o600)
        path.write_bytes(pair)
        context.load_cert_chain(path)
    return context


def answers(kubeconfig: str) -> bool:
    """Whether a new connection is let in; an API server that is away meanwhile is asked again for a minute."""
    deadline = time.monotonic() + 60
    while True:
        connection = ApiConnection(kubeconfig)
        try:
            connection.get()
        except Refused:
            return False
        except Unanswered:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE)
        else:
            return True
        finally:
            connection.close()


@dataclass
class Experience:
    """What one phase was like. `lost`: requests that nobody answered, not at the second try either. `outages`: how many
    times that began for the client of new connections.
    """

    answered: dict[str, int] = field(default_factory=lambda: {"kept": 0, "new": 0})
    refused: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    lost: int = 0
    outages: int = 0
    longest: float = 0.0  # seconds between two answers to new connections
    missing: set[str] = field(default_factory=set)  # nodes that a list lacked
    not_ready: set[str] = field(default_factory=set)


class SteadyClient:
    """`with` it runs; `during` says what it met. `nodes`: names of those that every list must hold."""

    def __init__(self, kubeconfig: str, nodes: frozenset[str]) -> None:
        self._kubeconfig, self._nodes = kubeconfig, nodes
        self._now = Experience()
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(how,), daemon=True) for how in ("kept", "new")]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def use(self, kubeconfig: str) -> None:
        """From the next request on; the connection that stays is made anew for it."""
        self._kubeconfig = kubeconfig

    def expect(self, node: str) -> None:
        """A node that has joined since."""
        self._nodes |= {node}

    @contextmanager
    def during(self) -> Iterator[Experience]:
        """What happens inside, and at least ten answers of each kind at its end."""
        with self._guard:
            self._now = found = Experience()
        yield found
        before, deadline = dict(found.answered), time.monotonic() + 120
        while any(found.answered[how] < before[how] + 10 for how in before):
            if time.monotonic() > deadline:
                raise Unanswered(f"no ten answers in two minutes: {found}")
            time.sleep(0.1)

    def _ask(self, how: str) -> None:
        used, connection, away, last = "", None, False, time.monotonic()
        while not self._over.is_set():
            if connection is None or used != self._kubeconfig or how == "new":
                if connection:
                    connection.close()
                used = self._kubeconfig
                connection = ApiConnection(used)
            found = self._get(connection, how)
            with self._guard:
                if found is None:
                    self._now.outages += how == "new" and not away
                else:
                    self._learn(how, found, time.monotonic() - last)
                    last = time.monotonic()
            away = found is None
            self._over.wait(PAUSE)
        if connection:
            connection.close()

    def _get(self, connection: ApiConnection, how: str) -> Any:
        """None if it was in vain."""
        for _first_and_second in range(2):
            try:
                return connection.get()
            except Refused as error:
                with self._guard:
                    self._now.refused.append(f"{how}: {error}")
                return None
            except Unanswered as error:
                with self._guard:
                    self._now.unanswered.append(f"{how}: {error}")
        with self._guard:
            self._now.lost += 1
        return None

    def _learn(self, how: str, found: Any, pause: float) -> None:
        self._now.answered[how] += 1
        if how == "new":
            self._now.longest = max(self._now.longest, pause)
        ready = {
            node["metadata"]["name"]: condition["status"]
            for node in found["items"]
            for condition in node.get("status", {}).get("conditions", [])
            if condition["type"] == "Ready"
        }
        self._now.missing |= self._nodes - ready.keys()
        self._now.not_ready |= {name for name in self._nodes & ready.keys() if ready[name] != "True"}
