"""What a control-plane agent does in its own API server: the cluster's first objects, and labels of Nodes.

`agent.sync` decides whether there is any of it to do, and loads this then.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from agent.cluster import agent_identity, api_server_ready, connected, put_cluster_objects
from agent.cluster_stamp import STAMP, wanted_stamp
from agent.issued import IssuedMarks
from agent.labels import label_issued_nodes, label_own_node, wait_for_rights
from agent.reporter import Reporter
from units.host import Host
from units.manifest import Manifest
from units.paths import authority_bundle

_AUTHORITY = authority_bundle("kubernetes")
_STARTING_SECONDS = 60.0  # for all of it; others wait at most two minutes for the agent's lock (agent.run_state)


class Node(Protocol):
    """The part of `agent.node.RealNode` that is needed, connected."""

    reporter: Reporter

    def running(self) -> Manifest: ...

    def host(self, manifest: Manifest) -> Host: ...


def found_cluster(node: Node, issued: Path, *, authority: str = _AUTHORITY) -> bool:
    """False if the API server is not ready, or this node's own Node not there, for a minute: all of it is tried again
    a minute later, and the stamp that ends this is written when everything is done.

    It is waited for because the first worker waits for these objects (the first sync begins as soon as a boot ends).
    """
    manifest, status = node.running(), node.reporter.status
    host = node.host(manifest)
    patience = _Patience(node.reporter, host)
    if not patience.until(
        lambda: api_server_ready(manifest, host, status.private_ip), "the API server to start, for the first objects"
    ):
        return False
    put_cluster_objects(manifest, host, status.private_ip, authority=authority)
    with connected(
        manifest, host, status.private_ip, agent_identity(status.instance_id), authority=authority
    ) as cluster:
        wait_for_rights(cluster, status.node_name, host.clock)
        if not patience.until(
            lambda: label_own_node(cluster, manifest, status.node_name), "kubelet to register this node, for its labels"
        ):
            return False
        with IssuedMarks(issued) as marks:
            label_issued_nodes(cluster, manifest, marks)
    host.files.write(STAMP, wanted_stamp(), mode=0o644, owner="root", group="root")
    return True


def label_nodes(node: Node, issued: Path, *, own: bool, authority: str = _AUTHORITY) -> int:
    """Those the issuer issued to, and with `own` this one; how many. 0 while the API server is not ready."""
    manifest, status = node.running(), node.reporter.status
    host = node.host(manifest)
    if not api_server_ready(manifest, host, status.private_ip):
        return 0
    identity = agent_identity(status.instance_id)
    with (
        connected(manifest, host, status.private_ip, identity, authority=authority) as cluster,
        IssuedMarks(issued) as marks,
    ):
        labelled = int(own and label_own_node(cluster, manifest, status.node_name))
        return labelled + label_issued_nodes(cluster, manifest, marks)


class _Patience:
    """Waits that share one minute. While one lasts the status says so, and not any more when it is over."""

    def __init__(self, reporter: Reporter, host: Host) -> None:
        self._reporter = reporter
        self._clock = host.clock
        self._deadline = host.clock.monotonic() + _STARTING_SECONDS

    def until(self, done: Callable[[], bool], what: str) -> bool:
        """Whether it was done in time; it is tried at least once, and then every second."""
        if done():
            return True
        try:
            while self._clock.monotonic() < self._deadline:
                self._clock.wait(1.0, f"waiting for {what}")
                if done():
                    return True
            return False
        finally:
            self._reporter.update(waiting_for="", force=True)
