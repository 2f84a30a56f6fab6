"""Networks: which may not overlap, which must lie in which, how large they must be."""

from collections.abc import Iterator
from itertools import combinations

from coordinator.spec.problems import Path
from coordinator.spec.rules.finding import Draft, Finding, Rule
from coordinator.spec.words import Cidr

LARGEST_SERVICE_NETWORK = 12  # kube-apiserver: "for 32-bit addresses, the mask must be >= 12"
SMALLEST_SERVICE_NETWORK = 24
POD_NETWORK_OF_A_NODE = 24  # kube-controller-manager's --node-cidr-mask-size-ipv4
MOST_BITS_TO_SHARE = 16  # kube-controller-manager refuses more between --cluster-cidr and a node's network
ROUTES_IN_A_TABLE = 50  # default quota of a VPC route table; `bridge` needs a route per node
SHARES_POD_NETWORK = frozenset({"bridge", "flannel"})  # node networks come from kube-controller-manager


def overlapping(draft: Draft) -> Iterator[Finding]:
    network = draft.spec.network
    named: list[tuple[Path, Cidr]] = [
        (("network", "cidr"), network.cidr),
        (("network", "serviceCIDR"), network.service_cidr),
    ]
    if network.cni != "amazon-vpc":
        named.append((("network", "podCIDR"), network.pod_cidr))
    for (first_path, first), (path, second) in combinations(named, 2):
        if first.overlaps(second):
            other = ".".join(str(step) for step in first_path)
            yield Finding(
                path, str(second), f"a network that does not overlap {other} ({first})", "choose another range"
            )


def admins_inside(draft: Draft) -> Iterator[Finding]:
    network = draft.spec.network
    for index, cidr in enumerate(draft.spec.api.admin_cidrs):
        for name, inner in (("podCIDR", network.pod_cidr), ("serviceCIDR", network.service_cidr)):
            if cidr.prefixlen > 0 and cidr.overlaps(inner) and network.cni != "amazon-vpc":
                yield Finding(
                    ("api", "adminCIDRs", index),
                    str(cidr),
                    f"a network outside network.{name} ({inner})",
                    "answers to these addresses would be routed into the cluster, not back to you",
                )


def subnets(draft: Draft) -> Iterator[Finding]:
    given = [(index, subnet.cidr) for index, subnet in enumerate(draft.spec.network.subnets) if subnet.cidr is not None]
    for index, cidr in given:
        if not cidr.subnet_of(draft.spec.network.cidr):
            inside = f"a network inside network.cidr ({draft.spec.network.cidr})"
            yield Finding(("network", "subnets", index, "cidr"), str(cidr), inside)
    for (first, one), (second, other) in combinations(given, 2):
        if one.overlaps(other):
            allowed = f"a network that does not overlap network.subnets[{first}] ({one})"
            yield Finding(("network", "subnets", second, "cidr"), str(other), allowed)


def service_network(draft: Draft) -> Iterator[Finding]:
    cidr = draft.spec.network.service_cidr
    if not LARGEST_SERVICE_NETWORK <= cidr.prefixlen <= SMALLEST_SERVICE_NETWORK:
        yield Finding(
            ("network", "serviceCIDR"),
            f"{cidr} with {cidr.num_addresses} addresses",
            f"/{LARGEST_SERVICE_NETWORK} to /{SMALLEST_SERVICE_NETWORK}",
            "kube-apiserver refuses larger ones, and a small one cannot grow: each service takes an address",
        )


def pod_network(draft: Draft) -> Iterator[Finding]:
    network = draft.spec.network
    if network.cni == "amazon-vpc":
        if draft.states("network", "podCIDR"):
            remedy = "with amazon-vpc pods get addresses of the subnets; remove the line"
            yield Finding(("network", "podCIDR"), str(network.pod_cidr), "nothing", remedy)
        return
    least = POD_NETWORK_OF_A_NODE - MOST_BITS_TO_SHARE
    if not least <= network.pod_cidr.prefixlen <= POD_NETWORK_OF_A_NODE:
        allowed = f"/{least} to /{POD_NETWORK_OF_A_NODE}"
        yield Finding(("network", "podCIDR"), str(network.pod_cidr), allowed, "each node takes a /24 of it")
        return
    nodes = sum(group.max_size or 0 for group in draft.spec.instance_groups)
    room = 2 ** (POD_NETWORK_OF_A_NODE - network.pod_cidr.prefixlen)
    if network.cni in SHARES_POD_NETWORK and nodes > room:
        found = f"{network.pod_cidr}, room for {room} nodes, while the groups may grow to {nodes}"
        yield Finding(("network", "podCIDR"), found, "a /24 for every node", "choose a larger network or lower maxSize")


def bridge_routes(draft: Draft) -> Iterator[Finding]:
    nodes = sum(group.max_size or 0 for group in draft.spec.instance_groups)
    if draft.spec.network.cni == "bridge" and nodes > ROUTES_IN_A_TABLE:
        yield Finding(
            ("network", "cni"),
            f"bridge with up to {nodes} nodes",
            f"bridge with at most {ROUTES_IN_A_TABLE} nodes, or calico, flannel, cilium or amazon-vpc",
            f"each node needs a route, and a VPC route table has room for {ROUTES_IN_A_TABLE}",
        )


RULES = (
    Rule(("network.cidr", "network.podCIDR", "network.serviceCIDR"), overlapping),
    Rule(("network.podCIDR", "network.serviceCIDR", "network.cni"), admins_inside),
    Rule(("network.cidr",), subnets),
    Rule(("network.serviceCIDR",), service_network),
    Rule(("network.podCIDR", "network.cni", "instanceGroups.minSize", "instanceGroups.maxSize"), pod_network),
    Rule(("network.cni", "instanceGroups.minSize", "instanceGroups.maxSize"), bridge_routes),
)
