"""A control plane of three machines in three zones, in a lab: each its group, its volume, its member."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from tests.lab.live import LiveNode, live_cluster
from tests.lab.region.client import LabClient, LabError
from tests.lab.scenario import BUCKET, CLUSTER, Scenario
from tests.lab.terraform import VOLUME_GIB, Terraform
from tests.real_etcd.binaries import binaries

MEMBERS = ("a", "b", "c")
RECORD = f"{CLUSTER}/etcd/main/cluster.json"
PKI = "/etc/kubernetes/pki"


def zone_of(member: str) -> str:
    return f"eu-west-1{member}"


def group_of(member: str) -> str:
    return f"control-plane-{member}"


def spread_over_zones(text: str, subnets: dict[str, str]) -> str:
    """The demo's spec, with three control-plane groups of one machine in the place of one."""
    spec = yaml.safe_load(text)
    spec["network"]["subnets"] = [{"zone": zone_of(m), "id": subnets[zone_of(m)]} for m in MEMBERS]
    spec["etcdClusters"][0]["members"] = [{"name": m, "zone": zone_of(m), "group": group_of(m)} for m in MEMBERS]
    first, *others = spec["instanceGroups"]
    groups = [{**first, "name": group_of(m), "zones": [zone_of(m)]} for m in MEMBERS]
    spec["instanceGroups"] = groups + [{**other, "zones": [zone_of("a")]} for other in others]
    return str(yaml.safe_dump(spec, sort_keys=False))


@dataclass
class HaCluster:
    """Volumes and machines of one control plane. `nodes` holds the machine that runs each member now."""

    scenario: Scenario
    nodes: dict[str, LiveNode] = field(default_factory=dict)
    volumes: dict[str, str] = field(default_factory=dict)

    @property
    def client(self) -> LabClient:
        return self.scenario.client

    def make_volume(self, member: str) -> str:
        tags = {
            "Name": f"{member}.etcd-main.{CLUSTER}",
            "k8s.io/etcd/main": f"{member}/{','.join(MEMBERS)}",
            "k8s.io/role/control-plane": "1",
            f"kubernetes.io/cluster/{CLUSTER}": "owned",
        }
        made = self.client.aws("ec2").create_volume(
            AvailabilityZone=zone_of(member),
            Size=VOLUME_GIB,
            VolumeType="gp3",
            TagSpecifications=[
                {"ResourceType": "volume", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )
        self.volumes[member] = str(made["VolumeId"])
        return self.volumes[member]

    def delete_volume(self, member: str) -> None:
        """Once nobody holds it any more."""
        ec2, volume = self.client.aws("ec2"), self.volumes[member]

        def is_free() -> bool:
            (found,) = ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
            return bool(found["State"] == "available")

        self.client.wait_until(f"{volume} is free", is_free, 120)
        ec2.delete_volume(VolumeId=volume)

    def launch(self, member: str) -> LiveNode:
        terraform = Terraform(self.client, CLUSTER, zone_of(member))
        self.nodes[member] = LiveNode(self.scenario, terraform.run_instance(self.scenario.machines(group_of(member))))
        return self.nodes[member]

    def terminate(self, *members: str) -> None:
        for member in members:
            self.client.terminate(self.nodes[member].instance_id)
        for member in members:
            self.client.wait_for_state(self.nodes[member].instance_id, "terminated")

    def power_cut(self, member: str) -> None:
        """At once, but for an attachment that is under way: User-Mode Linux dies of a disk that is plugged in while it
        boots ("kobject: tried to init an initialized object").
        """
        instance = self.nodes[member].instance_id

        def settled() -> bool:
            volumes = self.client.status()["volumes"]
            return not any(one["instance"] == instance and one["state"] == "attaching" for one in volumes)

        self.client.wait_until(f"no volume is attaching to {instance}", settled, 60)
        self.nodes[member].machine.power_cut()

    def wait_until_ready(self, *members: str) -> None:
        for member in members or MEMBERS:
            self.scenario.wait_until_ready(self.nodes[member].instance_id)

    def start_over(self) -> None:
        """As if there had never been a cluster: machines and volumes gone, the store without a record."""
        self.terminate(*self.nodes)
        for member in tuple(self.volumes):
            self.delete_volume(member)
        s3 = self.client.aws("s3")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{CLUSTER}/etcd/"):
            for found in page.get("Contents", ()):
                s3.delete_object(Bucket=BUCKET, Key=found["Key"])
        self.nodes, self.volumes = {}, {}
        for member in MEMBERS:
            self.make_volume(member)

    def record(self) -> dict[str, Any]:
        found = self.client.aws("s3").get_object(Bucket=BUCKET, Key=RECORD)
        return dict(json.loads(found["Body"].read()))

    def member_list(self, node: LiveNode) -> list[dict[str, Any]]:
        return list(json.loads(node.etcdctl("member", "list", "--write-out", "json"))["members"])

    def leader(self) -> str:
        for member, node in self.nodes.items():
            said = json.loads(node.etcdctl("endpoint", "status", "--write-out", "json"))[0]["Status"]
            if said["leader"] == said["header"]["member_id"]:
                return member
        raise AssertionError("nobody leads")

    def is_whole(self) -> None:
        """One cluster: its three members vote, on each of the three machines."""
        ids = set()
        for node in self.nodes.values():
            listed = self.member_list(node)
            assert sorted(one["name"] for one in listed) == list(MEMBERS)
            assert not any(one.get("isLearner") for one in listed)
            status = json.loads(node.etcdctl("endpoint", "status", "--write-out", "json"))[0]["Status"]
            ids.add(status["header"]["cluster_id"])
        assert len(ids) == 1
        record = self.record()
        assert (record["state"], record["started"], record["replacing"]) == ("established", list(MEMBERS), None)
        assert record["volumes"] == self.volumes


@contextmanager
def ha_cluster(directory: Path) -> Iterator[HaCluster]:
    """Founded and published, with a volume in each zone; no machine yet."""

    def edit(text: str) -> str:
        return spread_over_zones(text, LabClient(directory).outputs["private_subnet_ids"])

    with live_cluster(directory, edit_spec=edit) as scenario:
        cluster = HaCluster(scenario)
        for member in MEMBERS:
            cluster.make_volume(member)
        yield cluster


@contextmanager
def ready_ha_cluster(directory: Path) -> Iterator[HaCluster]:
    """With a machine for each member, all of them ready."""
    with ha_cluster(directory) as cluster:
        for member in MEMBERS:
            cluster.launch(member)
        cluster.wait_until_ready()
        yield cluster


class Writer:
    """Puts numbers into etcd all the time, through whoever serves, and keeps what was acknowledged."""

    def __init__(self, cluster: HaCluster, folder: Path) -> None:
        self._cluster, self._folder = cluster, folder
        folder.mkdir()
        node = cluster.nodes["a"]
        for name, path in (
            ("ca.crt", f"{PKI}/ca/etcd-clients.crt"),
            ("client.pem", f"{PKI}/etcd/healthcheck-client.pem"),
        ):
            (folder / name).write_text(node.sh(f"cat {path}") + "\n")
        self.acknowledged: list[int] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def wait_for_more(self, seconds: float = 120.0) -> None:
        seen = len(self.acknowledged)
        self._cluster.client.wait_until("more writes", lambda: len(self.acknowledged) >= seen + 5, seconds)

    def lost(self, node: LiveNode) -> set[int]:
        acknowledged = set(self.acknowledged)
        keys = node.etcdctl("get", "written/", "--prefix", "--keys-only").split()
        return acknowledged - {int(key.removeprefix("written/")) for key in keys}

    def _write(self) -> None:
        number = 0
        while not self._over.is_set():
            number += 1
            if self._etcdctl("put", f"written/{number}", f"{number}"):
                self.acknowledged.append(number)
            else:
                time.sleep(0.2)

    def _etcdctl(self, *arguments: str) -> bool:
        addresses = [self._address(node) for node in tuple(self._cluster.nodes.values())]
        command = [
            str(binaries() / "etcdctl"),
            "--endpoints=" + ",".join(f"https://{address}:2379" for address in addresses if address),
            f"--cacert={self._folder}/ca.crt",
            f"--cert={self._folder}/client.pem",
            f"--key={self._folder}/client.pem",
            "--command-timeout=5s",
            "--dial-timeout=2s",
            *arguments,
        ]
        try:
            return subprocess.run(command, capture_output=True, check=False, timeout=15, env={}).stdout.strip() == b"OK"
        except subprocess.TimeoutExpired:
            return False

    def _address(self, node: LiveNode) -> str:
        try:
            return str(self._cluster.client.instance(node.instance_id)["private_ip"] or "")
        except LabError:
            return ""


Story = Callable[[HaCluster, Writer], None]
