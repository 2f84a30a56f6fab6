"""Whole commands and real requests under the policies that `coordinator iam` prints, in a region on loopback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.coordinator.workshop import PASSPHRASE
from tests.lab.region import sdk
from tests.lab.region.client import LabClient
from tests.lab.region.guest import Guest
from tests.lab.region.roles import PEOPLE, grant
from tests.lab.test_region import refusal
from units.bootstrap_record import BootstrapRecord, decode_record
from units.etcd_backup import BackupMeta

pytestmark = pytest.mark.slow  # whole commands

CLUSTER, OTHER, BUCKET = "iam.example.com", "other.example.com", "lab-iam"
GROUPS = """\
instanceGroups:
  - name: control-plane-a
    role: control-plane
    machineType: m6i.large
    image: {image}
  - name: workers
    role: node
    machineType: t3.medium
    image: {image}
"""
SPEC = """\
apiVersion: bootwright.io/v1
kind: Cluster
metadata:
  name: {cluster}
kubernetesVersion: 1.36.2
region: eu-west-1
store: s3://{bucket}
network:
  vpc: {vpc}
  cidr: 10.99.0.0/20
  subnets:
    - zone: {zone}
      id: {subnet}
api:
  endpoint: 10.99.0.2
{groups}trust:
  secretsKey: awskms:{kms}
aws:
  endpointURL: {endpoint}
"""


@dataclass(frozen=True, slots=True)
class Founded:
    """A cluster that its publisher founded, with all keys in KMS."""

    lab: LabClient
    directory: Path
    targets_key: str
    online_key: str

    def run(self, *arguments: str, role: str = "") -> "subprocess.CompletedProcess[str]":
        """The coordinator, as somebody who assumed `role`, or as the account's administrator."""
        keys = {"BOOTWRIGHT_PASSPHRASE": PASSPHRASE, "BOOTWRIGHT_KEYS": str(self.directory / "keys")}
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BOOTWRIGHT_"))}
        return subprocess.run(
            [
                str(Path(sys.executable).with_name("coordinator")),
                *arguments,
                "-f",
                str(self.directory / "cluster.yaml"),
            ],
            env={**clean, **self.lab.environment(), **keys, **(assumed(self.lab, role) if role else {})},
            cwd=self.directory,
            text=True,
            check=False,
            capture_output=True,
            timeout=120,
        )

    def ok(self, *arguments: str, role: str = "") -> str:
        done = self.run(*arguments, role=role)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *arguments: str, role: str) -> str:
        done = self.run(*arguments, role=role)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "(aws-access-denied)" in done.stderr
        return done.stderr


def assumed(lab: LabClient, role: str) -> dict[str, str]:
    """The environment of somebody who assumed the role."""
    arn = f"arn:aws:iam::123456789012:role/{role}"
    made = lab.aws("sts").assume_role(RoleArn=arn, RoleSessionName="somebody")["Credentials"]
    names = {"AWS_ACCESS_KEY_ID": "AccessKeyId", "AWS_SECRET_ACCESS_KEY": "SecretAccessKey"}
    return {name: made[field] for name, field in names.items()} | {"AWS_SESSION_TOKEN": made["SessionToken"]}


@pytest.fixture(scope="module")
def founded(region: LabClient, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Founded]:
    directory, outputs = tmp_path_factory.mktemp("iam"), region.outputs
    zone = outputs["zones"][0]
    (directory / "cluster.yaml").write_text(
        SPEC.format(
            cluster=CLUSTER,
            bucket=BUCKET,
            vpc=outputs["vpc_id"],
            zone=zone,
            subnet=outputs["private_subnet_ids"][zone],
            groups=GROUPS.format(image=outputs["image_id"]),
            kms=outputs["kms_key_arn"],
            endpoint=region.endpoint_url,
        )
    )
    (directory / "kubelet").write_bytes(b"kubelet" * 1000)
    s3, iam = region.aws("s3"), region.aws("iam")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for folder in (CLUSTER, OTHER):
        s3.put_object(Bucket=BUCKET, Key=f"{folder}/status/i-00000000000000001.json", Body=b"{}")
    s3.put_object(Bucket=BUCKET, Key=f"{OTHER}/tuf/metadata/timestamp.json", Body=b"{}")
    made = Founded(region, directory, *(_signing_key(region) for _ in range(2)))
    signing = ("--targets-key", f"awskms:{made.targets_key}", "--online-key", f"awskms:{made.online_key}")
    first = json.loads(made.ok("iam", "publisher", *signing))
    iam.create_role(RoleName="publisher", AssumeRolePolicyDocument=json.dumps(PEOPLE))
    iam.put_role_policy(RoleName="publisher", PolicyName="bootwright", PolicyDocument=json.dumps(first))
    made.ok("init", *signing, role="publisher")
    grant(iam, CLUSTER, json.loads(made.ok("iam", "--all")))
    yield made
    for role in ("control-plane", "node"):
        iam.put_role_policy(
            RoleName=role, PolicyName="bootwright", PolicyDocument=json.dumps(_lab_policy(region, role))
        )


def _signing_key(lab: LabClient) -> str:
    made = lab.aws("kms").create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")
    return str(made["KeyMetadata"]["Arn"])


def _lab_policy(lab: LabClient, role: str) -> Mapping[str, Any]:
    from coordinator.iam import Keys, Wanted, place_of, policy
    from tests.lab.region.roles import lab_spec

    spec = lab_spec(lab.outputs)
    return policy(spec, place_of(spec, Keys(secrets=lab.outputs["kms_key_arn"])), Wanted(role))


@pytest.fixture
def guest(lab: LabClient) -> Iterator[Callable[[str], Guest]]:
    """A running machine's own view, by its role."""
    launched = []

    def launch(role: str) -> Guest:
        instance = lab.run_instance("control-plane-a" if role == "control-plane" else "workers")
        launched.append(instance)
        lab.wait_for_state(instance, "running")
        return Guest(lab.state["imds_url"], lab.endpoint_url, lab.instance(instance)["private_ip"])

    yield launch
    lab.terminate(*launched)


def test_the_publisher_publishes_and_sees_the_fleet(founded: Founded) -> None:
    founded.ok("assets", "add", "kubelet", "--name", "kubelet", "--path", "/usr/local/bin/kubelet", role="publisher")
    for command in (
        ("history",),
        ("assets", "list"),
        ("publish", "--yes"),
        ("status", "--json"),
        ("userdata", "workers"),
    ):
        founded.ok(*command, role="publisher")


def test_the_refresher_refreshes_and_can_change_nothing(founded: Founded) -> None:
    before = json.loads(founded.ok("refresh", "--json", role="publisher"))["versions"]
    after = json.loads(founded.ok("refresh", "--json", role="refresher"))["versions"]
    assert after == before | {"timestamp": before["timestamp"] + 1}
    refused = founded.refused(
        "assets", "add", "kubelet", "--name", "other", "--path", "/usr/local/bin/other", role="refresher"
    )
    assert "s3:" in refused
    founded.refused("kubeconfig", role="refresher")


def test_only_the_administrator_makes_kubeconfigs(founded: Founded) -> None:
    assert "client-certificate-data" in founded.ok("kubeconfig", role="administrator")
    assert "kms:Decrypt" in founded.refused("kubeconfig", role="publisher")
    done = founded.run("refresh", role="administrator")
    assert done.returncode == 1
    assert "denied kms:Sign" in done.stderr


def test_the_restorer_restores_without_reading_a_snapshot_and_can_do_nothing_else(founded: Founded) -> None:
    s3, name = founded.lab.aws("s3"), "2026-01-01T00:00:00Z-7"
    folder = f"{CLUSTER}/etcd/main"
    record = BootstrapRecord(state="established", generation=1, token="g1", volumes={}, created_by="i-1")
    meta = BackupMeta(
        cluster=CLUSTER,
        etcd="main",
        etcd_version="3.6.14",
        generation=1,
        token="g1",
        revision=7,
        size=7,
        sha256="0" * 64,
        versions=1,
        members=1,
        member="1",
        taken="2026-01-01T00:00:00+00:00",
        reason="test",
    )
    for key, body in (
        ("cluster.json", record.encode()),
        (f"backups/{name}/meta.json", meta.encode()),
        (f"backups/{name}/snapshot.db", b"secrets"),
    ):
        s3.put_object(Bucket=BUCKET, Key=f"{folder}/{key}", Body=body)
    assert name in founded.ok("etcd", "backups", "--json", role="restorer")
    founded.ok("etcd", "restore", "--backup", "latest", "--yes", role="restorer")
    stored = s3.get_object(Bucket=BUCKET, Key=f"{folder}/cluster.json")["Body"].read()
    assert decode_record(stored, "cluster.json").generation == 2
    founded.refused("etcd", "restore", "--backup", "latest", "--yes", role="publisher")
    founded.refused("kubeconfig", role="restorer")
    names = assumed(founded.lab, "restorer")
    keys = names["AWS_ACCESS_KEY_ID"], names["AWS_SECRET_ACCESS_KEY"], names["AWS_SESSION_TOKEN"]
    own = sdk.client(founded.lab.endpoint_url, "s3", *keys)
    denied(
        get(own, f"{folder}/backups/{name}/snapshot.db"),
        put(own, f"{folder}/backups/{name}/meta.json"),
        put(own, f"{folder}/cluster.json"),
        put(own, f"{folder}/cluster.json", IfNoneMatch="*"),
        lambda: own.delete_object(Bucket=BUCKET, Key=f"{folder}/backups/{name}/snapshot.db"),
    )
    s3.delete_object(Bucket=BUCKET, Key=f"{folder}/cluster.json")  # the cluster is every test's of this file


def test_nobody_can_assume_a_machines_role_to_any_end(founded: Founded) -> None:
    """A person who may assume it, and calls the session what an instance is called."""
    for role in ("node", "control-plane"):
        names = assumed(founded.lab, role)
        keys = names["AWS_ACCESS_KEY_ID"], names["AWS_SECRET_ACCESS_KEY"], names["AWS_SESSION_TOKEN"]
        s3 = sdk.client(founded.lab.endpoint_url, "s3", *keys)
        wanted = {"Bucket": BUCKET, "Key": f"{CLUSTER}/tuf/metadata/timestamp.json"}
        assert refusal(lambda s3=s3, wanted=wanted: s3.get_object(**wanted))[0] == "AccessDenied"


def put(s3: Any, key: str, **more: str) -> Callable[[], object]:
    return lambda: s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}", **more)


def get(s3: Any, key: str) -> Callable[[], object]:
    return lambda: s3.get_object(Bucket=BUCKET, Key=key)


def denied(*calls: Callable[[], object]) -> None:
    for call in calls:
        assert refusal(call)[0] in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


def test_a_worker_reads_what_is_signed_for_it_and_no_more(founded: Founded, guest: Callable[[str], Guest]) -> None:
    s3 = guest("node").aws("s3")
    get(s3, f"{CLUSTER}/tuf/metadata/timestamp.json")()
    denied(
        get(s3, f"{CLUSTER}/secrets/control-plane/authority-kubernetes.json"),
        get(s3, f"{CLUSTER}/status/i-00000000000000001.json"),
        get(s3, f"{CLUSTER}/etcd/main/cluster.json"),
        get(s3, f"{OTHER}/tuf/metadata/timestamp.json"),
        lambda: s3.list_objects_v2(Bucket=BUCKET),
        lambda: s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{CLUSTER}/status/"),
        put(s3, f"{CLUSTER}/tuf/metadata/timestamp.json"),
        put(s3, f"{CLUSTER}/halt/workers"),
        put(s3, f"{CLUSTER}/identity/x.json", IfNoneMatch="*"),
    )
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{CLUSTER}/outcome/workers/").get("KeyCount") == 0


def test_a_worker_cannot_have_a_secret_copied_to_where_it_may_write(
    founded: Founded, guest: Callable[[str], Guest]
) -> None:
    node = guest("node")
    s3, own = node.aws("s3"), f"{CLUSTER}/status/{node.instance_id}.json"
    secret = f"{BUCKET}/{CLUSTER}/secrets/control-plane/authority-kubernetes.json"
    denied(lambda: s3.copy_object(Bucket=BUCKET, Key=own, CopySource=secret))


def test_a_control_plane_machine_opens_this_clusters_secrets_only(
    founded: Founded, guest: Callable[[str], Guest]
) -> None:
    node, key = guest("control-plane"), founded.lab.outputs["kms_key_arn"]
    record = json.loads((founded.directory / "keys" / "init.json").read_text())
    own = {"cluster": CLUSTER, "uid": record["uid"], "role": "control-plane", "name": "authority-kubernetes"}
    admin, kms = founded.lab.aws("kms"), node.aws("kms")
    for context, opens in (
        (own, True),
        ({**own, "cluster": OTHER}, False),
        ({**own, "uid": "of-a-namesake"}, False),
        ({**own, "more": "keys"}, False),
    ):
        blob = admin.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext=context)["CiphertextBlob"]
        call = lambda blob=blob, context=context: kms.decrypt(  # noqa: E731 - one call
            KeyId=key, CiphertextBlob=blob, EncryptionContext=context
        )
        if opens:
            call()
        else:
            denied(call)
    s3 = node.aws("s3")
    denied(
        put(s3, f"{CLUSTER}/secrets/control-plane/authority-kubernetes.json"),
        put(s3, f"{CLUSTER}/tuf/metadata/timestamp.json"),
        put(s3, f"{CLUSTER}/etcd/main/cluster.json"),
        lambda: s3.delete_object(Bucket=BUCKET, Key=f"{CLUSTER}/etcd/main/cluster.json"),
        lambda: kms.sign(
            KeyId=founded.targets_key,
            Message=b"0" * 32,
            MessageType="DIGEST",
            SigningAlgorithm="ECDSA_SHA_256",
        ),
    )
    assert refusal(get(s3, f"{CLUSTER}/etcd/main/cluster.json"))[0] == "NoSuchKey"
    put(s3, f"{CLUSTER}/etcd/main/cluster.json", IfNoneMatch="*")()


def test_a_control_plane_machine_attaches_etcds_volumes_to_itself_only(
    founded: Founded, guest: Callable[[str], Guest]
) -> None:
    lab, node, neighbour = founded.lab, guest("control-plane"), guest("control-plane")
    ec2, owned = node.aws("ec2"), {f"kubernetes.io/cluster/{CLUSTER}": "owned"}
    etcd = _volume(lab, owned | {"k8s.io/etcd/main": "a/a"})
    pods, strangers = _volume(lab, owned), _volume(lab, {"k8s.io/etcd/main": "a/a"})

    def attach(volume: str, instance: str) -> Callable[[], object]:
        return lambda: ec2.attach_volume(VolumeId=volume, InstanceId=instance, Device="/dev/xvdba")

    def tag(resource: str, key: str) -> Callable[[], object]:
        return lambda: ec2.create_tags(Resources=[resource], Tags=[{"Key": key, "Value": "x"}])

    denied(
        attach(etcd, neighbour.instance_id),
        attach(pods, node.instance_id),
        attach(strangers, node.instance_id),
        tag(pods, "bootwright.io/formatted"),
        tag(etcd, "k8s.io/etcd/main"),
        tag(node.instance_id, "bootwright.io/group"),
        lambda: ec2.delete_tags(Resources=[etcd], Tags=[{"Key": "k8s.io/etcd/main"}]),
        lambda: ec2.delete_volume(VolumeId=etcd),
        lambda: ec2.terminate_instances(InstanceIds=[node.instance_id]),
    )
    attach(etcd, node.instance_id)()
    tag(etcd, "bootwright.io/format-intent")()
    ec2.delete_tags(Resources=[etcd], Tags=[{"Key": "bootwright.io/format-intent"}])
    ec2.describe_volumes()
    denied(guest("node").aws("ec2").describe_instances)


def _volume(lab: LabClient, tags: Mapping[str, str]) -> str:
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    made = lab.aws("ec2").create_volume(
        AvailabilityZone=lab.outputs["zones"][0],
        Size=1,
        TagSpecifications=[{"ResourceType": "volume", "Tags": listed}],
    )
    return str(made["VolumeId"])
