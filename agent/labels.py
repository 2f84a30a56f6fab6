"""Sets on Nodes the labels that their kubelets may not set: of this node itself, and of those the issuer issued to."""

import logging
from collections.abc import Mapping

from agent.cluster import Cluster
from agent.issued import IssuedMarks, Mark
from units.errors import BootwrightError, Retryable
from units.host import Clock
from units.manifest import Manifest
from units.node_labels import control_plane_labels, label_patch, node_path, worker_labels

LOG = logging.getLogger("bootwright")
_RIGHTS_SECONDS = 10  # a new binding is known to the authorizer well under a second after it was made


def label_own_node(cluster: Cluster, manifest: Manifest, name: str) -> bool:
    """False if there is no such Node yet."""
    return _label(cluster, name, control_plane_labels(manifest))


def wait_for_rights(cluster: Cluster, name: str, clock: Clock) -> None:
    """After the first binding of this user was made: the authorizer hears of it a moment later."""
    for _ in range(_RIGHTS_SECONDS):
        try:
            cluster.metadata(node_path(name))
        except Retryable as error:
            if error.code != "cluster-access-denied":
                raise
            clock.wait(1.0, "waiting for the API server to know the agents' rights")
        else:
            return


def label_issued_nodes(cluster: Cluster, manifest: Manifest, marks: IssuedMarks) -> int:
    """How many were labelled. One that fails does not hold up the others; the first failure is raised at the end."""
    labelled, failure = 0, None
    for mark in marks:
        try:
            labelled += _label_marked(cluster, manifest, marks, mark)
        except BootwrightError as error:
            failure = failure or error
    if failure:
        raise failure
    return labelled


def _label_marked(cluster: Cluster, manifest: Manifest, marks: IssuedMarks, mark: Mark) -> bool:
    """A mark whose Node does not come within a day is dropped; at the next renewal the issuer writes another."""
    labels = worker_labels(manifest, mark.group)
    if labels is None:
        LOG.warning("node %s: no worker group %s in the manifest", mark.node, mark.group)
        marks.remove(mark)
        return False
    done = _label(cluster, mark.node, labels)
    if done or mark.outdated:
        marks.remove(mark)
    if not done and mark.outdated:
        LOG.warning("node %s never came: its labels are dropped", mark.node)
    return done


def _label(cluster: Cluster, name: str, labels: Mapping[str, str]) -> bool:
    path = node_path(name)
    found = cluster.metadata(path)
    if found is None:
        return False
    cluster.apply(path, label_patch(name, str(found.get("uid", "")), labels))
    return True
