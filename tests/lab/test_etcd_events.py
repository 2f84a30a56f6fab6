"""An etcd of its own for events: a second volume on the same machine, a second member, and API servers that know it."""

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.lab.live import LiveNode, live_cluster, ready_node
from tests.lab.scenario import BUCKET, CLUSTER, Scenario
from tests.lab.terraform import VOLUME_GIB

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.nightly, pytest.mark.timeout(2400)]

PORTS = {"main": 2379, "events": 2382}


def with_events(text: str) -> str:
    spec = yaml.safe_load(text)
    (main,) = spec["etcdClusters"]
    spec["etcdClusters"].append({**main, "name": "events"})
    return str(yaml.safe_dump(spec, sort_keys=False))


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_cluster(tmp_path_factory.mktemp("events"), edit_spec=with_events) as scenario:
        make_volume(scenario)
        yield ready_node(scenario)


def make_volume(scenario: Scenario) -> None:
    tags = {
        "Name": f"a.etcd-events.{CLUSTER}",
        "k8s.io/etcd/events": "a/a",
        "k8s.io/role/control-plane": "1",
        f"kubernetes.io/cluster/{CLUSTER}": "owned",
    }
    scenario.client.aws("ec2").create_volume(
        AvailabilityZone=scenario.terraform.zone,
        Size=VOLUME_GIB,
        VolumeType="gp3",
        TagSpecifications=[
            {"ResourceType": "volume", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
        ],
    )


def test_two_members_on_two_volumes_are_two_clusters(node: LiveNode) -> None:
    done = node.agent("etcd", "status", "--json")
    states = {state["name"]: state for state in json.loads(done.stdout)}
    assert {name: state["ready"] for name, state in states.items()} == {"main": True, "events": True}
    assert len({state["volume_id"] for state in states.values()}) == 2
    assert len({state["device"] for state in states.values()}) == 2
    assert len({state["members"][0]["id"] for state in states.values()}) == 2
    for name in PORTS:
        assert node.sh(f"findmnt --noheadings --output TARGET /var/lib/etcd/{name}") == f"/var/lib/etcd/{name}"
        assert node.sh(f"systemctl is-active bootwright-etcd-{name}") == "active"


def test_the_api_server_keeps_events_in_the_second(node: LiveNode) -> None:
    manifest = yaml.safe_load(node.sh("cat /etc/kubernetes/manifests/kube-apiserver.yaml"))
    (container,) = manifest["spec"]["containers"]
    flags = [*container.get("command", ()), *container.get("args", ())]
    assert "--etcd-servers=https://127.0.0.1:2379" in flags
    assert "--etcd-servers-overrides=/events#https://127.0.0.1:2382" in flags


def test_each_has_a_record_and_backups_of_its_own(node: LiveNode) -> None:
    node.sh("agent etcd backup --reason lab", timeout=300)
    s3 = node.scenario.client.aws("s3")
    tokens = set()
    for name in PORTS:
        record = json.loads(s3.get_object(Bucket=BUCKET, Key=f"{CLUSTER}/etcd/{name}/cluster.json")["Body"].read())
        assert record["state"] == "established"
        tokens.add(record["token"])
        listed = json.loads(node.scenario.coordinator("etcd", "backups", "--etcd", name, "--json", capture=True))
        assert any(one["meta"]["reason"] == "lab" for one in listed["backups"])
    assert len(tokens) == 2


def test_a_restore_of_events_leaves_main_alone(node: LiveNode) -> None:
    scenario = node.scenario
    node.etcdctl("put", "lab/main", "stays")
    scenario.coordinator("etcd", "restore", "--etcd", "events", "--backup", "latest", "--yes")
    s3 = scenario.client.aws("s3")

    def generation(name: str) -> tuple[str, int]:
        record = json.loads(s3.get_object(Bucket=BUCKET, Key=f"{CLUSTER}/etcd/{name}/cluster.json")["Body"].read())
        return record["state"], record["generation"]

    scenario.client.wait_until("events is restored", lambda: generation("events") == ("established", 2), 600)
    scenario.client.wait_until(
        "the node is ready again", lambda: scenario.status(node.instance_id).get("stage") == "ready", 300
    )
    assert generation("main") == ("established", 1)
    assert node.etcdctl("get", "lab/main", "--print-value-only") == "stays"
    assert node.sh("ls /etc/kubernetes/manifests/kube-apiserver.yaml")
