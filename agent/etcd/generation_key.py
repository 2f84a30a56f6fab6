"""`/bootwright/cluster`: the token of the generation, kept by the cluster itself.

Over the gateway and not etcd3: every whole run reads it, and loading that library takes 0.12 s of CPU (ADR 0009).
"""

from agent.etcd.admin import EtcdClients
from agent.etcd.gateway_errors import EtcdRefusal
from agent.etcd.wire import content, encoded, parts
from units.errors import Retryable

KEY = "/bootwright/cluster"


def read_key(clients: EtcdClients) -> str | None:
    """With a quorum behind it. A learner serves no keys: the next endpoint is asked."""
    refused: Retryable | None = None
    for number in range(len(clients.urls)):
        with clients.at(*clients.urls[number:]).gateway() as gateway:
            try:
                found = parts(gateway.call("/v3/kv/range", {"key": encoded(KEY)}), "kvs")
            except EtcdRefusal as error:
                if error.code != "etcd-learner":
                    raise
                refused = error
                continue
        return content(found[0], "value").decode(errors="replace") if found else None
    raise refused or Retryable("etcd-unreachable", "there is no endpoint to ask")


def replace_key(clients: EtcdClients, before: str | None, token: str) -> bool:
    """Only over `before` (None: only where nothing is). False if something else is there."""
    if before is None:
        unchanged = {"key": encoded(KEY), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
    else:
        unchanged = {"key": encoded(KEY), "target": "VALUE", "result": "EQUAL", "value": encoded(before)}
    put = {"request_put": {"key": encoded(KEY), "value": encoded(token)}}
    with clients.gateway() as gateway:
        return bool(gateway.call("/v3/kv/txn", {"compare": [unchanged], "success": [put]}).get("succeeded", False))
