"""The node's real etcd, by its JSON gateway: what the API server double keeps survives it, and others see it."""

import base64
import http.client
import json
import ssl
import threading
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


class EtcdError(OSError):
    pass


@dataclass(frozen=True, slots=True)
class Kept:
    value: dict[str, Any]
    revision: int


class Etcd:
    """As kube-apiserver's --etcd-* flags say. Raises EtcdError when it does not answer."""

    def __init__(self, url: str, context: ssl.SSLContext) -> None:
        self._host, self._port = urlsplit(url).hostname or "", urlsplit(url).port
        self._context = context
        self._connection: http.client.HTTPSConnection | None = None
        self._lock = threading.Lock()

    def get(self, key: str) -> Kept | None:
        return next(iter(self._range({"key": _encoded(key)})), None)

    def below(self, prefix: str) -> list[Kept]:
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        return self._range({"key": _encoded(prefix), "range_end": _encoded(end)})

    def put(self, key: str, value: dict[str, Any], *, revision: int) -> int:
        """Only if it is still at that revision (0: not there). The new revision; 0 when somebody else was first."""
        target = {"target": "MOD", "mod_revision": str(revision)} if revision else {"target": "CREATE"}
        compare = {"key": _encoded(key), "result": "EQUAL", **target}
        if not revision:
            compare["create_revision"] = "0"
        put = {"request_put": {"key": _encoded(key), "value": _encoded(json.dumps(value))}}
        answer = self._ask("/v3/kv/txn", {"compare": [compare], "success": [put]})
        return int(answer["header"]["revision"]) if answer.get("succeeded") else 0

    def delete(self, key: str) -> None:
        self._ask("/v3/kv/deleterange", {"key": _encoded(key)})

    def _range(self, query: dict[str, str]) -> list[Kept]:
        found = self._ask("/v3/kv/range", query).get("kvs", [])
        return [Kept(json.loads(base64.b64decode(one["value"])), int(one["mod_revision"])) for one in found]

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            for last in (False, True):
                try:
                    return self._once(path, json.dumps(body))
                except (OSError, http.client.HTTPException) as error:
                    self._connection = None
                    if last:
                        raise EtcdError(f"etcd: {error}") from error
        raise AssertionError

    def _once(self, path: str, body: str) -> dict[str, Any]:
        if self._connection is None:
            self._connection = http.client.HTTPSConnection(self._host, self._port, timeout=5, context=self._context)
        self._connection.request("POST", path, body)
        answer = self._connection.getresponse()
        said = answer.read()
        if answer.status != 200:
            raise EtcdError(f"HTTP {answer.status}: {said[:200].decode(errors='replace')}")
        return dict(json.loads(said))


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
