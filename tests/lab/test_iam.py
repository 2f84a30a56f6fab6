"""Machines of the lab run under what `coordinator iam` prints: here they try all else, with their own credentials.

The many cases are in tests/coordinator/test_iam.py and tests/lab/test_region_iam.py; here a real node is held by them.
"""

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.lab.live import LiveNode, live_cluster, ready_node
from tests.lab.scenario import BUCKET, CLUSTER, GROUP, WORKERS, Scenario

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]

NEXT_ROOT = f"arn:aws:s3:::{BUCKET}/{CLUSTER}/tuf/metadata/2.root.json"
# On the node, with the agent's own code: each request signed with the instance's role, its HTTP status printed.
ATTEMPT = """
import json, sys
from datetime import UTC, datetime
from agent.aws.http import Http, Timeouts
from agent.aws.imds import Imds
from agent.aws.sigv4 import sign

credentials, http = Imds().credentials(), Http()
for asked in json.load(sys.stdin):
    body = asked["body"].encode()
    said = {"User-Agent": asked["headers"].pop("user-agent", "nobody")}
    headers = sign(
        asked["method"], asked["url"], headers=asked["headers"], body=body, credentials=credentials,
        scope=("eu-west-1", asked["service"]), now=datetime.now(UTC),
    )
    with http.exchange(
        asked["method"], asked["url"], headers=headers | said, timeouts=Timeouts(), body=body or None
    ) as response:
        answer = response.body(limit=1 << 20).decode("utf-8", "replace")
        print(json.dumps([asked["name"], response.status, answer[:400]]))
"""


@dataclass(frozen=True, slots=True)
class World:
    scenario: Scenario
    control_plane: LiveNode
    worker: LiveNode
    refused: tuple[str, ...]  # what AWS refused the agents before these tests began, from the region's log

    def s3(self, method: str, key: str, body: str = "", **headers: str) -> dict[str, Any]:
        url = f"{self.scenario.client.endpoint_url}/{BUCKET}/{key}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return _asked(f"{method} {key}", "s3", method, url, body, named)

    def listing(self, prefix: str) -> dict[str, Any]:
        query = urlencode({"list-type": "2", "prefix": prefix})
        return _asked(f"LIST {prefix}", "s3", "GET", f"{self.scenario.client.endpoint_url}/{BUCKET}?{query}")

    def ec2(self, action: str, **parameters: str) -> dict[str, Any]:
        body = urlencode({"Action": action, "Version": "2016-11-15"} | parameters)
        form = {"content-type": "application/x-www-form-urlencoded"}
        return _asked(action, "ec2", "POST", f"{self.scenario.client.endpoint_url}/", body, form)

    def decrypt(self, secret: str, **changed: str) -> dict[str, Any]:
        """KMS Decrypt of a secret's data key, its context as it lies there but for what is changed."""
        s3 = self.scenario.client.aws("s3")
        key = f"{CLUSTER}/secrets/control-plane/{secret}.json"
        envelope = json.loads(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
        document = {
            "CiphertextBlob": envelope["wrappedKey"],
            "EncryptionContext": envelope["context"] | changed,
            "KeyId": envelope["key"].removeprefix("awskms:"),
        }
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "TrentService.Decrypt"}
        url = f"{self.scenario.client.endpoint_url}/"
        return _asked("Decrypt", "kms", "POST", url, json.dumps(document), headers)


def _asked(name: str, service: str, method: str, url: str, body: str = "", headers: Any = None) -> dict[str, Any]:
    known = {"name": name, "service": service, "method": method, "url": url}
    return known | {"body": body, "headers": headers or {}}


def tried(node: LiveNode, *asked: dict[str, Any]) -> dict[str, tuple[int, str]]:
    """Name of the request -> HTTP status and the beginning of the answer."""
    program = f"/opt/bootwright/venv/bin/python -c {shlex.quote(ATTEMPT)}"
    said = node.sh(f"echo {shlex.quote(json.dumps(asked))} | {program}")
    return {name: (status, answer) for name, status, answer in map(json.loads, said.splitlines())}


def is_denied(status: int, answer: str) -> bool:
    return status in (400, 403) and any(word in answer for word in ("AccessDenied", "UnauthorizedOperation"))


def denied(node: LiveNode, *asked: dict[str, Any]) -> None:
    let_through = {name: told for name, told in tried(node, *asked).items() if not is_denied(*told)}
    assert let_through == {}


def done(node: LiveNode, *asked: dict[str, Any]) -> None:
    found = tried(node, *asked)
    assert {name: status for name, (status, _) in found.items() if status != 200} == {}, found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with live_cluster(tmp_path_factory.mktemp("iam")) as scenario:
        control_plane = ready_node(scenario)
        worker = LiveNode(scenario, scenario.launch(WORKERS))
        # Its first report is in the store: it is up, and was allowed to say so. Then it looks for a newer root.
        scenario.client.wait_until("the worker's first report", lambda: scenario.status(worker.instance_id), 240.0)
        asked = f"/{worker.instance_id} s3:GetObject {NEXT_ROOT} 403 Forbidden"
        scenario.client.wait_until("its search for a root", lambda: asked in "\n".join(_refused(scenario)), 240.0)
        yield World(scenario, control_plane, worker, _refused(scenario))


def _refused(scenario: Scenario) -> tuple[str, ...]:
    """Lines of the region's log."""
    log = scenario.client.run.log.read_text().splitlines()
    return tuple(line for line in log if ":assumed-role/" in line and line.endswith(" 403 Forbidden"))


def test_the_agents_do_their_work_without_a_refusal(world: World) -> None:
    """But for the next root, which does not exist: S3 says 403 of it to those who may not list."""
    assert [line for line in world.refused if NEXT_ROOT not in line] == []


def test_a_worker_is_held_to_what_is_signed_for_it(world: World) -> None:
    own, other, folder = world.worker.instance_id, world.control_plane.instance_id, f"{CLUSTER}/"
    done(
        world.worker,
        world.s3("GET", f"{folder}tuf/metadata/timestamp.json"),
        world.listing(f"{folder}outcome/{WORKERS}/"),
        world.s3("PUT", f"{folder}outcome/{WORKERS}/0/ok/{own}", user_agent=own),
    )
    denied(
        world.worker,
        world.s3("GET", f"{folder}secrets/control-plane/authority-kubernetes.json"),
        world.s3("GET", f"{folder}secrets/control-plane/service-account.json"),
        world.s3("GET", f"{folder}etcd/main/cluster.json"),
        world.s3("GET", f"{folder}status/{world.control_plane.instance_id}.json"),
        world.s3("GET", _target(world, GROUP)),
        world.s3("GET", "other.example.com/tuf/metadata/timestamp.json"),
        world.listing(folder),
        world.s3("PUT", f"{folder}tuf/metadata/timestamp.json", "{}"),
        world.s3("PUT", f"{folder}halt/{WORKERS}", "{}"),
        world.s3("PUT", f"{folder}status/{other}.json", "{}", user_agent=other),
        world.s3("PUT", f"{folder}outcome/{WORKERS}/0/failed/{other}", user_agent=own),
        world.s3("PUT", f"{folder}identity/x.json", "{}", if_none_match="*"),
        world.s3("PUT", f"{folder}etcd/main/cluster.json", "{}", if_none_match="*"),
        world.s3(
            "PUT",
            f"{folder}status/{own}.json",
            user_agent=own,
            x_amz_copy_source=f"{BUCKET}/{folder}secrets/control-plane/authority-kubernetes.json",
        ),
        world.s3("DELETE", f"{folder}tuf/metadata/1.root.json"),
        world.decrypt("authority-kubernetes"),
        world.ec2("DescribeInstances"),
        world.ec2("TerminateInstances", **{"InstanceId.1": world.control_plane.instance_id}),
    )


def test_a_control_plane_node_opens_its_clusters_secrets_and_moves_its_own_volumes(world: World) -> None:
    node, folder = world.control_plane, f"{CLUSTER}/"
    volume = world.scenario.volumes()[0]["VolumeId"]
    done(node, world.decrypt("authority-kubernetes"), world.ec2("DescribeInstances"))
    denied(
        node,
        world.decrypt("authority-kubernetes", cluster="other.example.com"),
        world.s3("PUT", f"{folder}secrets/control-plane/authority-kubernetes.json", "{}"),
        world.s3("PUT", f"{folder}tuf/metadata/timestamp.json", "{}"),
        world.s3("PUT", f"{folder}etcd/main/cluster.json", "{}"),
        world.s3("DELETE", f"{folder}etcd/main/cluster.json"),
        world.s3("GET", _target(world, WORKERS)),
        world.s3("GET", "other.example.com/tuf/metadata/timestamp.json"),
        world.ec2("AttachVolume", VolumeId=volume, InstanceId=world.worker.instance_id, Device="/dev/xvdba"),
        world.ec2("CreateTags", **{"ResourceId.1": volume, "Tag.1.Key": "k8s.io/etcd/main", "Tag.1.Value": "b/b"}),
        world.ec2(
            "CreateTags",
            **{"ResourceId.1": node.instance_id, "Tag.1.Key": "bootwright.io/group", "Tag.1.Value": "x"},
        ),
        world.ec2("DeleteVolume", VolumeId=volume),
    )


def _target(world: World, group: str) -> str:
    """The key of a group's signed document."""
    listed = world.scenario.client.aws("s3").list_objects_v2(Bucket=BUCKET, Prefix=f"{CLUSTER}/tuf/targets/groups/")
    return next(str(item["Key"]) for item in listed["Contents"] if item["Key"].endswith(f".{group}.json"))
