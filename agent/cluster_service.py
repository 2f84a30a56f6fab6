"""What a control-plane agent does in its own API server: the cluster's first objects, and labels of Nodes.

`agent.sync` decides whether there is any of it to do, and loads this then.
"""

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


class Node(Protocol):
    """The part of `agent.node.RealNode` that is needed, connected."""

    reporter: Reporter

    def running(self) -> Manifest: ...

    def host(self, manifest: Manifest) -> Host: ...


def found_cluster(node: Node, issued: Path, *, authority: str = _AUTHORITY) -> bool:
    """False while the API server is not ready, or this node's own Node not there: all of it is tried again in a minute,
    and the stamp that ends this is written when everything is done.
    """
    manifest, status = node.running(), node.reporter.status
    host = node.host(manifest)
    if not api_server_ready(manifest, host, status.private_ip):
        return False
    put_cluster_objects(manifest, host, status.private_ip, authority=authority)
    with connected(
        manifest, host, status.private_ip, agent_identity(status.instance_id), authority=authority
    ) as cluster:
        wait_for_rights(cluster, status.node_name, host.clock)
        if not label_own_node(cluster, manifest, status.node_name):
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
