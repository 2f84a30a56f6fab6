"""EC2's half of a volume: what moto answers truthfully (describe, tags), and the refusals it never gives."""

import pytest

from agent.aws.credentials import Credentials
from agent.aws.ec2 import Ec2Access, explain
from agent.aws.volumes import FORMATTED, INTENT, Ec2Volumes
from units.errors import BootwrightError, Refused, Retryable
from units.host import VolumeClaim

KEYS = Credentials("AKIDTEST", "secret", "token", source="role demo-control-plane")
CLAIM = VolumeClaim("demo", "main", ("a", "b"), ("a",), 1)


@pytest.fixture(scope="module")
def ec2(moto_endpoint):
    import boto3

    return boto3.client(
        "ec2", endpoint_url=moto_endpoint, region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
    )


@pytest.fixture(scope="module")
def instance_id(ec2) -> str:
    image = ec2.describe_images()["Images"][0]["ImageId"]
    return ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]


@pytest.fixture
def cluster(request) -> str:
    """Moto lives as long as the session: every test has a cluster of its own."""
    return f"demo-{abs(hash(request.node.name))}"


@pytest.fixture
def make_volume(ec2, cluster):
    def make(tag: str, *, of: str | None = None, etcd: str = "main") -> str:
        tags = {f"kubernetes.io/cluster/{of or cluster}": "owned", f"k8s.io/etcd/{etcd}": tag}
        return ec2.create_volume(
            AvailabilityZone="eu-west-1a",
            Size=1,
            TagSpecifications=[
                {"ResourceType": "volume", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
            ],
        )["VolumeId"]

    return make


@pytest.fixture
def claim(cluster) -> VolumeClaim:
    return VolumeClaim(cluster, "main", ("a", "b"), ("a",), 1)


@pytest.fixture(scope="module")
def volumes(moto_endpoint, instance_id) -> Ec2Volumes:
    return Ec2Volumes(Ec2Access("eu-west-1", lambda: KEYS, moto_endpoint), instance_id=instance_id)


def test_only_this_clusters_volumes_of_this_etcd_are_candidates(volumes, make_volume, claim) -> None:
    wanted = {make_volume("a/a,b"), make_volume("b/a,b")}
    make_volume("a/a,b", of="another-cluster")
    make_volume("a/a,b", etcd="events")
    found = volumes.candidates(claim)
    assert {volume.volume_id for volume in found} == wanted
    assert {volume.tag for volume in found} == {"a/a,b", "b/a,b"}
    assert all((volume.zone, volume.state, volume.attachments) == ("eu-west-1a", "available", ()) for volume in found)


def test_an_attachment_names_its_holder_and_the_holders_state(volumes, make_volume, claim, ec2, instance_id) -> None:
    volume_id = make_volume("a/a,b")
    volumes.attach(volume_id, "/dev/xvdbz")
    (own,) = volumes.candidates(claim)
    assert [(a.instance_id, a.state) for a in own.attachments] == [(instance_id, "attached")]
    assert "/dev/xvdbz" in volumes.device_names_in_use()
    volumes.detach_own(volume_id)
    assert "/dev/xvdbz" not in volumes.device_names_in_use()
    image = ec2.describe_images()["Images"][0]["ImageId"]
    other = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    ec2.attach_volume(VolumeId=volume_id, InstanceId=other, Device="/dev/xvdbz")
    ec2.stop_instances(InstanceIds=[other])
    (held,) = volumes.candidates(claim)
    assert held.attachments[0].instance_id == other
    assert held.attachments[0].instance_state in ("stopping", "stopped")


def test_intent_and_formatted_go_through_tags(volumes, make_volume) -> None:
    volume_id = make_volume("a/a,b")
    assert volumes.record(volume_id).intent_uuid is None
    volumes.record_intent(volume_id, "uuid-1")
    assert volumes.record(volume_id).intent_uuid == "uuid-1"
    volumes.record_formatted(volume_id, "uuid-1")
    record = volumes.record(volume_id)
    assert (record.intent_uuid, record.formatted_uuid, record.created_from) == (None, "uuid-1", None)


def test_a_volume_from_a_snapshot_says_so(volumes, make_volume, ec2) -> None:
    snapshot = ec2.create_snapshot(VolumeId=make_volume("a/a,b"))["SnapshotId"]
    copied = ec2.create_volume(AvailabilityZone="eu-west-1a", SnapshotId=snapshot)["VolumeId"]
    assert volumes.record(copied).created_from == snapshot


def error(code: str, said: str = "words") -> bytes:
    return f"<Response><Errors><Error><Code>{code}</Code><Message>{said}</Message></Error></Errors></Response>".encode()


@pytest.fixture
def scripted(server) -> Ec2Volumes:
    return Ec2Volumes(Ec2Access("eu-west-1", lambda: KEYS, server.url), instance_id="i-1")


@pytest.mark.parametrize(
    ("code", "ours", "exit_code"),
    [
        ("VolumeInUse", "volume-lost-race", 4),
        ("IncorrectState", "volume-incorrect-state", 4),
        ("InvalidVolume.ZoneMismatch", "volume-wrong-zone", 3),
        ("AttachmentLimitExceeded", "volume-attachment-limit", 1),
        ("InvalidVolume.NotFound", "ec2-not-visible", 4),
        ("InvalidInstanceID.NotFound", "ec2-not-visible", 4),
        ("RequestLimitExceeded", "ec2-busy", 4),
        ("ThrottlingException", "ec2-busy", 4),
        ("InternalError", "ec2-busy", 4),
        ("Unavailable", "ec2-busy", 4),
        ("UnauthorizedOperation", "ec2-access-denied", 4),
        ("AuthFailure", "ec2-credentials-refused", 4),
        ("RequestExpired", "ec2-credentials-refused", 4),
        ("Surprise", "ec2-unexpected", 1),
    ],
)
def test_each_refusal_of_attach_has_its_meaning(code, ours, exit_code) -> None:
    found = explain(code, "words", "ec2:AttachVolume", "vol-1", "role demo")
    assert (found.code, found.exit_code) == (ours, exit_code)
    assert code in found.message
    assert "vol-1" in found.message
    assert found.remedy


def test_a_taken_device_name_is_told_from_other_bad_parameters() -> None:
    said = "Invalid value '/dev/xvdbz' for unixDevice. Attachment point /dev/xvdbz is already in use"
    code = "InvalidParameterValue"
    assert explain(code, said, "ec2:AttachVolume", "vol-1", "role").code == "volume-device-name-taken"
    assert explain(code, "something else", "ec2:AttachVolume", "vol-1", "role").code == "ec2-unexpected"


def test_a_refusal_comes_through_the_real_client(scripted, server, answer) -> None:
    server.script(answer(400, error("VolumeInUse", "vol-1 is already attached to an instance")))
    with pytest.raises(Retryable) as caught:
        scripted.attach("vol-1", "/dev/xvdbz")
    assert caught.value.code == "volume-lost-race"
    assert "already attached" in caught.value.message


def test_a_denial_names_the_action_and_the_role(scripted, server, answer) -> None:
    server.script(answer(403, error("UnauthorizedOperation", "no identity-based policy")))
    with pytest.raises(BootwrightError) as caught:
        scripted.record_intent("vol-1", "uuid")
    assert "role demo-control-plane" in caught.value.message
    assert "ec2:CreateTags" in caught.value.remedy


def test_an_attachment_that_dies_with_its_instance_is_refused(scripted, server, answer) -> None:
    body = b"""<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><volumeSet><item>
    <volumeId>vol-1</volumeId><attachmentSet><item><instanceId>i-1</instanceId>
    <deleteOnTermination>true</deleteOnTermination></item></attachmentSet></item></volumeSet></DescribeVolumesResponse>"""
    server.script(answer(200, body))
    with pytest.raises(Refused) as caught:
        scripted.record("vol-1")
    assert caught.value.code == "volume-dies-with-instance"
    assert "modify-instance-attribute" in caught.value.remedy


HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


@pytest.mark.parametrize(
    ("status", "body", "ours"),
    [
        (503, b"", "ec2-busy"),
        (504, b"", "ec2-busy"),
        (500, b"", "ec2-busy"),
        (502, HTML, "ec2-busy"),
        (503, error("Surprise"), "ec2-busy"),
        (503, error("RequestThrottled"), "ec2-busy"),
        (429, error("TooManyRequests"), "ec2-busy"),
        (400, error("RequestThrottled"), "ec2-busy"),
        (400, error("EC2ThrottledException"), "ec2-busy"),
        (400, error("Throttling"), "ec2-busy"),
        (429, b"", "ec2-unreachable"),
        (500, b"upstream connect error", "ec2-unreachable"),
        (500, b"<Response><Errors>", "ec2-unreachable"),
        (403, HTML[:-7], "ec2-unreachable"),
        (200, b"please log in to the guest network", "ec2-unreachable"),
        (200, b"", "ec2-unreachable"),
        (503, error("UnauthorizedOperation"), "ec2-access-denied"),
    ],
)
def test_whatever_hiccups_between_here_and_ec2_is_tried_again(scripted, server, answer, status, body, ours) -> None:
    """A proxy, a load balancer or EC2 on a bad day: no word of it may end a boot, or leave as a botocore exception."""
    server.script(answer(status, body))
    for call in (lambda: scripted.attach("vol-1", "/dev/xvdbz"), lambda: scripted.candidates(CLAIM)):
        with pytest.raises(Retryable) as caught:
            call()
        assert caught.value.code == ours
        assert caught.value.remedy


def test_a_boot_outlasts_a_minute_of_them(scripted, server, answer, waits, clock) -> None:
    found = b"""<DescribeVolumesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><volumeSet/>
    </DescribeVolumesResponse>"""
    answers = [answer(502, HTML), answer(429), answer(500, b"no"), answer(503), answer(200, found)]
    server.script(*answers)
    assert waits.until("the volume", lambda: scripted.candidates(CLAIM), limit=120.0) == ()
    assert len(server.requests) == len(answers)


def test_every_code_that_botocore_takes_for_throttling_is_busy() -> None:
    from botocore.retries.standard import ThrottledRetryableChecker, TransientRetryableChecker

    codes = ThrottledRetryableChecker._THROTTLED_ERROR_CODES + TransientRetryableChecker._TRANSIENT_ERROR_CODES
    assert {explain(code, "words", "ec2:AttachVolume", "vol-1", "role").code for code in codes} == {"ec2-busy"}


@pytest.mark.parametrize("code", ["AttachmentLimitExceeded", "VolumeLimitExceeded", "InstanceLimitExceeded"])
def test_a_quota_is_no_throttle(code) -> None:
    assert explain(code, "words", "ec2:AttachVolume", "vol-1", "role").exit_code == 1


def test_an_unreachable_ec2_is_told(waits) -> None:
    volumes = Ec2Volumes(Ec2Access("eu-west-1", lambda: KEYS, "http://127.0.0.1:1"), instance_id="i-1")
    with pytest.raises(BootwrightError) as caught:
        volumes.candidates(CLAIM)
    assert (caught.value.code, caught.value.exit_code) == ("ec2-unreachable", 4)


def test_environment_and_home_of_root_play_no_part(scripted, server, answer, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDWRONG")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    server.script(answer(200, b"<AttachVolumeResponse/>"))
    scripted.attach("vol-1", "/dev/xvdbz")
    assert "AKIDTEST" in server.requests[0][2]["authorization"]


def test_tags_are_named_as_documented() -> None:
    assert (INTENT, FORMATTED) == ("bootwright.io/format-intent", "bootwright.io/formatted")
