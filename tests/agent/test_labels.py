"""Labels that kubelets may not set: from the signed manifest and the issuer's word, never from the Node's own."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent import cluster_service
from agent.cluster import agent_identity, connected
from agent.cluster_stamp import STAMP, objects_pending, wanted_stamp
from agent.issued import marks_pending
from agent.reporter import Reporter
from agent.run_state import LastRun
from agent.sync import NOTHING_NEW, sync
from tests.agent.api_server_double import ApiServerDouble, NodeRecord
from tests.units.machines import authorities, empty_machine, manifest
from units.cluster_objects import cluster_objects, object_path
from units.errors import Fatal, Retryable
from units.host import Host
from units.manifest import Manifest, NodeGroup
from units.node_labels import control_plane_labels, label_patch, worker_labels
from units.status import NodeStatus

OWN = "ip-10-99-1-4.eu-west-1.compute.internal"
ROLE = "node-role.kubernetes.io"


def with_port(port: int) -> Manifest:
    plain = manifest("control-plane")
    groups = (NodeGroup(name="gpu", instance_profile="p", labels={"example.k8s.io/gpu": "a100", "example.com/x": "y"}),)
    return plain.model_copy(
        update={
            "api": plain.api.model_copy(update={"port": port}),
            "identity": plain.identity.model_copy(update={"node_groups": (*plain.identity.node_groups, *groups)}),
            "group": plain.group.model_copy(update={"labels": {"example.k8s.io/tier": "1", "example.com/mine": "z"}}),
        }
    )


class NodeStandIn:
    """A control-plane node that has booted: what `agent.sync` asks of `agent.node.RealNode`."""

    def __init__(self, port: int) -> None:
        machine = empty_machine()
        machine.secrets = replace(machine.secrets, now=datetime.now(UTC))  # TLS has its own clock
        machine.systemd.active.add("bootwright-etcd-main.service")  # the memory machine's probes are healthy then
        self.memory = machine
        self.manifest = with_port(port)
        status = NodeStatus(
            instance_id="i-0123456789abcdef0",
            role="control-plane",
            node_name=OWN,
            private_ip="127.0.0.1",
            stage="ready",
            converged="2026-06-01T00:00:00Z",
        )
        self.connected = 0
        self.reporter = Reporter(status, machine.clock, lambda _status: None)

    def enrolment_on_disk(self) -> None: ...

    def instance(self) -> None: ...

    def connect(self, _settings: None, _instance: None) -> None:
        self.connected += 1

    def running(self) -> Manifest:
        return self.manifest

    def host(self, _manifest: Manifest) -> Host:
        return self.memory.host


@dataclass
class Scene:
    server: ApiServerDouble
    node: NodeStandIn
    issued: Path
    stamp: Path

    def found(self) -> bool:
        return cluster_service.found_cluster(self.node, self.issued, authority=str(self.server.authority))

    def label(self, *, own: bool = False) -> int:
        return cluster_service.label_nodes(self.node, self.issued, own=own, authority=str(self.server.authority))

    def mark(self, node: str, group: str = "workers\n") -> Path:
        self.issued.mkdir(exist_ok=True)
        path = self.issued / node
        path.write_text(group)
        return path

    def labels(self, node: str) -> dict[str, str]:
        return self.server.nodes[node].labels


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    server = ApiServerDouble(authorities()["kubernetes"], tmp_path)
    yield Scene(server, NodeStandIn(server.port), tmp_path / "issued", tmp_path / "stamp")
    server.close()


@pytest.fixture
def founded(scene: Scene) -> Scene:
    """With its RBAC objects, and this node's own Node."""
    scene.server.nodes[OWN] = NodeRecord("uid-own")
    assert scene.found()
    scene.server.asked.clear()
    return scene


@pytest.mark.parametrize(
    ("labels", "set_by_agent"),
    [({"example.k8s.io/a": "1"}, {"example.k8s.io/a"}), ({"example.com/a": "1", "node.kubernetes.io/b": ""}, set())],
)
def test_only_what_a_kubelet_may_not_set_is_set_for_it(labels: dict[str, str], set_by_agent: set[str]) -> None:
    plain = manifest("control-plane")
    mine = plain.model_copy(update={"group": plain.group.model_copy(update={"labels": labels})})
    assert set(control_plane_labels(mine)) == {*set_by_agent, f"{ROLE}/control-plane"}
    groups = (NodeGroup(name="g", instance_profile="p", labels=labels),)
    theirs = plain.model_copy(update={"identity": plain.identity.model_copy(update={"node_groups": groups})})
    assert set(worker_labels(theirs, "g") or {}) == {*set_by_agent, f"{ROLE}/node"}
    assert worker_labels(theirs, "other") is None


def test_a_new_cluster_gets_its_objects_and_this_node_its_labels(scene: Scene) -> None:
    scene.server.nodes[OWN] = NodeRecord("uid-own")
    assert scene.found()
    assert {object_path(value) for value in cluster_objects()} == set(scene.server.objects)
    assert scene.labels(OWN) == {f"{ROLE}/control-plane": "", "example.k8s.io/tier": "1"}
    state = scene.node.memory.files.read(STAMP)
    assert state is not None
    assert state.content == wanted_stamp()


def test_labels_are_set_as_an_agent_and_not_as_a_super_admin(scene: Scene) -> None:
    scene.server.nodes[OWN] = NodeRecord("uid-own")
    scene.found()
    users = {user for user, _verb, path in scene.server.asked if "/nodes/" in path}
    assert users == {"bootwright:agent:i-0123456789abcdef0"}
    assert {user for user, _verb, path in scene.server.asked if "/nodes/" not in path} == {"kubernetes-super-admin"}


def test_before_the_own_node_is_there_the_stamp_waits_and_the_next_minute_does_it(scene: Scene) -> None:
    assert not scene.found()
    assert scene.node.memory.files.read(STAMP) is None
    scene.server.nodes[OWN] = NodeRecord("uid-own")
    assert scene.found()


def test_rights_that_the_authorizer_knows_a_moment_later_are_waited_for(scene: Scene) -> None:
    scene.server.nodes[OWN] = NodeRecord("uid-own")
    scene.server.late_rights = 3
    assert scene.found()
    assert scene.node.memory.clock.waits == ["waiting for the API server to know the agents' rights"] * 3


def test_rights_that_never_come_are_an_error_with_the_servers_words(scene: Scene) -> None:
    scene.server.late_rights = 10**6
    with pytest.raises(Retryable) as caught:
        scene.found()
    assert caught.value.code == "cluster-access-denied"
    assert "cannot get resource nodes" in caught.value.message


def test_what_the_issuer_has_issued_to_is_labelled_and_forgotten(founded: Scene) -> None:
    founded.server.nodes |= {"worker-1": NodeRecord("u1", {"bootwright.io/group": "gpu"}), "worker-2": NodeRecord("u2")}
    founded.mark("worker-1")
    founded.mark("worker-2", "gpu\n")
    assert founded.label() == 2
    # It says of itself that it is of group gpu: that decides nothing.
    assert founded.labels("worker-1") == {"bootwright.io/group": "gpu", f"{ROLE}/worker": "", f"{ROLE}/node": ""}
    assert founded.labels("worker-2") == {"example.k8s.io/gpu": "a100", f"{ROLE}/node": ""}
    assert list(founded.issued.iterdir()) == []


def test_a_label_that_leaves_the_manifest_leaves_the_node(founded: Scene) -> None:
    founded.server.nodes["worker-1"] = NodeRecord("u1", {"by/somebody": "else"})
    founded.mark("worker-1", "gpu\n")
    founded.label()
    founded.mark("worker-1", "workers\n")
    founded.label()
    assert founded.labels("worker-1") == {"by/somebody": "else", f"{ROLE}/worker": "", f"{ROLE}/node": ""}


def test_a_node_that_is_not_there_yet_keeps_its_mark_for_a_day(founded: Scene) -> None:
    path = founded.mark("worker-1")
    assert founded.label() == 0
    assert path.exists()
    os.utime(path, (0, 0))
    assert founded.label() == 0
    assert not path.exists()


def test_a_mark_from_the_future_is_not_kept_for_ever(founded: Scene) -> None:
    path = founded.mark("worker-1")
    os.utime(path, (2**33, 2**33))
    founded.label()
    assert not path.exists()


def test_a_group_that_the_manifest_does_not_know_labels_nothing(founded: Scene) -> None:
    founded.server.nodes["worker-1"] = NodeRecord("u1")
    founded.mark("worker-1", "made-up\n")
    assert founded.label() == 0
    assert founded.labels("worker-1") == {}
    assert not marks_pending(founded.issued)


def test_one_node_that_fails_does_not_hold_up_the_others(founded: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    founded.server.nodes |= {"a": NodeRecord("u1"), "b": NodeRecord("u2")}
    first, second = founded.mark("a"), founded.mark("b")
    real = founded.server.answer
    monkeypatch.setattr(
        founded.server,
        "answer",
        lambda *asked: (500, {}) if asked[1].partition("?")[0].endswith("/a") else real(*asked),
    )
    with pytest.raises(Retryable) as caught:
        founded.label()
    assert caught.value.code == "cluster-object-refused"
    assert (first.exists(), second.exists()) == (True, False)


def test_a_node_that_was_replaced_meanwhile_is_another_machine(founded: Scene) -> None:
    founded.server.nodes["a"] = NodeRecord("new")
    manifest_ = founded.node.manifest
    with (
        connected(
            manifest_,
            founded.node.memory.host,
            "127.0.0.1",
            agent_identity("i-1"),
            authority=str(founded.server.authority),
        ) as cluster,
        pytest.raises(Retryable, match="immutable"),
    ):
        cluster.apply("/api/v1/nodes/a", label_patch("a", "old", {"x": "y"}))


def test_an_api_server_of_another_authority_is_not_talked_to(scene: Scene) -> None:
    scene.server.nodes[OWN] = NodeRecord("uid-own")
    with pytest.raises(Retryable) as caught:
        cluster_service.found_cluster(scene.node, scene.issued, authority="/etc/ssl/certs/ca-certificates.crt")
    assert caught.value.code == "api-server-unreachable"
    assert scene.server.asked == []


def test_an_api_server_and_a_node_that_come_within_the_minute_are_waited_for(scene: Scene) -> None:
    """The first worker waits for these objects: the next poll, a minute away, would be late."""
    clock, shown = scene.node.memory.clock, []
    active = set(scene.node.memory.systemd.active)
    scene.node.memory.systemd.active.clear()

    def wait(seconds: float, reason: str) -> None:
        clock.ticks += seconds
        shown.append(reason)
        if len(shown) == 3:
            scene.node.memory.systemd.active |= active
        if len(shown) == 5:
            scene.server.nodes[OWN] = NodeRecord("uid-own")

    clock.wait = wait  # type: ignore[method-assign]
    assert scene.found()
    assert [reason.split(",")[0] for reason in shown] == [
        *["waiting for the API server to start"] * 3,
        *["waiting for kubelet to register this node"] * 2,
    ]
    assert scene.node.reporter.status.waiting_for == ""


def test_what_does_not_come_within_a_minute_is_left_to_the_next_poll(scene: Scene) -> None:
    active = set(scene.node.memory.systemd.active)
    scene.node.memory.systemd.active.clear()
    assert not scene.found()
    assert scene.node.memory.clock.ticks == 60
    assert scene.server.asked == []
    scene.node.memory.systemd.active |= active
    assert not scene.found(), "no Node"
    scene.server.nodes[OWN] = NodeRecord("uid-own")
    assert scene.found()


def test_an_api_server_that_is_not_ready_is_left_alone(founded: Scene) -> None:
    founded.node.memory.systemd.active.clear()
    founded.mark("worker-1")
    assert founded.label(own=True) == 0
    assert founded.server.asked == []


# The poll


def last_run(**changes: object) -> LastRun:
    fresh = LastRun("ready", "control-plane", "127.0.0.1", datetime.now(UTC).isoformat(), ())
    return replace(fresh, **changes)  # type: ignore[arg-type]


@pytest.fixture
def polled(founded: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """With the double's authority where the real one's lies, and the stamp written."""
    monkeypatch.setattr(cluster_service, "_AUTHORITY", str(founded.server.authority))
    for function in (cluster_service.found_cluster, cluster_service.label_nodes):
        monkeypatch.setitem(function.__kwdefaults__, "authority", str(founded.server.authority))
    founded.stamp.write_bytes(wanted_stamp())
    assert not objects_pending(founded.stamp)
    return founded


def poll(scene: Scene, last: LastRun | None = None) -> tuple[int, str]:
    return sync(last or last_run(), lambda: False, lambda: scene.node, stamp=scene.stamp, issued=scene.issued)  # type: ignore[arg-type,return-value]


def test_a_poll_with_a_mark_labels_and_the_next_one_does_nothing(polled: Scene) -> None:
    polled.server.nodes["worker-1"] = NodeRecord("u1")
    polled.mark("worker-1")
    assert poll(polled) == (0, "labelled 1 node")
    asked = len(polled.server.asked)
    assert poll(polled) == (0, NOTHING_NEW)
    assert len(polled.server.asked) == asked


@pytest.mark.parametrize("name", [".worker-1.tmp", "UPPER", "a b", "-a", "a-", "x" * 254, "a_b"])
def test_what_is_no_node_name_makes_no_node_and_asks_nobody(polled: Scene, name: str) -> None:
    polled.mark(name)
    assert poll(polled) == (0, NOTHING_NEW)
    assert polled.node.connected == 0


def test_a_worker_looks_at_no_mark(polled: Scene) -> None:
    polled.mark("worker-1")
    assert poll(polled, last_run(role="node")) == (0, NOTHING_NEW)
    assert polled.server.asked == []


def test_a_failure_is_a_warning_beside_what_the_last_run_found(polled: Scene) -> None:
    polled.server.late_rights = 10**6
    polled.server.nodes["worker-1"] = NodeRecord("u1")
    polled.mark("worker-1")
    reporter = polled.node.reporter
    reporter.condition("TrustStale", "from the last whole run", severity="warning")
    reporter.update(
        conditions=tuple(c.model_copy(update={"since": "2026-05-31T00:00:00Z"}) for c in reporter.status.conditions)
    )
    exit_code, _ = poll(polled)
    assert exit_code == Retryable.exit_code
    assert {(c.code, c.severity) for c in reporter.status.conditions} == {
        ("TrustStale", "warning"),
        ("cluster-access-denied", "warning"),
    }
    assert reporter.status.stage == "ready"


def test_a_warning_of_an_earlier_poll_gives_way_to_a_newer_one(polled: Scene) -> None:
    reporter = polled.node.reporter
    reporter.clock.at = datetime(2026, 7, 1, tzinfo=UTC)  # type: ignore[attr-defined]
    reporter.warn(Fatal("first", "no"))
    reporter.warn(Fatal("second", "no"))
    assert [condition.code for condition in reporter.status.conditions] == ["second"]


def test_the_hourly_run_labels_its_own_node(polled: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    polled.server.nodes[OWN] = NodeRecord("uid-new")
    monkeypatch.setattr("agent.boot.boot", lambda _node, *, repair: int(repair))
    exit_code, reason = poll(polled, last_run(converged="2026-01-01T00:00:00Z"))
    assert (exit_code, "hour" in reason) == (0, True)
    assert f"{ROLE}/control-plane" in polled.labels(OWN)
