"""Who gets in: signatures, keys, tokens, roles and faults, as each AWS service words them."""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.lab.region import sdk
from tests.lab.region.client import LabClient
from tests.lab.region.fixtures import World
from tests.lab.region.guest import Guest
from tests.lab.region.roles import BUCKET, CLUSTER
from tests.lab.region.settings import OPERATOR_KEY
from tests.lab.test_region import refusal

STS_BODY = b"Action=GetCallerIdentity&Version=2011-06-15"


@pytest.fixture
def bucket(lab: LabClient) -> Any:
    s3 = lab.aws("s3")
    if BUCKET not in [found["Name"] for found in s3.list_buckets()["Buckets"]]:
        s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        for key in ("tuf/metadata/1.root.json", "secrets/control-plane/ca.json", "assets/sha256/00/x"):
            s3.put_object(Bucket=BUCKET, Key=f"{CLUSTER}/{key}", Body=b"{}")
    return s3


@pytest.fixture
def guest(lab: LabClient) -> Callable[[str], Guest]:
    """A running instance's own view, by group name."""

    def launch(group: str) -> Guest:
        instance = lab.run_instance(group)
        lab.wait_for_state(instance, "running")
        return Guest(lab.state["imds_url"], lab.endpoint_url, lab.instance(instance)["private_ip"])

    return launch


def stranger(lab: LabClient, key: str = "", secret: str = "") -> Callable[[str], Any]:
    """Clients like the operator's but for what is given."""
    names = lab.environment()
    return sdk.clients(lab.endpoint_url, key or names["AWS_ACCESS_KEY_ID"], secret or names["AWS_SECRET_ACCESS_KEY"])


def calls(client: Callable[[str], Any]) -> dict[str, Callable[[], object]]:
    return {
        "s3": lambda: client("s3").list_objects_v2(Bucket=BUCKET),
        "ec2": lambda: client("ec2").describe_instances(),
        "sts": lambda: client("sts").get_caller_identity(),
        "kms": lambda: client("kms").list_keys(),
        "autoscaling": lambda: client("autoscaling").describe_auto_scaling_groups(),
    }


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ("s3", "InvalidAccessKeyId"),
        ("ec2", "AuthFailure"),
        ("sts", "InvalidClientTokenId"),
        ("kms", "UnrecognizedClientException"),
        ("autoscaling", "InvalidClientTokenId"),
    ],
)
def test_an_unknown_key_is_refused(service: str, code: str, lab: LabClient, bucket: Any) -> None:
    attempts = calls(stranger(lab, key="AKIAIOSFODNN7EXAMPLE"))
    assert refusal(attempts[service])[0] == code


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ("s3", "SignatureDoesNotMatch"),
        ("ec2", "AuthFailure"),
        ("sts", "SignatureDoesNotMatch"),
        ("kms", "InvalidSignatureException"),
        ("autoscaling", "SignatureDoesNotMatch"),
    ],
)
def test_a_wrong_signature_is_refused(service: str, code: str, lab: LabClient, bucket: Any) -> None:
    attempts = calls(stranger(lab, secret="guessed"))
    assert refusal(attempts[service])[0] == code


def test_bare_moto_lets_every_stranger_in(bare: World) -> None:
    """When this fails, moto checks signatures by itself."""
    for call in calls(bare.aws).values():
        try:
            call()
        except bare.aws("s3").exceptions.NoSuchBucket:
            continue


def test_an_anonymous_request_is_refused(lab: LabClient, bucket: Any) -> None:
    answer = requests.get(f"{lab.endpoint_url}/{BUCKET}/{CLUSTER}/tuf/metadata/1.root.json", timeout=10)
    assert answer.status_code == 403
    assert b"<Code>AccessDenied</Code>" in answer.content


def signed(
    lab: LabClient,
    headers: Mapping[str, str] | None = None,
    region: str = "eu-west-1",
    at: datetime | None = None,
) -> Any:
    """A GetCallerIdentity request as the operator, rightly signed, by a clock that shows `at`."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    request = AWSRequest("POST", lab.endpoint_url + "/", data=STS_BODY, headers=form | dict(headers or {}))
    signer = SigV4Auth(Credentials(OPERATOR_KEY, lab.environment()["AWS_SECRET_ACCESS_KEY"]), "sts", region)
    signer.add_auth(request)
    if at:
        del request.headers["Authorization"]
        request.context["timestamp"] = at.strftime("%Y%m%dT%H%M%SZ")
        request.headers.replace_header("X-Amz-Date", request.context["timestamp"])
        text = signer.string_to_sign(request, signer.canonical_request(request))
        signer._inject_signature_to_request(request, signer.signature(text, request))
    return request.prepare()


def send(request: Any, changed: Mapping[str, str] | None = None, body: bytes = STS_BODY) -> requests.Response:
    headers = dict(request.headers) | dict(changed or {})
    return requests.post(request.url, data=body, headers=headers, timeout=10)


def test_sts_answers_the_request_that_was_signed_and_no_other(lab: LabClient) -> None:
    binding = {"X-Node-Audience": "cluster-a", "X-Node-Request-Sha256": hashlib.sha256(b"csr").hexdigest()}
    request = signed(lab, headers=binding)
    good = send(request)
    assert good.status_code == 200
    assert b"<Arn>arn:aws:iam::123456789012:user/operator</Arn>" in good.content
    for answer in (
        send(request, {"X-Node-Audience": "cluster-b"}),
        send(request, {"X-Node-Request-Sha256": hashlib.sha256(b"other csr").hexdigest()}),
        send(request, body=STS_BODY + b"&X=1"),
        send(request, {"X-Amz-Security-Token": "smuggled"}),
        send(request, {"X-Amz-Extra": "not signed"}),
    ):
        assert answer.status_code == 403, answer.text


def test_sts_speaks_json_to_those_who_accept_it(lab: LabClient) -> None:
    answer = send(signed(lab), {"Accept": "application/json"}).json()
    assert answer["GetCallerIdentityResponse"]["GetCallerIdentityResult"]["Account"] == "123456789012"


@pytest.mark.parametrize(("minutes", "status"), [(0, 200), (4, 200), (-4, 200), (6, 403), (-6, 403)])
def test_a_signature_lives_for_five_minutes(minutes: int, status: int, lab: LabClient) -> None:
    assert send(signed(lab, at=datetime.now(UTC) + timedelta(minutes=minutes))).status_code == status


def test_a_signature_for_another_region_is_refused(lab: LabClient) -> None:
    answer = send(signed(lab, region="us-east-1"))
    assert answer.status_code == 403
    assert "expecting &apos;eu-west-1&apos;" in answer.text or "expecting 'eu-west-1'" in answer.text


def test_a_body_that_is_not_what_was_declared_is_not_stored(lab: LabClient, bucket: Any) -> None:
    code, _ = refusal(
        lambda: bucket.put_object(Bucket=BUCKET, Key=f"{CLUSTER}/x", Body=b"abc", ChecksumSHA256="A" * 43 + "=")
    )
    assert code == "BadDigest"
    assert refusal(lambda: bucket.head_object(Bucket=BUCKET, Key=f"{CLUSTER}/x"))[0] == "404"


def test_instances_are_told_apart_by_address_and_named_by_their_credentials(
    guest: Callable[[str], Guest],
) -> None:
    first, second = guest("nodes"), guest("nodes")
    for node in (first, second):
        arn = node.aws("sts").get_caller_identity()["Arn"]
        assert arn == f"arn:aws:sts::123456789012:assumed-role/node/{node.instance_id}"
    assert first.instance_id != second.instance_id


def test_the_identity_role_proves_the_instance_and_may_do_nothing(guest: Callable[[str], Guest]) -> None:
    node = guest("nodes")
    identity = node.aws("sts", node.identity_credentials()).get_caller_identity()
    assert identity["Arn"] == f"arn:aws:sts::123456789012:assumed-role/aws:ec2-instance/{node.instance_id}"
    assert identity["UserId"] == f"123456789012:aws:ec2-instance:{node.instance_id}"
    ec2 = node.aws("ec2", node.identity_credentials())
    assert refusal(ec2.describe_instances)[0] == "UnauthorizedOperation"


def test_a_role_key_without_its_token_is_refused(guest: Callable[[str], Guest]) -> None:
    node = guest("nodes")
    sts = node.aws("sts", {**node.credentials(), "Token": ""})
    assert refusal(sts.get_caller_identity)[0] == "InvalidClientTokenId"


def test_only_the_control_plane_reads_secrets(bucket: Any, guest: Callable[[str], Guest]) -> None:
    secret = {"Bucket": BUCKET, "Key": f"{CLUSTER}/secrets/control-plane/ca.json"}
    assert guest("control-plane").aws("s3").get_object(**secret)["Body"].read() == b"{}"
    node = guest("nodes").aws("s3")
    assert refusal(lambda: node.get_object(**secret))[0] == "AccessDenied"
    assert node.get_object(Bucket=BUCKET, Key=f"{CLUSTER}/tuf/metadata/1.root.json")["Body"].read() == b"{}"


def test_a_node_writes_its_own_status_and_nothing_else(bucket: Any, guest: Callable[[str], Guest]) -> None:
    node = guest("nodes")
    s3 = node.aws("s3")
    s3.put_object(Bucket=BUCKET, Key=f"{CLUSTER}/status/{node.instance_id}.json", Body=b"{}")
    s3.put_object(Bucket=BUCKET, Key=f"{CLUSTER}/outcome/nodes/7/ok/{node.instance_id}", Body=b"")
    for key in (f"{CLUSTER}/tuf/metadata/timestamp.json", f"{CLUSTER}/halt/nodes"):
        assert refusal(lambda key=key: s3.put_object(Bucket=BUCKET, Key=key, Body=b""))[0] == "AccessDenied"
    root = {"Bucket": BUCKET, "Key": f"{CLUSTER}/tuf/metadata/1.root.json"}
    assert refusal(lambda: s3.delete_object(**root))[0] == "AccessDenied"


@pytest.mark.parametrize("said", ["", "i-00000000000000000", "*", "bootwright-agent"])
def test_a_node_cannot_write_the_status_of_another(said: str, bucket: Any, guest: Callable[[str], Guest]) -> None:
    node = guest("nodes")
    s3 = node.aws("s3")
    if said:  # and not its own instance id
        s3.meta.events.register_last(
            "before-send.s3", lambda request, **_: request.headers.__setitem__("User-Agent", said)
        )
    key = f"{CLUSTER}/status/i-00000000000000000.json"
    assert refusal(lambda: s3.put_object(Bucket=BUCKET, Key=key, Body=b""))[0] == "AccessDenied"


def test_a_missing_key_is_hidden_from_those_who_may_not_list(
    lab: LabClient, bucket: Any, guest: Callable[[str], Guest]
) -> None:
    worker, s3 = guest("nodes").aws("s3"), guest("control-plane").aws("s3")
    hidden = {"Bucket": BUCKET, "Key": f"{CLUSTER}/tuf/metadata/2.root.json"}
    assert refusal(lambda: worker.get_object(**hidden))[0] == "AccessDenied"
    missing = lambda: s3.get_object(Bucket=BUCKET, Key=f"{CLUSTER}/etcd/main/cluster.json")  # noqa: E731 - one call
    assert refusal(missing)[0] == "NoSuchKey"
    iam = lab.aws("iam")
    deny = '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:ListBucket", "Resource": "*"}]}'
    iam.put_role_policy(RoleName="control-plane", PolicyName="no-list", PolicyDocument=deny)
    try:
        assert refusal(missing)[0] == "AccessDenied"
    finally:
        iam.delete_role_policy(RoleName="control-plane", PolicyName="no-list")


def test_a_fault_denies_one_role_one_prefix(lab: LabClient, bucket: Any, guest: Callable[[str], Guest]) -> None:
    number = lab.fault_api(code="AccessDenied", role="control-plane", prefix="secrets/")
    control = guest("control-plane").aws("s3")
    secret = {"Bucket": BUCKET, "Key": f"{CLUSTER}/secrets/control-plane/ca.json"}
    assert refusal(lambda: control.get_object(**secret))[0] == "AccessDenied"
    assert control.get_object(Bucket=BUCKET, Key=f"{CLUSTER}/tuf/metadata/1.root.json")
    assert bucket.get_object(**secret), "the operator is not that role"
    lab.clear_fault(number)
    assert control.get_object(**secret)


def test_a_fault_takes_the_bucket_away(lab: LabClient, bucket: Any) -> None:
    lab.fault_api(code="NoSuchBucket", bucket=BUCKET)
    assert refusal(lambda: bucket.get_object(Bucket=BUCKET, Key=f"{CLUSTER}/assets/sha256/00/x"))[0] == "NoSuchBucket"


def test_a_fault_with_a_count_clears_itself(lab: LabClient) -> None:
    lab.fault_api(code="RequestLimitExceeded", service="ec2", action="DescribeVolumes", times=1)
    answers = [_status(lab) for _ in range(2)]
    assert answers == [503, 200]


def _status(lab: LabClient) -> int:
    """Without botocore's retries in between."""
    from botocore.exceptions import ClientError

    names = lab.environment()
    keys = names["AWS_ACCESS_KEY_ID"], names["AWS_SECRET_ACCESS_KEY"]
    try:
        answer = sdk.client(lab.endpoint_url, "ec2", *keys, attempts=1).describe_volumes()
    except ClientError as error:
        answer = error.response
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])
