"""Which etcd the nodes have, against the one that took a backup: asked before a restore is begun."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from coordinator.status import SeenNode
from units.errors import Refused
from units.etcd_backup import BackupMeta
from units.etcd_versions import parse, restore_problem

# A node that runs tells within the hour whatever happens. Who has been silent for longer takes no part, and must not
# keep others from a restore: the statuses of lost machines stay in the bucket.
_HEARD = timedelta(hours=2)


def check_versions(meta: BackupMeta, nodes: Iterable[SeenNode], now: datetime, *, force: bool) -> list[str]:
    """Warnings. Refused `etcd-restore-version` for a backup that a node's etcd does not read, unless forced."""
    try:
        taken = parse(meta.etcd_version)[:2]
    except Refused as error:
        return [f"the backup does not say which etcd took it: {error}"]
    warnings, problems = [], []
    for node in nodes:
        here = node.status.versions.get("etcd", "") if node.status else ""
        if now - node.modified > _HEARD or not here or here == "0.0":
            continue
        if problem := restore_problem(meta.etcd_version, here):
            problems.append(f"{node.instance_id}: {problem}")
        elif parse(here)[:2] != taken:
            warnings.append(f"{node.instance_id} has etcd {here}, the backup is of {meta.etcd_version}")
    if problems and not force:
        raise Refused(
            "etcd-restore-version",
            f"not every member can start with this backup: {'; '.join(problems)}",
            remedy="launch the control plane from an image with the backup's minor of etcd, or choose another backup; "
            "--force restores all the same",
        )
    return [*problems, *warnings]
