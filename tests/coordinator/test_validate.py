"""`validate`: every way in which a cluster is not what its spec says, in a line that names the thing and the cause."""

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from coordinator.aws.ec2 import Checks, Ec2, Machine
from coordinator.aws.session import Aws
from coordinator.inventory import NodeRow, row_of
from coordinator.rollouts_sight import Lookout
from coordinator.spec import load_spec
from coordinator.spec.cluster import ClusterSpec
from coordinator.status import SeenNode
from coordinator.validate import Facts, Silence, judge
from coordinator.validate_facts import gather
from tests.coordinator.fleet import FleetDouble, manifest_of
from tests.coordinator.workshop import CLUSTER, Workshop
from units.errors import BootwrightError
from units.manifest import manifest_digest
from units.status import CertificateState, Condition, EtcdMemberState, EtcdState, NodeStatus

SPEC = f"""\
apiVersion: bootwright.io/v1
kind: Cluster
metadata:
  name: {CLUSTER}
kubernetesVersion: 1.36.2
region: eu-west-1
store: s3://bucket/clusters
network:
  vpc: vpc-0a1b2c3d4e5f60718
  cidr: 10.98.0.0/20
  subnets:
    - zone: eu-west-1a
      id: subnet-0a1b2c3d4e5f60718
api:
  endpoint: api.prod.example.com
instanceGroups:
  - name: cp
    role: control-plane
    machineType: m7g.large
    image: ami-0a1b2c3d4e5f60718
  - name: workers
    role: node
    machineType: m7g.xlarge
    image: ami-0a1b2c3d4e5f60718
    minSize: 2
"""
DIGESTS = {
    "cp": manifest_digest(manifest_of("cp", "control-plane")),
    "workers": manifest_digest(manifest_of("workers")),
}


@pytest.fixture
def spec() -> ClusterSpec:
    return load_spec(SPEC)


@pytest.fixture
def fleet(workshop: Workshop) -> FleetDouble:
    made = FleetDouble(workshop, {"cp": "control-plane", "workers": "node"})
    made.publish()
    return made


def machine(instance_id: str, group: str, now: datetime, **changes: Any) -> Machine:
    plain = Machine(instance_id, group, "running", "m7g.large", "eu-west-1a", "", now - timedelta(minutes=5))
    return replace(plain, **changes)


def row(instance_id: str, group: str, now: datetime, *, age: float = 60, **fields: Any) -> NodeRow:
    role = "control-plane" if group == "cp" else "node"
    words = {"stage": "ready", "serial": 1, "node_name": f"ip-{instance_id}", "manifest": DIGESTS[group], **fields}
    status = NodeStatus(instance_id=instance_id, group=group, role=role, **words)
    return row_of(SeenNode(instance_id, now - timedelta(seconds=age), status), now)


def facts(spec: ClusterSpec, fleet: FleetDouble, **changes: Any) -> Facts:
    """All well, unless told otherwise."""
    now = fleet.clock()
    ids = {"i-c": "cp", "i-w1": "workers", "i-w2": "workers"}
    plain = Facts(
        spec=spec,
        now=now,
        state=fleet.workshop.repository.read(),
        rows=tuple(row(one, group, now) for one, group in ids.items()),
        machines=tuple(machine(one, group, now) for one, group in ids.items()),
    )
    return replace(plain, **changes)


def with_row(found: Facts, instance_id: str, **fields: Any) -> Facts:
    """The same with another word of one node."""
    group = next(one.group for one in found.rows if one.instance_id == instance_id)
    rows = tuple(
        row(instance_id, group, found.now, **fields) if r.instance_id == instance_id else r for r in found.rows
    )
    return replace(found, rows=rows)


def only_fault(found: Facts) -> tuple[str, str, str]:
    (fault,) = judge(found).faults
    return fault.kind, fault.name, fault.message


def test_a_cluster_that_is_as_its_spec_says_is_ready(spec: ClusterSpec, fleet: FleetDouble) -> None:
    verdict = judge(facts(spec, fleet))
    assert verdict.faults == ()
    assert verdict.ready
    assert [(node.name, node.role, node.ready) for node in verdict.nodes] == [
        ("ip-i-c", "control-plane", True),
        ("ip-i-w1", "node", True),
        ("ip-i-w2", "node", True),
    ]


def test_too_few_machines_are_counted_against_the_minimum(spec: ClusterSpec, fleet: FleetDouble) -> None:
    found = facts(spec, fleet)
    found = replace(found, rows=found.rows[:2], machines=found.machines[:2] if found.machines else None)
    assert only_fault(found)[2] == 'InstanceGroup "workers" did not have enough nodes 1 vs 2'


def test_a_group_that_was_never_published_is_said(spec: ClusterSpec, workshop: Workshop) -> None:
    fleet = FleetDouble(workshop, {"cp": "control-plane"})
    fleet.publish()
    assert only_fault(facts(spec, fleet))[2] == 'InstanceGroup "workers" is not published'


def test_a_machine_that_never_spoke_is_explained_by_ec2_and_its_console(spec: ClusterSpec, fleet: FleetDouble) -> None:
    found = facts(spec, fleet)
    silence = Silence(Checks("ok", "impaired"), ("bootwright[301]: no-imds: 169.254.169.254 does not answer",))
    kind, name, message = only_fault(replace(found, rows=found.rows[:2], silences={"i-w2": silence}))
    assert (kind, name) == ("Machine", "i-w2")
    assert message == (
        'machine "i-w2" has not yet joined cluster: EC2 says running, launched 5 min ago; '
        "status checks: system ok, instance impaired; its console ends with:\n"
        "  bootwright[301]: no-imds: 169.254.169.254 does not answer"
    )


def test_a_node_that_fell_silent_is_explained_by_its_console_too(spec: ClusterSpec, fleet: FleetDouble) -> None:
    words = (
        "agent boot: workers on i-w2: failed",
        "  error: s3-unreachable: no answer",
        "    remedy: open the endpoint",
    )
    silent = replace(with_row(facts(spec, fleet), "i-w2", age=80 * 60), silences={"i-w2": Silence(None, words)})
    (fault,) = judge(silent).faults
    assert "was last heard of 80 min ago, as ready" in fault.message
    assert "s3-unreachable: no answer" in fault.message
    assert fault.remedy == "open the endpoint"


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"stage": "retrying", "waiting_for": "the volume"}, "Node", "is not ready: retrying: waiting for the volume"),
        (
            {
                "stage": "refused",
                "conditions": (Condition(code="etcd-volume-lost", message="is empty", remedy="restore", since="2026"),),
            },
            "Node",
            "is not ready: refused: etcd-volume-lost: is empty",
        ),
        (
            {"conditions": (Condition(code="manifest-undone", message="kubelet is ill", since="2026"),)},
            "Node",
            "manifest-undone: kubelet is ill",
        ),
        ({"serial": 0, "manifest": ""}, "Node", "is on serial 0; serial 1 is published"),
        ({"manifest": "e" * 64, "why": "no wave"}, "Node", "runs manifest eeeeeeeeeeee; "),
        (
            {"drift": ("file:/etc/a", "file:/etc/b", "unit:c", "unit:d")},
            "Drift",
            "file:/etc/a, file:/etc/b, unit:c and 1",
        ),
        ({"age": 80 * 60}, "Node", "was last heard of 80 min ago, as ready"),
    ],
)
def test_a_node_that_is_not_as_it_should_be_is_named_with_its_reason(
    spec: ClusterSpec, fleet: FleetDouble, fields: dict[str, Any], kind: str, said: str
) -> None:
    found = only_fault(with_row(facts(spec, fleet), "i-w1", **fields))
    assert found[:2] == (kind, "ip-i-w1")
    assert said in found[2]


def test_a_node_with_the_right_manifest_has_time_to_take_notice_of_a_serial(
    spec: ClusterSpec, fleet: FleetDouble
) -> None:
    assert judge(with_row(facts(spec, fleet), "i-w1", serial=0)).ready
    fleet.clock.advance(minutes=6)
    assert "is on serial 0" in only_fault(with_row(facts(spec, fleet), "i-w1", serial=0))[2]


def test_a_warning_of_a_ready_node_is_no_error(spec: ClusterSpec, fleet: FleetDouble) -> None:
    warning = Condition(code="cgroup-v1", message="old", since="2026", severity="warning")
    assert judge(with_row(facts(spec, fleet), "i-w1", conditions=(warning,))).ready


def test_a_certificate_that_ends_soon_is_named(spec: ClusterSpec, fleet: FleetDouble) -> None:
    now = fleet.clock()
    certificate = CertificateState(
        path="kubelet/client.pem",
        subject="system:node:w1",
        issuer="kubernetes",
        not_before=f"{now - timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}",
        not_after=f"{now + timedelta(hours=5):%Y-%m-%dT%H:%M:%SZ}",
        days_left=0,
        life_left=0.06,
        renews="",
    )
    kind, _name, message = only_fault(with_row(facts(spec, fleet), "i-w1", certificates=(certificate,)))
    assert kind == "Certificate"
    assert "kubelet/client.pem" in message


def test_a_stopped_machine_and_one_of_no_group_are_told(spec: ClusterSpec, fleet: FleetDouble) -> None:
    found = facts(spec, fleet)
    assert found.machines is not None
    stopped = replace(found.machines[1], state="stopped", state_reason="Client.UserInitiatedShutdown")
    stray = machine("i-x", "", found.now)
    verdict = judge(replace(found, machines=(found.machines[0], stopped, found.machines[2], stray)))
    assert [fault.message for fault in verdict.faults] == [
        'machine "i-w1" is stopped: Client.UserInitiatedShutdown',
        'machine "i-x" has no tag bootwright.io/group: no group of the spec',
    ]


def test_the_words_of_a_machine_that_is_no_more_count_for_nothing(spec: ClusterSpec, fleet: FleetDouble) -> None:
    found = facts(spec, fleet)
    ghost = row("i-gone", "workers", found.now, stage="failed")
    ended = machine("i-ended", "workers", found.now, state="terminated")
    words = (*found.rows, ghost, row("i-ended", "workers", found.now, stage="failed"))
    assert judge(
        replace(found, rows=words, machines=(*(found.machines or ()), ended), gone=frozenset({"i-gone", "i-ended"}))
    ).ready


def test_where_ec2_cannot_be_asked_nodes_are_whoever_spoke_lately(spec: ClusterSpec, fleet: FleetDouble) -> None:
    assert judge(facts(spec, fleet, machines=None)).ready
    late = with_row(facts(spec, fleet, machines=None), "i-w1", age=100 * 60)
    assert only_fault(late)[2] == 'InstanceGroup "workers" did not have enough nodes 1 vs 2'


def etcd(now: datetime, *, healthy: int = 1, **fields: Any) -> EtcdState:
    members = tuple(
        EtcdMemberState(name="abc"[n], healthy=n < healthy, detail="" if n < healthy else "refused") for n in range(1)
    )
    plain = {"leader": "a", "backup_at": f"{now - timedelta(minutes=10):%Y-%m-%dT%H:%M:%SZ}", "members": members}
    return EtcdState(name="main", ready=True, **{**plain, **fields})


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"healthy": 0}, "Etcd", "etcd main has no quorum: 0 of 1 members are healthy"),
        ({"leader": ""}, "Etcd", "etcd main has no leader"),
        ({"alarms": ("NOSPACE on a",)}, "Etcd", "etcd main: alarm NOSPACE on a"),
        ({"backup_at": "2026-01-01T00:00:00Z"}, "Backup", "the newest backup is"),
        ({"backup_at": "", "backup_problem": "AccessDenied"}, "Backup", "etcd main has no backup: AccessDenied"),
    ],
)
def test_etcd_without_quorum_leader_or_backup_is_said(
    spec: ClusterSpec, fleet: FleetDouble, fields: dict[str, Any], kind: str, said: str
) -> None:
    found = facts(spec, fleet)
    assert judge(with_row(found, "i-c", etcd=(etcd(found.now),))).ready
    fault = only_fault(with_row(found, "i-c", etcd=(etcd(found.now, **fields),)))
    assert fault[0] == kind
    assert said in fault[2]


def test_a_young_cluster_needs_no_backup_yet(spec: ClusterSpec, fleet: FleetDouble) -> None:
    found = facts(spec, fleet)
    young = with_row(found, "i-c", etcd=(etcd(found.now, backup_at=""),))
    assert judge(young).ready
    assert young.machines is not None
    old = replace(young, machines=tuple(replace(m, launched=found.now - timedelta(hours=2)) for m in young.machines))
    assert only_fault(old)[2] == "etcd main has no backup"


def test_a_rollout_under_way_and_metadata_that_ends_are_errors(spec: ClusterSpec, fleet: FleetDouble) -> None:
    fleet.live(3)
    fleet.publish(workers="2")
    later = facts(spec, fleet, rollouts=tuple(fleet.report().values()))
    messages = [(fault.kind, fault.message) for fault in judge(later).faults if fault.kind == "Rollout"]
    assert messages[0][1].startswith("running, wave 1 of 3: wave 1 of 3: 1 of 1 are not done yet")
    fleet.clock.advance(days=20)
    verdict = judge(facts(spec, fleet))
    assert "timestamp metadata has expired" in verdict.faults[-1].message


def test_the_facts_come_from_ec2_by_tags_with_checks_and_console(
    spec: ClusterSpec, fleet: FleetDouble, aws: Aws
) -> None:
    """moto's EC2: its console has one canned text, its status checks say ok."""
    client = aws.client("ec2")

    def launch(group: str, cluster: str = CLUSTER) -> str:
        tags = [
            {"Key": f"kubernetes.io/cluster/{cluster}", "Value": "owned"},
            {"Key": "bootwright.io/group", "Value": group},
        ]
        image = client.describe_images()["Images"][0]["ImageId"]
        answer = client.run_instances(
            ImageId=image, MinCount=1, MaxCount=1, TagSpecifications=[{"ResourceType": "instance", "Tags": tags}]
        )
        return str(answer["Instances"][0]["InstanceId"])

    plane, worker, silent, ended, other = (
        launch("cp"),
        launch("workers"),
        launch("workers"),
        launch("workers"),
        launch("x", "y"),
    )
    client.terminate_instances(InstanceIds=[ended])
    for instance_id, group in ((plane, "cp"), (worker, "workers"), (ended, "workers"), (other, "workers")):
        fleet.say(
            instance_id, group, serial=1, manifest=DIGESTS[group], role="control-plane" if group == "cp" else "node"
        )
    ec2 = Ec2(aws)
    assert ec2.gone([plane, ended, "i-0123456789abcdef0"]) == {ended, "i-0123456789abcdef0"}
    assert ec2.gone(["i-0123456789abcdef0"]) == frozenset()  # EC2 knows none: it may be the wrong account
    lookout = Lookout(CLUSTER, fleet.workshop.repository, fleet.inventory, fleet.clock, ec2.gone)
    verdict = judge(gather(spec, lookout, ec2))
    (fault,) = [fault for fault in verdict.faults if fault.name == silent]
    assert "has not yet joined cluster: EC2 says running" in fault.message
    assert "status checks: system ok, instance ok" in fault.message
    assert "its console ends with:" in fault.message
    assert {node.instance_id for node in verdict.nodes if node.ready} == {plane, worker, other}
    assert ended not in {node.instance_id for node in verdict.nodes}


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (200, b"<html>please log in</html></p>", "aws-unreachable"),
        (
            403,
            b"<Response><Errors><Error><Code>UnauthorizedOperation</Code></Error></Errors></Response>",
            "aws-access-denied",
        ),
    ],
    ids=["a-captive-portal", "no-right"],
)
def test_an_ec2_that_is_none_or_says_no_is_an_error_with_a_remedy_and_nobody_is_gone(
    status: int, body: bytes, code: str
) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        ec2 = Ec2(Aws("eu-west-1", f"http://127.0.0.1:{server.server_port}"))
        with pytest.raises(BootwrightError) as caught:
            ec2.of_cluster(CLUSTER)
        assert (caught.value.code, bool(caught.value.remedy)) == (code, True)
        assert ec2.gone(["i-1"]) == frozenset()
        server.shutdown()
