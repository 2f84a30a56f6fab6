"""How the API is found and reached, and how long signatures last."""

import ipaddress
from collections.abc import Iterator

from coordinator.spec.problems import Path, shown
from coordinator.spec.rules.finding import Draft, Finding, Rule


def dns_zone(draft: Draft) -> Iterator[Finding]:
    dns = draft.spec.dns
    if dns.mode != "none" and dns.zone_id is None:
        remedy = "Route 53 > Hosted zones shows it, and so does a Terraform output of aws_route53_zone.NAME.zone_id"
        yield Finding(("dns", "zoneID"), "nothing", f"the id of a {dns.mode} hosted zone", remedy)
    if dns.mode == "none" and dns.zone_id is not None:
        yield Finding(
            ("dns", "zoneID"), shown(dns.zone_id), "nothing with mode: none", "set dns.mode to private or public"
        )


def endpoint(draft: Draft) -> Iterator[Finding]:
    if draft.spec.dns.mode == "none" and draft.spec.api.endpoint is None:
        yield Finding(
            ("api", "endpoint"),
            "nothing",
            "the host name or address of the load balancer",
            "without a DNS zone nobody can find it; give api.endpoint, or dns.mode and dns.zoneID",
        )


def real_addresses(draft: Draft) -> Iterator[Finding]:
    hosts: list[tuple[Path, str]] = [
        (("api", "extraSANs", index), name) for index, name in enumerate(draft.spec.api.extra_sans)
    ]
    if draft.spec.api.endpoint is not None:
        hosts.append((("api", "endpoint"), draft.spec.api.endpoint))
    for path, host in hosts:
        if host.rpartition(".")[2].isdigit() and not _is_address(host):
            yield Finding(path, shown(host), "a host name or an IPv4 address", "a name does not end in a number")


def _is_address(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def admins(draft: Draft) -> Iterator[Finding]:
    api = draft.spec.api
    if api.load_balancer == "public" and not api.admin_cidrs:
        remedy = "name the networks that may reach it; 0.0.0.0/0 for everyone"
        yield Finding(("api", "adminCIDRs"), "nothing", "at least one network when loadBalancer is public", remedy)


def reserved_port(draft: Draft) -> Iterator[Finding]:
    # The ports of a control-plane node's other programs: etcd main and events, the issuer, kubelet, kube-proxy,
    # controllers (DESIGN sections 5 and 6, coordinator/compile.py).
    taken = {2379, 2380, 2381, 2382, 2383, 2384, 3988, 10248, 10249, 10250, 10256, 10257, 10259}
    if draft.spec.api.port in taken:
        allowed = "a port that no other program of the node uses"
        yield Finding(("api", "port"), str(draft.spec.api.port), allowed, "6443 and 443 are usual")


def lifetimes(draft: Draft) -> Iterator[Finding]:
    days = draft.spec.trust.expiry_days
    if days.timestamp > days.snapshot:
        remedy = "the timestamp is what bounds a freeze; it is the shortest"
        yield Finding(
            ("trust", "expiryDays", "timestamp"), str(days.timestamp), f"at most snapshot ({days.snapshot})", remedy
        )


def secrets_key_region(draft: Draft) -> Iterator[Finding]:
    parts = draft.spec.trust.secrets_key.split(":")
    if parts[0] == "awskms" and parts[4] != draft.spec.region:
        remedy = "nodes decrypt at every boot; use a replica of the key in the cluster's region"
        yield Finding(("trust", "secretsKey"), f"a key in {parts[4]}", f"a key in {draft.spec.region}", remedy)


RULES = (
    Rule(("dns.mode",), dns_zone),
    Rule(("dns.mode", "api.endpoint"), endpoint),
    Rule((), real_addresses),
    Rule(("api.loadBalancer",), admins),
    Rule((), reserved_port),
    Rule(("trust.expiryDays.snapshot",), lifetimes),
    Rule(("region",), secrets_key_region),
)
