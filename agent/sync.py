"""Sync: what the timer runs every minute. Nothing new and nothing due costs two small requests."""

from datetime import UTC, datetime, timedelta

from agent.boot import boot
from agent.certificates import list_certificates
from agent.cluster import objects_pending, put_cluster_objects
from agent.node import RealNode
from units.errors import BootwrightError
from units.status import NodeStatus

# A run of the whole plan finds drift, and renews what is due; certificates are due days before they matter.
FULL_RUN_EVERY = timedelta(hours=1)
NOTHING_NEW = "nothing new"


def due(status: NodeStatus, now: datetime) -> str:
    """Why a whole run is needed although nothing new was published; empty if it is not."""
    if status.stage != "ready":
        return f"the last run ended as {status.stage}"
    if now - datetime.fromisoformat(status.updated) > FULL_RUN_EVERY:
        return "the last whole run was an hour ago"
    renewing = [one for one in list_certificates(now, status.instance_id) if datetime.fromisoformat(one.renews) <= now]
    return f"{renewing[0].path} is due for renewal" if renewing else ""


def sync(node: RealNode, status: NodeStatus) -> tuple[int, str]:
    """Exit code, and what was done in words. A store that cannot be asked is a warning: the node keeps what it runs."""
    reason = due(status, datetime.now(UTC))
    if reason:
        return boot(node), reason
    try:
        node.connect(node.enrolment_on_disk(), node.instance())
        if node.changed_since():
            return boot(node), "something new was published"
        if status.role == "control-plane" and objects_pending():
            manifest = node.applied().stable
            if put_cluster_objects(manifest, node.host(manifest), status.private_ip):
                return 0, "put the cluster's first objects into the API server"
    except BootwrightError as error:
        node.reporter.begin()
        node.reporter.condition(error.code, str(error), remedy=error.remedy, severity="warning")
        node.reporter.update(force=True)
        return error.exit_code, str(error)
    return 0, NOTHING_NEW
