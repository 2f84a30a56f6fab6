import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from agent.aws.imds import Imds
from units.errors import BootwrightError, Fatal, Retryable

DOCUMENT = {
    "instanceId": "i-0123456789abcdef0",
    "region": "eu-west-1",
    "availabilityZone": "eu-west-1a",
    "instanceType": "m6i.large",
    "architecture": "x86_64",
    "accountId": "123456789012",
    "imageId": "ami-1",
}
ROLE = "/latest/meta-data/iam/security-credentials/"


def role_credentials(key: str = "ASIAROLE", *, hours: float = 6) -> bytes:
    expires = datetime.now(UTC) + timedelta(hours=hours)
    return json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": key,
            "SecretAccessKey": "s",
            "Token": "t",
            "Expiration": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
        }
    ).encode()


class ImdsDouble:
    """IMDSv2 as EC2 answers it, over a table of paths."""

    def __init__(self, server, answer) -> None:
        self.answer = answer
        self.tokens = 0
        self.valid = ""
        self.paths: dict[str, bytes | list[bytes | None]] = {
            "/latest/dynamic/instance-identity/document": json.dumps(DOCUMENT).encode(),
            "/latest/meta-data/local-ipv4": b"10.0.0.7",
            "/latest/meta-data/local-hostname": b"ip-10-0-0-7.eu-west-1.compute.internal",
            "/latest/meta-data/tags/instance": b"Name\ngroup",
            "/latest/meta-data/tags/instance/Name": b"cp-1",
            "/latest/meta-data/tags/instance/group": b"control-plane",
            ROLE: b"demo-nodes",
            ROLE + "demo-nodes": role_credentials(),
        }
        server.respond = self.respond

    def respond(self, method, path, headers, _body):
        if method == "PUT":
            if path != "/latest/api/token" or "x-aws-ec2-metadata-token-ttl-seconds" not in headers:
                return self.answer(400)
            self.tokens += 1
            self.valid = f"token-{self.tokens}"
            return self.answer(200, self.valid.encode())
        if headers.get("x-aws-ec2-metadata-token") != self.valid:
            return self.answer(401)
        body = self.paths.get(path)
        if isinstance(body, list):
            body = body.pop(0) if len(body) > 1 else body[0]
        return self.answer(404) if body is None else self.answer(200, body)


@pytest.fixture
def table(server, answer) -> ImdsDouble:
    return ImdsDouble(server, answer)


@pytest.fixture
def imds(server, waits) -> Imds:
    return Imds(server.url, waits=waits)


def test_the_instance_is_read_with_one_token(imds, table) -> None:
    instance = imds.instance()
    assert instance.instance_id == "i-0123456789abcdef0"
    assert (instance.zone, instance.region, instance.architecture) == ("eu-west-1a", "eu-west-1", "amd64")
    assert instance.private_ip == "10.0.0.7"
    assert table.tokens == 1


def test_tags_are_read_by_name(imds, table) -> None:
    assert imds.tags() == {"Name": "cp-1", "group": "control-plane"}
    table.paths["/latest/meta-data/tags/instance"] = b"two words"
    table.paths["/latest/meta-data/tags/instance/two%20words"] = b"x"
    assert imds.tags() == {"two words": "x"}


def test_the_region_is_read_alone(imds, table) -> None:
    table.paths["/latest/meta-data/placement/region"] = b"eu-west-1"
    assert imds.region() == "eu-west-1"


def test_a_forgotten_token_is_renewed(imds, table) -> None:
    imds.instance()
    table.valid = "imds was restarted"
    assert imds.tags()["Name"] == "cp-1"
    assert table.tokens == 2


def test_instances_without_tags_in_metadata_have_none(imds, table) -> None:
    del table.paths["/latest/meta-data/tags/instance"]
    assert imds.tags() == {}


def test_user_data_is_none_when_the_launch_template_has_none(imds, table) -> None:
    assert imds.user_data() is None
    table.paths["/latest/user-data"] = b"#cloud-config\n"
    assert imds.user_data() == b"#cloud-config\n"


def test_credentials_that_come_late_are_waited_for(imds, table, said) -> None:
    table.paths[ROLE] = [None, None, b"demo-nodes"]
    credentials = imds.credentials()
    assert (credentials.access_key_id, credentials.source) == ("ASIAROLE", "role demo-nodes")
    assert any("instance profile" in wait for wait in said)


def test_an_instance_without_a_profile_says_so_in_the_end(imds, table, clock) -> None:
    del table.paths[ROLE]
    with pytest.raises(Retryable) as caught:
        imds.credentials()
    assert caught.value.code == "imds-no-credentials"
    assert clock.now == pytest.approx(60)


def test_credentials_are_kept_until_they_end_soon(imds, table) -> None:
    table.paths[ROLE + "demo-nodes"] = [role_credentials("ASIA1", hours=0.05), role_credentials("ASIA2")]
    assert imds.credentials().access_key_id == "ASIA1"
    assert imds.credentials().access_key_id == "ASIA2"
    table.paths[ROLE + "demo-nodes"] = role_credentials("ASIA3")
    assert imds.credentials().access_key_id == "ASIA2"
    imds.forget_credentials()
    assert imds.credentials().access_key_id == "ASIA3"


def test_a_role_that_ec2_may_not_assume_is_told(imds, table) -> None:
    table.paths[ROLE + "demo-nodes"] = b'{"Code": "AssumeRoleUnauthorizedAccess"}'
    with pytest.raises(Retryable, match="AssumeRoleUnauthorizedAccess") as caught:
        imds.credentials()
    assert caught.value.code == "imds-credentials-refused"


def test_identity_credentials_come_from_their_own_path(imds, table) -> None:
    path = "/latest/meta-data/identity-credentials/ec2/security-credentials/ec2-instance"
    table.paths[path] = role_credentials("ASIAIDENTITY")
    assert imds.identity_credentials().access_key_id == "ASIAIDENTITY"


def test_no_imds_is_said_soon_and_with_the_usual_causes(waits, clock) -> None:
    with pytest.raises(Retryable) as caught:
        Imds("http://127.0.0.1:1", waits=waits).instance()
    assert (caught.value.code, caught.value.exit_code) == ("imds-unreachable", 4)
    assert "HttpEndpoint" in caught.value.remedy
    assert "hop limit" in caught.value.remedy
    assert clock.now == pytest.approx(20)


def test_a_disabled_imds_is_told_apart_from_an_absent_one(imds, server, answer) -> None:
    server.script(answer(403))
    with pytest.raises(Fatal) as caught:
        imds.instance()
    assert caught.value.code == "imds-disabled"


def test_an_imds_that_wakes_up_late_is_waited_for(imds, table, server, answer) -> None:
    failures = [answer(503), answer(500)]
    server.respond = lambda *request: failures.pop() if failures else table.respond(*request)
    assert imds.instance().private_ip == "10.0.0.7"


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"not json", b'{"instanceId": 7}', b"{}", b"[" * 30_000, b"\xff\xfe"],
)
def test_an_identity_document_without_sense_is_refused(imds, table, body) -> None:
    table.paths["/latest/dynamic/instance-identity/document"] = body
    with pytest.raises(Fatal) as caught:
        imds.instance()
    assert caught.value.code == "imds-unexpected"


def test_an_endless_answer_is_not_read(imds, table) -> None:
    table.paths["/latest/user-data"] = b"x" * 70_000
    with pytest.raises(BootwrightError, match="more than"):
        imds.user_data()


def test_redirects_are_refused(imds, server, answer) -> None:
    server.script(answer(302, headers={"Location": server.url}))
    with pytest.raises(Retryable, match="302"):
        imds.instance()


@pytest.mark.parametrize("seconds", [-600, 0, 86400])
def test_imds_tells_how_far_the_clock_is_off(imds, server, answer, seconds) -> None:
    told = format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)
    server.respond = lambda *_: answer(200, b"eu-west-1", {"Date": told})
    imds.region()
    assert imds.clock_ahead == pytest.approx(-seconds, abs=5)


@pytest.mark.parametrize("told", ["", "yesterday", "Mon, 99 Nov 2026 25:00:00 GMT", "Mon, 23 Nov 2026 12:00:00"])
def test_an_imds_without_a_time_of_its_own_says_nothing_of_the_clock(imds, server, answer, told) -> None:
    server.respond = lambda *_: answer(200, b"eu-west-1", {"Date": told})
    imds.region()
    assert imds.clock_ahead is None
