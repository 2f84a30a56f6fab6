"""Sync: what the timer runs every minute. Nothing new and nothing due costs two small requests.

The node with all its adapters is put together only when there is something to do or to tell: its imports alone are
300 ms of CPU, and a poll in which nothing is new has 150 (docs/benchmarks.md).
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cluster_stamp import STAMP, objects_pending
from agent.run_state import LastRun
from units.errors import BootwrightError

if TYPE_CHECKING:
    from agent.node import RealNode

# A run of the whole plan finds drift, and renews what is due; certificates are due days before they matter.
FULL_RUN_EVERY = timedelta(hours=1)
NOTHING_NEW = "nothing new"

NodeOnDemand = Callable[[], "RealNode"]


def due(last: LastRun, now: datetime) -> str:
    """Why a whole run is needed although nothing new was published; empty if it is not."""
    if last.stage != "ready":
        return f"the last run ended as {last.stage}"
    if not last.converged:
        return "no whole run came to its end within the hour: the last one was cut off"
    if now - datetime.fromisoformat(last.converged) > FULL_RUN_EVERY:
        return "the last whole run was an hour ago"
    return next(
        (
            f"{path} is due for renewal"
            for path, renews in last.renewals
            if renews and datetime.fromisoformat(renews) <= now
        ),
        "",
    )


def sync(
    last: LastRun, changed_since: Callable[[], bool], node: NodeOnDemand, *, stamp: Path = Path(STAMP)
) -> tuple[int, str]:
    """Exit code, and what was done in words. A store that cannot be asked is a warning: the node keeps what it runs.

    `changed_since` asks the store whether anything was published; `node` makes the node, the same one each time.
    """
    reason = due(last, datetime.now(UTC))
    if reason:
        return _whole_run(node(), reason)
    try:
        if changed_since():
            return _whole_run(node(), "something new was published")
        if last.role == "control-plane" and objects_pending(stamp) and _put_objects(node(), last.private_ip):
            return 0, "put the cluster's first objects into the API server"
    except BootwrightError as error:
        _warn(node(), error)
        return error.exit_code, str(error)
    return 0, NOTHING_NEW


def _whole_run(node: "RealNode", reason: str) -> tuple[int, str]:
    from agent.boot import boot

    return boot(node), reason


def _warn(node: "RealNode", error: BootwrightError) -> None:
    with suppress(BootwrightError):
        _connect(node)  # then the warning also goes to the store, if that is not what fails
    node.reporter.begin()
    node.reporter.condition(error.code, str(error), remedy=error.remedy, severity="warning")
    node.reporter.conclude()
    node.reporter.update(force=True)


def _connect(node: "RealNode") -> None:
    node.connect(node.enrolment_on_disk(), node.instance())


def _put_objects(node: "RealNode", address: str) -> bool:
    from agent.cluster import put_cluster_objects

    _connect(node)
    manifest = node.applied().stable
    return put_cluster_objects(manifest, node.host(manifest), address)
