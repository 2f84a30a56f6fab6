"""Workers: they join by a proof of identity, and whatever keeps one from it shows as a code and heals by itself."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab.joining import BOOT, FORGET_THE_CERTIFICATE, IDENTITY, PKI, RETRYING, heals, shows
from tests.lab.kubernetes.view import NodeView
from tests.lab.live import LiveNode, live_cluster
from tests.lab.region.client import LabClient
from tests.lab.region.roles import NODE, POLICY
from tests.lab.scenario import CLUSTER, GROUP, WORKERS, ZONE, Scenario
from tests.lab.time_travel import CLOCK

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]


@dataclass(frozen=True, slots=True)
class Fault:
    """A cause on AWS's side, or the machine's: the code that its worker shows, and how to make and end it."""

    code: str
    remedy: str
    make: Callable[[LiveNode], object]
    end: Callable[[LiveNode], object]


def _lab(node: LiveNode) -> LabClient:
    return node.scenario.client


def _clear(node: LiveNode) -> None:
    _lab(node).clear_fault()


def _clock(node: LiveNode, minutes: int) -> None:
    """chrony has stopped, and somebody has set the clock."""
    node.sh(f"date --set='{minutes} minutes'")


def _mend_clock(node: LiveNode, minutes: int) -> None:
    """chrony is there again."""
    _clock(node, minutes)
    node.sh(CLOCK)


def _spoil_sts(node: LiveNode, **how: Any) -> None:
    _lab(node).fault_api(service="sts", action="GetCallerIdentity", **how)


# What keeps a worker from its certificates wherever it runs, and however often it has had some.
ON_THE_WAY = {
    "issuer behind a closed port": Fault(
        "issuer-unreachable", "forwards port 3988", lambda node: _lab(node).block("issuer", "reset"), _clear
    ),
    "issuer behind a firewall": Fault(
        "issuer-unreachable", "security groups", lambda node: _lab(node).block("issuer", "hang"), _clear
    ),
    "STS unavailable": Fault(
        "sts-unreachable", "from the control plane to STS", partial(_spoil_sts, code="Unavailable"), _clear
    ),
    "STS silent": Fault("sts-unreachable", "from the control plane to STS", partial(_spoil_sts, delay=60), _clear),
    "clock behind": Fault("clock-wrong", "chronyc", partial(_clock, minutes=-10), partial(_mend_clock, minutes=10)),
    "clock ahead": Fault("clock-wrong", "chronyc", partial(_clock, minutes=10), partial(_mend_clock, minutes=-10)),
}


@dataclass(frozen=True, slots=True)
class World:
    control_plane: LiveNode
    worker: LiveNode
    profile: LiveNode  # launched with an instance profile of another kind
    tag: LiveNode  # launched without the cluster's tag
    vpc: LiveNode  # launched into another VPC

    @property
    def scenario(self) -> Scenario:
        return self.control_plane.scenario


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """All are launched together: a lab's time is its machines' boots."""
    with live_cluster(tmp_path_factory.mktemp("workers")) as scenario:
        scenario.terraform.make_profile("other.example.com", "node")
        foreign = {f"kubernetes.io/cluster/{CLUSTER}": "", "kubernetes.io/cluster/other.example.com": "owned"}
        control_plane = scenario.launch(GROUP)
        workers = [
            scenario.launch(WORKERS, **wrong)
            for wrong in (
                {},
                {"profile": "other.example.com"},
                {"tags": foreign},
                {"subnet": _subnet_of_another_vpc(scenario.client)},
            )
        ]
        scenario.wait_until_ready(control_plane)
        scenario.wait_until_ready(workers[0])
        yield World(*(LiveNode(scenario, instance) for instance in (control_plane, *workers)))


@pytest.fixture
def worker(world: World) -> Iterator[LiveNode]:
    yield world.worker
    world.scenario.client.clear_fault()


def _subnet_of_another_vpc(client: LabClient) -> str:
    ec2 = client.aws("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.99.8.0/21")["Vpc"]["VpcId"]
    made = ec2.create_subnet(VpcId=vpc, CidrBlock="10.99.8.0/24", AvailabilityZone=ZONE)
    return str(made["Subnet"]["SubnetId"])


@contextmanager
def _without_the_condition_on_the_vpc(client: LabClient) -> Iterator[None]:
    iam, role = client.aws("iam"), {"RoleName": NODE, "PolicyName": POLICY}
    whole = iam.get_role_policy(**role)["PolicyDocument"]
    lax = [one for one in whole["Statement"] if one["Sid"] != "OnlyInstancesOfThisVpc"]
    assert len(lax) < len(whole["Statement"])
    iam.put_role_policy(**role, PolicyDocument=json.dumps({**whole, "Statement": lax}))
    yield
    iam.put_role_policy(**role, PolicyDocument=json.dumps(whole))


def seen(node: LiveNode) -> NodeView:
    """The node object of this machine."""
    return node.scenario.kubernetes().nodes()[node.scenario.status(node.instance_id)["node_name"]]


def test_a_worker_joins_as_what_ec2_calls_it(world: World) -> None:
    ec2 = world.scenario.client.aws("ec2")
    found = ec2.describe_instances(InstanceIds=[world.worker.instance_id])["Reservations"][0]["Instances"][0]
    node = seen(world.worker)
    assert (node.name, node.ready, node.address) == (found["PrivateDnsName"], "True", found["PrivateIpAddress"])
    assert node.labels["bootwright.io/group"] == WORKERS
    assert node.labels["topology.kubernetes.io/zone"] == ZONE
    subject = world.worker.sh(f"openssl x509 -noout -subject -in {IDENTITY}")
    assert subject == f"subject=O=system:nodes, CN=system:node:{node.name}"
    names = world.worker.sh(f"openssl x509 -noout -ext subjectAltName -in {PKI}/kubelet/server.pem")
    assert {part.strip() for part in names.splitlines()[1].split(",")} == {
        f"DNS:{node.name}",
        f"IP Address:{node.address}",
    }


def test_the_control_plane_labels_what_a_kubelet_may_not(world: World) -> None:
    client = world.scenario.client
    client.wait_until(
        "the worker has its role", lambda: "node-role.kubernetes.io/node" in seen(world.worker).labels, 150
    )
    assert "node-role.kubernetes.io/control-plane" in seen(world.control_plane).labels


def test_no_authoritys_key_is_on_a_worker(world: World) -> None:
    """The cluster's CA certificate is; its private key is not, nor any secret of the control plane."""
    assert world.worker.sh("ls /run/bootwright/secrets 2> /dev/null; true") == ""
    keys = world.worker.sh(f"grep -rl 'PRIVATE KEY' {PKI}").split()
    assert {str(Path(key).relative_to(PKI)) for key in keys} == {
        "kubelet/client.pem",
        "kubelet/server.pem",
        "kube-proxy/client.pem",
    }


def test_a_second_boot_of_a_worker_changes_nothing_and_asks_nobody(world: World) -> None:
    world.scenario.client.block("issuer")
    try:
        done = world.worker.agent("boot")
    finally:
        world.scenario.client.clear_fault()
    assert (done.returncode, "nothing to change" in done.stdout) == (0, True), done.stdout


def test_the_issuer_is_no_resident_process(world: World) -> None:
    node = world.control_plane
    assert node.sh("systemctl is-active bootwright-issuer.socket") == "active"

    def ended() -> bool:
        return node.try_sh("systemctl is-active bootwright-issuer.service").stdout.strip() == "inactive"

    # The workers that must not join ask again and again; between two of them it is idle for long enough only without.
    world.scenario.client.block("issuer")
    try:
        world.scenario.client.wait_until("the issuer has ended", ended, 120)
    finally:
        world.scenario.client.clear_fault()


def test_another_instance_profile_is_refused_until_the_right_one_is_there(world: World) -> None:
    shows(world.profile, "instance-wrong-profile", "launch template")
    ec2 = world.scenario.client.aws("ec2")
    mine = [{"Name": "instance-id", "Values": [world.profile.instance_id]}]
    (association,) = ec2.describe_iam_instance_profile_associations(Filters=mine)["IamInstanceProfileAssociations"]
    ec2.replace_iam_instance_profile_association(
        AssociationId=association["AssociationId"],
        IamInstanceProfile={"Name": world.scenario.terraform.profile("node")},
    )
    heals(world.profile)


def test_an_instance_of_another_cluster_is_refused_until_it_is_tagged_as_ours(world: World) -> None:
    shows(world.tag, "instance-wrong-cluster", "kubernetes.io/cluster/NAME")
    tag = {"Key": f"kubernetes.io/cluster/{CLUSTER}", "Value": "owned"}
    world.scenario.client.aws("ec2").create_tags(Resources=[world.tag.instance_id], Tags=[tag])
    heals(world.tag)


def test_an_instance_of_another_vpc_is_refused_and_its_replacement_in_ours_is_not(world: World) -> None:
    """With `coordinator iam`'s policy its credentials open nothing, so only the machine itself can say why. With one
    that lacks the condition it gets as far as the issuer.
    """
    stranger, client = world.vpc, world.scenario.client
    asked = stranger.agent("status")
    assert (asked.returncode, "s3-access-denied since " in asked.stdout) == (RETRYING, True), asked.stdout
    assert world.scenario.status(stranger.instance_id) == {}
    with _without_the_condition_on_the_vpc(client):
        shows(stranger, "instance-other-vpc", "subnet of the VPC")
    client.terminate(stranger.instance_id)
    heals(LiveNode(world.scenario, world.scenario.launch(WORKERS)))


@pytest.mark.parametrize("fault", ON_THE_WAY.values(), ids=ON_THE_WAY.keys())
def test_what_is_in_the_way_of_a_proof_shows_and_heals(worker: LiveNode, fault: Fault) -> None:
    fault.make(worker)
    try:
        worker.sh(FORGET_THE_CERTIFICATE)
        worker.sh(f"systemctl restart --no-block {BOOT}")
        shows(worker, fault.code, fault.remedy)
    finally:
        fault.end(worker)
    heals(worker)
    assert json.loads(worker.agent("certs", "--json").stdout)
