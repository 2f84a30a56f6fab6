"""AWS as an issuer meets it, each service a function of one request: strict where the real one is, and told to lie
where an attack needs that. `tests/bench/issuer.py` serves the same doubles from another process.
"""

import hashlib
import hmac
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from tests.lab.region.sigv4 import expected_signature, parse_authorization, seconds_off, unsigned_headers

ACCOUNT, REGION, VPC = "111122223333", "eu-west-1", "vpc-0d1d2d3d4d5d6d7d8"
PROFILE_ARN = f"arn:aws:iam::{ACCOUNT}:instance-profile/"
STS_XMLNS = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PrincipalDouble:
    akid: str
    secret: str
    token: str
    arn: str
    user_id: str
    account: str = ACCOUNT


def instance_identity(instance_id: str, *, letter: str = "A", **changes: str) -> PrincipalDouble:
    fields = {
        "akid": "ASIA" + letter * 16,
        "secret": f"secret-of-{instance_id}",
        "token": "IQoJ" + hashlib.sha256(instance_id.encode()).hexdigest() * 4 + "==",
        "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/aws:ec2-instance/{instance_id}",
        "user_id": f"{ACCOUNT}:aws:ec2-instance:{instance_id}",
    }
    return PrincipalDouble(**(fields | changes))


@dataclass
class StsDouble:
    """Verifies SigV4 for real (moto answers 200 to any signature). `lie` changes its answer."""

    principals: dict[str, PrincipalDouble] = field(default_factory=dict)
    lie: Callable[[Reply], Reply] | None = None
    skew: float = 900.0  # as for a presigned URL: the issuer's own window is what counts
    region: str = REGION
    asked: list[tuple[str, str]] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)

    def respond(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        self.asked.append((method, path))
        reply = self._judge(method, path, headers, body)
        return self.lie(reply) if self.lie else reply

    def _judge(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        signature = parse_authorization(headers.get("authorization", ""))
        if signature is None:
            return _sts_error("MissingAuthenticationToken")
        self.signatures.append(signature.value)
        principal = self.principals.get(signature.access_key)
        if principal is None or principal.token != headers.get("x-amz-security-token"):
            return _sts_error("InvalidClientTokenId")
        off = seconds_off(headers, datetime.now(UTC))
        scoped = (signature.region, signature.service, signature.date) == (
            self.region,
            "sts",
            headers["x-amz-date"][:8],
        )
        if off is None or off > self.skew or not scoped or unsigned_headers(signature, headers):
            return _sts_error("SignatureDoesNotMatch")
        where, _, query = path.partition("?")
        digest = hashlib.sha256(body).hexdigest()
        expected = expected_signature(signature, principal.secret, method, where, query, headers, digest)
        if not hmac.compare_digest(expected.encode(), signature.value.encode()):
            return _sts_error("SignatureDoesNotMatch")
        if body != b"Action=GetCallerIdentity&Version=2011-06-15":
            return _sts_error("InvalidAction", 400)
        return Reply(200, caller_identity(principal), {"Content-Type": "text/xml"})


def caller_identity(principal: PrincipalDouble) -> bytes:
    return (
        f'<GetCallerIdentityResponse xmlns="{STS_XMLNS}">\n  <GetCallerIdentityResult>\n'
        f"    <Arn>{principal.arn}</Arn>\n    <UserId>{principal.user_id}</UserId>\n"
        f"    <Account>{principal.account}</Account>\n  </GetCallerIdentityResult>\n  <ResponseMetadata>\n"
        "    <RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId>\n  </ResponseMetadata>\n"
        "</GetCallerIdentityResponse>\n"
    ).encode()


def _sts_error(code: str, status: int = 403) -> Reply:
    body = f'<ErrorResponse xmlns="{STS_XMLNS}"><Error><Type>Sender</Type><Code>{code}</Code></Error></ErrorResponse>'
    return Reply(status, body.encode(), {"Content-Type": "text/xml"})


@dataclass(frozen=True, slots=True)
class InstanceDouble:
    instance_id: str
    private_ip: str = "10.99.1.5"
    private_dns_name: str = "ip-10-99-1-5.eu-west-1.compute.internal"
    owner: str = ACCOUNT
    zone: str = "eu-west-1a"
    state: str = "running"
    vpc: str = VPC
    profile: str = f"{PROFILE_ARN}nodes.demo"
    tags: tuple[tuple[str, str], ...] = (("kubernetes.io/cluster/demo", "owned"), ("bootwright.io/group", "workers"))
    http_tokens: str = "required"
    hop_limit: int = 1
    age: float = 60.0  # seconds since the last start
    attached_age: float = 60.0  # seconds since the network interface came

    def tagged(self, name: str, value: str | None) -> tuple[tuple[str, str], ...]:
        rest = tuple((key, found) for key, found in self.tags if key != name)
        return rest if value is None else (*rest, (name, value))


@dataclass
class Ec2Double:
    """DescribeInstances in EC2's own XML; tests/agent/issuer/test_ec2_instances.py holds it against moto."""

    instances: dict[str, InstanceDouble] = field(default_factory=dict)
    fail: list[Reply] = field(default_factory=list)
    twice: bool = False

    def respond(self, _method: str, _path: str, _headers: dict[str, str], body: bytes) -> Reply:
        if self.fail:
            return self.fail.pop(0)
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        assert form["Action"] == "DescribeInstances"
        if "InstanceId.1" in form:
            found = self.instances.get(form["InstanceId.1"])
            if found is None:
                return ec2_error("InvalidInstanceID.NotFound", 400)
            chosen = [found]
        else:
            assert (form["Filter.1.Name"], form["Filter.2.Name"]) == ("private-dns-name", "vpc-id")
            chosen = [
                each
                for each in self.instances.values()
                if each.private_dns_name == form["Filter.1.Value.1"]
                and each.vpc == form["Filter.2.Value.1"]
                and each.state in (form["Filter.3.Value.1"], form["Filter.3.Value.2"])
            ]
        items = "".join(_instance_xml(each) for each in chosen * (2 if self.twice else 1))
        xmlns = "http://ec2.amazonaws.com/doc/2016-11-15/"
        document = f'<DescribeInstancesResponse xmlns="{xmlns}"><reservationSet>{items}</reservationSet>'
        return Reply(200, f"{document}</DescribeInstancesResponse>".encode(), {"Content-Type": "text/xml"})


def ec2_error(code: str, status: int) -> Reply:
    return Reply(status, f"<Response><Errors><Error><Code>{code}</Code></Error></Errors></Response>".encode())


def _instance_xml(found: InstanceDouble) -> str:
    def ago(seconds: float) -> str:
        return f"{datetime.now(UTC) - timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S.000Z}"

    tags = "".join(f"<item><key>{key}</key><value>{value}</value></item>" for key, value in found.tags)
    return (
        f"<item><ownerId>{found.owner}</ownerId><instancesSet><item><instanceId>{found.instance_id}</instanceId>"
        f"<instanceState><code>16</code><name>{found.state}</name></instanceState>"
        f"<privateDnsName>{found.private_dns_name}</privateDnsName><launchTime>{ago(found.age)}</launchTime>"
        f"<placement><availabilityZone>{found.zone}</availabilityZone></placement><vpcId>{found.vpc}</vpcId>"
        f"<privateIpAddress>{found.private_ip}</privateIpAddress><tagSet>{tags}</tagSet><networkInterfaceSet>"
        f"<item><attachment><deviceIndex>1</deviceIndex><attachTime>{ago(9e6)}</attachTime></attachment></item>"
        f"<item><attachment><deviceIndex>0</deviceIndex><attachTime>{ago(found.attached_age)}</attachTime>"
        f"</attachment></item></networkInterfaceSet><iamInstanceProfile><arn>{found.profile}</arn>"
        f"</iamInstanceProfile><metadataOptions><httpTokens>{found.http_tokens}</httpTokens>"
        f"<httpPutResponseHopLimit>{found.hop_limit}</httpPutResponseHopLimit></metadataOptions>"
        "</item></instancesSet></item>"
    )


@dataclass
class S3Double:
    """Objects with conditional writes, atomic as S3's are. `before_put` lets a test put something in between."""

    objects: dict[str, bytes] = field(default_factory=dict)
    fail: list[Reply] = field(default_factory=list)
    before_put: list[Callable[[], None]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        if self.fail:
            return self.fail.pop(0)
        if method == "PUT" and self.before_put:
            self.before_put.pop(0)()
        with self.lock:
            found = self.objects.get(path)
            if method == "GET":
                return Reply(404, b"<Error><Code>NoSuchKey</Code></Error>") if found is None else _object(found)
            if headers.get("if-none-match") == "*" and found is not None:
                return Reply(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            if "if-match" in headers and (found is None or headers["if-match"] != _etag(found)):
                return Reply(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            self.objects[path] = body
            return Reply(200, b"", {"ETag": _etag(body)})


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _object(body: bytes) -> Reply:
    return Reply(200, body, {"ETag": _etag(body)})


@dataclass
class AwsDouble:
    """One endpoint for all three, told apart as the lab's region does it: by the credential scope."""

    sts: StsDouble = field(default_factory=StsDouble)
    ec2: Ec2Double = field(default_factory=Ec2Double)
    s3: S3Double = field(default_factory=S3Double)

    def respond(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Reply:
        signature = parse_authorization(headers.get("authorization", ""))
        service = signature.service if signature else "sts"
        answers = {"ec2": self.ec2.respond, "s3": self.s3.respond}
        return answers.get(service, self.sts.respond)(method, path, headers, body)
