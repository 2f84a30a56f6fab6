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
from agent.issued import ISSUED, marks_pending
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
    if last.candidate_waits:
        return "a candidate waits for this node to be fit for it"
    return next(
        (
            f"{path} is due for renewal"
            for path, renews in last.renewals
            if renews and datetime.fromisoformat(renews) <= now
        ),
        "",
    )


def sync(
    last: LastRun,
    changed_since: Callable[[], bool],
    node: NodeOnDemand,
    *,
    volumes: Callable[[], str] = str,
    stamp: Path = Path(STAMP),
    issued: Path = ISSUED,
) -> tuple[int, str]:
    """Exit code, and what was done in words. A store that cannot be asked is a warning: the node keeps what it runs.

    `changed_since` asks the store whether anything was published; `node` makes the node, the same one each time.
    `volumes` looks after etcd's volumes, which needs no store, and says why they need a whole run.
    """
    grown = volumes() if last.role == "control-plane" else ""
    reason = due(last, datetime.now(UTC)) or grown
    try:
        if reason or changed_since():
            return _whole_run(node(), reason or "something new was published", stamp, issued)
        if last.role == "control-plane":
            return 0, _serve_cluster(node, stamp, issued)
    except BootwrightError as error:
        _warn(node(), error)
        return error.exit_code, str(error)
    return 0, NOTHING_NEW


def _whole_run(node: "RealNode", reason: str, stamp: Path, issued: Path) -> tuple[int, str]:
    from agent.boot import boot
    from agent.defects import told_as_defect

    with told_as_defect(node.reporter):
        exit_code = boot(node, repair=False)
    if exit_code == 0 and node.reporter.status.role == "control-plane" and not objects_pending(stamp):
        from agent.cluster_service import label_nodes

        label_nodes(node, issued, own=True)
    return exit_code, reason


def _serve_cluster(node: NodeOnDemand, stamp: Path, issued: Path) -> str:
    """What a control-plane node does for the others, and for itself once its API server is up."""
    if objects_pending(stamp):
        from agent.cluster_service import found_cluster

        _connect(node())
        return "put the cluster's first objects into the API server" if found_cluster(node(), issued) else NOTHING_NEW
    if marks_pending(issued):
        from agent.cluster_service import label_nodes

        _connect(node())
        labelled = label_nodes(node(), issued, own=False)
        return f"labelled {labelled} node{'' if labelled == 1 else 's'}" if labelled else NOTHING_NEW
    return NOTHING_NEW


def _warn(node: "RealNode", error: BootwrightError) -> None:
    with suppress(BootwrightError):
        _connect(node)  # then the warning also goes to the store, if that is not what fails
    node.reporter.warn(error)


def _connect(node: "RealNode") -> None:
    node.connect(node.enrolment_on_disk(), node.instance())
