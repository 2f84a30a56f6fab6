"""Nothing expires unattended: the machines, and AWS as they see it, go through the years in an hour.

One lab serves all of it, and time only goes forward: each test begins where the one before ended.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.lab.live import ETCD, LiveNode, live_cluster
from tests.lab.operator import Operator
from tests.lab.scenario import GROUP, WORKERS
from tests.lab.time_travel import TimeTravel

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(2400)]

WORKER_HOURS = 24
# Renewal is what is tested here; whoever signs the metadata, and its own expiry, are elsewhere.
SPEC = f"""\
identity:
  certificateHours: {WORKER_HOURS}
trust:
  expiryDays: {{root: 3650, targets: 3650, snapshot: 3650, timestamp: 90}}
"""
KUBELET = "/etc/kubernetes/pki/kubelet"


@dataclass(frozen=True, slots=True)
class World:
    control_plane: LiveNode
    worker: LiveNode

    @property
    def nodes(self) -> tuple[LiveNode, LiveNode]:
        return self.control_plane, self.worker

    def travel(self, to: datetime) -> None:
        """By the control plane's clock, and AWS's; the operator has refreshed the metadata a moment before."""
        ahead = (to - clock_of(self.control_plane)) + self.ahead()
        Operator(self.control_plane.scenario).refresh(days_ago=-(ahead - timedelta(minutes=1)) / timedelta(days=1))
        TimeTravel(self.nodes).to(ahead.total_seconds())

    def ahead(self) -> timedelta:
        return timedelta(seconds=float(self.control_plane.sh("cat /var/lib/lab-clock-ahead 2> /dev/null || echo 0")))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        live_cluster(
            tmp_path_factory.mktemp("renewal"), edit_spec=lambda text: text.replace("trust:\n", SPEC)
        ) as scenario,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in scenario.operator_environment().items():
            environment.setenv(name, value)
        instances = [scenario.launch(GROUP), scenario.launch(WORKERS)]
        for instance in instances:
            scenario.wait_until_ready(instance)
        yield World(*(LiveNode(scenario, instance) for instance in instances))


def clock_of(node: LiveNode) -> datetime:
    return datetime.fromisoformat(node.sh("date --utc +%FT%TZ"))


def leaves(node: LiveNode) -> dict[str, dict[str, Any]]:
    """All that the node says it renews, by path."""
    found = json.loads(node.agent("certs", "--json").stdout)["certificates"]
    assert all(one["renews"] for one in found)
    return {one["path"]: one for one in found}


def issued_at(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {path: one["not_before"] for path, one in found.items()}


def keys_of(node: LiveNode, paths: Iterator[str] | list[str]) -> dict[str, str]:
    """The public key in each certificate."""
    script = "".join(f"openssl x509 -noout -pubkey -in {path} | sha256sum\n" for path in paths)
    return dict(zip(paths, node.sh(script).splitlines(), strict=True))


def at_61_percent(found: dict[str, dict[str, Any]]) -> datetime:
    """Of the life of the youngest of them."""
    return max(
        begins + 0.61 * (datetime.fromisoformat(one["not_after"]) - begins)
        for one in found.values()
        for begins in (datetime.fromisoformat(one["not_before"]),)
    )


def renewed(node: LiveNode, before: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Once every one of them is another, younger certificate, without anybody's help."""

    def done() -> bool:
        now = leaves(node)
        return all(now[path]["not_before"] > one["not_before"] for path, one in before.items())

    node.scenario.client.wait_until(f"every leaf of {node.instance_id} is renewed", done, 240)
    after = leaves(node)
    assert set(after) == set(before)
    moment = clock_of(node)
    assert all(datetime.fromisoformat(one["renews"]) > moment for one in after.values())
    return after


def beats(worker: LiveNode) -> None:
    """The worker's node goes on being Ready, by what its own certificate shows it through the load balancer."""
    name = worker.scenario.status(worker.instance_id)["node_name"]
    ask = f"curl -sS --fail --cacert /etc/kubernetes/pki/ca/kubernetes.crt --cert {KUBELET}/client.pem"

    def ready() -> bool:
        done = worker.try_sh(f"{ask} https://10.99.0.2:6443/api/v1/nodes/{name}")
        conditions = json.loads(done.stdout or "{}").get("status", {}).get("conditions", [])
        found = {one["type"]: one for one in conditions}.get("Ready", {})
        fresh = found and clock_of(worker) - datetime.fromisoformat(found["lastHeartbeatTime"]) < timedelta(minutes=1)
        return bool(fresh) and found["status"] == "True"

    worker.scenario.client.wait_until(f"{name} is Ready", ready, 120)


def is_ready(node: LiveNode, *, not_boot: str = "") -> bool:
    status = node.scenario.status(node.instance_id)
    return status["stage"] == "ready" and status["boot_id"] != not_boot


def test_every_leaf_of_a_worker_is_renewed_at_61_percent_of_its_life_with_a_new_key(world: World) -> None:
    before, others = leaves(world.worker), leaves(world.control_plane)
    keys = keys_of(world.worker, list(before))
    kubelet = world.worker.sh("systemctl show --property=MainPID --value kubelet.service")
    world.travel(at_61_percent(before))
    after = renewed(world.worker, before)
    assert set(before) >= {f"{KUBELET}/client.pem", f"{KUBELET}/server.pem"}
    assert set(keys_of(world.worker, list(after)).values()).isdisjoint(keys.values())
    journal = world.control_plane.sh("journalctl --output cat --unit bootwright-issuer.service")
    assert "certificate" in journal  # renewed over mutual TLS, not by a proof
    # Whoever reads its certificate anew is not restarted, and a year's leaves are not due after a day.
    assert world.worker.sh("systemctl show --property=MainPID --value kubelet.service") == kubelet
    assert issued_at(leaves(world.control_plane)) == issued_at(others)
    beats(world.worker)


def test_every_leaf_of_a_control_plane_is_renewed_at_61_percent_of_its_life(world: World) -> None:
    """The worker was away all the while: its own have expired, and it proves anew which machine it is."""
    before, worker = leaves(world.control_plane), leaves(world.worker)
    world.travel(at_61_percent(before))
    renewed(world.control_plane, before)
    assert "is healthy" in world.control_plane.etcdctl("endpoint", "health", "2>&1")
    renewed(world.worker, worker)
    beats(world.worker)


def test_machines_that_boot_after_everything_has_expired_recover(world: World) -> None:
    before = {node: leaves(node) for node in world.nodes}
    boots = {node: node.boot_id() for node in world.nodes}
    client = world.control_plane.scenario.client
    for node in world.nodes:
        node.sh("systemctl stop bootwright-sync.timer")  # or it would be renewed before it is switched off
    world.travel(clock_of(world.control_plane) + timedelta(days=400))
    for node in world.nodes:
        node.machine.power_cut()
    for node in world.nodes:
        client.wait_until(f"{node.instance_id} is ready", lambda node=node: is_ready(node, not_boot=boots[node]), 300)
        renewed(node, before[node])
    assert world.control_plane.sh(f"systemctl is-active {ETCD}") == "active"
    assert "is healthy" in world.control_plane.etcdctl("endpoint", "health", "2>&1")
    beats(world.worker)
