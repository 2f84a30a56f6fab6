"""The same policies under moto's IAM enforcement: a second evaluator, as far as it goes.

moto 5.2.5 knows no policy variables, and takes every condition on a request for fulfilled (the last test). So it gets
each role's statements without conditions; the others are tested under the lab's evaluator (test_iam.py).
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from moto import mock_aws
from moto.core import set_initial_no_auth_action_count

from coordinator.iam import ROLES, Wanted, policy
from tests.coordinator.iam_golden import example

pytestmark = pytest.mark.slow  # importing moto's services

SPEC, PLACE = example("ha-private")
PREFIX = "clusters/prod.example.com/"
BUCKET = "example-clusters"
HASH = "0" * 64
KEYS = {
    "metadata": f"{PREFIX}tuf/metadata/timestamp.json",
    "snapshot": f"{PREFIX}tuf/metadata/9.snapshot.json",
    "root": f"{PREFIX}tuf/metadata/1.root.json",
    "workers": f"{PREFIX}tuf/targets/groups/{HASH}.workers.json",
    "control-plane": f"{PREFIX}tuf/targets/groups/{HASH}.control-plane-a.json",
    "asset": f"{PREFIX}assets/sha256/00/{HASH}",
    "secret": f"{PREFIX}secrets/control-plane/authority-kubernetes.json",
    "other secret": f"{PREFIX}secrets/control-plane/service-account.json",
    "record": f"{PREFIX}etcd/main/cluster.json",
    "backup": f"{PREFIX}etcd/main/backups/2026-01-01T00:00:00Z-7/snapshot.db",
    "backup meta": f"{PREFIX}etcd/main/backups/2026-01-01T00:00:00Z-7/meta.json",
    "backup test": f"{PREFIX}etcd/main/backups/2026-01-01T00:00:00Z-7/verified.json",
    "identity": f"{PREFIX}identity/1/eu-west-1/i-1.json",
    "status": f"{PREFIX}status/i-1.json",
    "halt": f"{PREFIX}halt/workers",
    "elsewhere": "clusters/other.example.com/tuf/metadata/timestamp.json",
}
METADATA = ("metadata", "snapshot", "root")
READS = {
    "node": {*METADATA, "workers", "asset", "halt"},
    "control-plane": {
        *(*METADATA, "control-plane", "asset", "secret", "other secret"),
        *("record", "backup", "backup meta", "backup test", "identity"),
    },
    "publisher": {*METADATA, "workers", "control-plane", "asset", "secret", "other secret", "status", "halt"},
    "refresher": {*METADATA},
    "on-call": {*METADATA, "workers", "control-plane", "status", "halt"},
    "administrator": {*METADATA, "workers", "control-plane", "secret"},
    "restorer": {"record", "backup meta", "backup test", "status"},
}
WRITES = {
    "node": set(),  # reports on itself hang on a condition
    "control-plane": {"record", "backup", "backup meta", "backup test", "identity"},
    "publisher": {*METADATA, "workers", "control-plane", "asset", "secret", "other secret", "halt"},
    "refresher": {"metadata", "snapshot"},
    "on-call": {"halt"},
    "administrator": set(),
    "restorer": {"record"},
}
DELETES = {"control-plane": {"backup", "backup meta", "backup test"}, "publisher": {"halt"}, "on-call": {"halt"}}
GIVES_UP = {"control-plane": {"backup", "backup meta", "backup test"}, "publisher": {"asset"}}

Client = Callable[[str, str], Any]


@pytest.fixture
def client() -> Iterator[Client]:
    """A client of a service for somebody who assumed the role."""
    import boto3

    with mock_aws():
        iam, sts = boto3.client("iam"), boto3.client("sts", region_name="eu-west-1")
        s3 = boto3.client("s3", region_name="eu-west-1")
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        for key in KEYS.values():
            s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")
        anybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [anybody]})
        made = {}
        for role in ROLES:
            arn = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
            document = {"Version": "2012-10-17", "Statement": unconditional(role)}
            iam.put_role_policy(RoleName=role, PolicyName="bootwright", PolicyDocument=json.dumps(document))
            made[role] = sts.assume_role(RoleArn=arn, RoleSessionName="i-1")["Credentials"]

        def client_of(role: str, service: str) -> Any:
            return boto3.client(
                service,
                region_name="eu-west-1",
                aws_access_key_id=made[role]["AccessKeyId"],
                aws_secret_access_key=made[role]["SecretAccessKey"],
                aws_session_token=made[role]["SessionToken"],
            )

        yield client_of


def unconditional(role: str) -> list[dict[str, Any]]:
    return [statement for statement in policy(SPEC, PLACE, Wanted(role))["Statement"] if "Condition" not in statement]


def allowed(call: Callable[[], object]) -> bool:
    """Whether moto lets the call through, with its enforcement on."""
    from botocore.exceptions import ClientError

    @set_initial_no_auth_action_count(0)
    def enforced() -> bool:
        try:
            call()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            assert code in ("AccessDenied", "UnauthorizedOperation", "403"), code  # 403: XML where KMS speaks JSON
            return False
        return True

    return bool(enforced())


@pytest.mark.parametrize("role", ROLES)
def test_a_role_touches_the_objects_of_its_work_and_no_others(role: str, client: Client) -> None:
    s3 = client(role, "s3")

    def these(act: Callable[[str], object]) -> set[str]:
        return {name for name, key in KEYS.items() if allowed(partial(act, key))}

    assert these(lambda key: s3.get_object(Bucket=BUCKET, Key=key)) == READS[role]
    assert these(lambda key: s3.put_object(Bucket=BUCKET, Key=key, Body=b"{}")) == WRITES[role]
    assert these(lambda key: s3.delete_object(Bucket=BUCKET, Key=key)) == DELETES.get(role, set())
    begun = {key: s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"] for key in KEYS.values()}
    given_up = these(lambda key: s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=begun[key]))
    assert given_up == GIVES_UP.get(role, set())


@pytest.mark.parametrize("role", ROLES)
def test_no_role_reaches_beyond_its_services(role: str, client: Client) -> None:
    assert not allowed(client(role, "iam").list_roles)
    assert not allowed(client(role, "ec2").describe_security_groups)
    assert not allowed(lambda: client(role, "kms").create_key())
    assert not allowed(lambda: client(role, "s3").delete_bucket(Bucket=BUCKET))


@pytest.mark.parametrize(("effect", "result"), [("Allow", "PERMITTED"), ("Deny", "DENIED")])
def test_moto_takes_every_condition_for_fulfilled(effect: str, result: str) -> None:
    """When this fails, moto can be given whole policies."""
    from moto.iam.access_control import IAMPolicy, PermissionResult

    unmet = {"StringEquals": {"aws:SourceVpc": "vpc-1"}}
    statement = {"Effect": effect, "Action": "s3:GetObject", "Resource": "*", "Condition": unmet}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    found = IAMPolicy(document).is_action_permitted("s3:GetObject", "arn:aws:s3:::b/k")
    assert found is PermissionResult[result]
