"""DescribeInstances: what EC2 says of a machine, the only source of its names (trust.md N13, N18).

One signed POST and ElementTree, not botocore: its EC2 client adds 200 ms of CPU and 32 MiB to a process that starts for
one worker and ends a minute later (measured, docs/adr/0008).
"""

import re
import xml.etree.ElementTree as ET  # bounded, from EC2 over TLS; an answer with a DOCTYPE is refused unread
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode

from agent.aws.credentials import CredentialSource
from agent.aws.http import Broken, Http, Timeouts, TooLarge
from agent.aws.sigv4 import sign
from agent.issuer.codes import later
from units.errors import Retryable

MAX_ANSWER = 1024 * 1024
_TIMEOUTS = Timeouts(connect=2.0, read=4.0, total=5.0)
_CODE = re.compile(rb"<Code>([A-Za-z0-9.]{1,64})</Code>")
_NAMESPACE = re.compile(r"\{[^}]*\}")
_BUSY = re.compile(r"Throttling.*|RequestLimitExceeded|InternalError|Unavailable|ServiceUnavailable|InternalFailure")
_EXPIRED = ("RequestExpired", "ExpiredToken", "AuthFailure", "InvalidClientTokenId")


@dataclass(frozen=True, slots=True)
class Instance:
    """Empty texts for what EC2 does not say. `launched` is reset by a stop and start, `attached` is not."""

    instance_id: str
    owner: str
    zone: str
    state: str
    vpc: str
    private_dns_name: str
    private_ip: str
    profile_arn: str
    http_tokens: str
    hop_limit: int
    launched: datetime
    attached: datetime  # the primary network interface
    tags: Mapping[str, str]


class Ec2Instances:
    """For one thread. Raises Retryable `ec2-unreachable`, `ec2-throttled` or `ec2-refused`."""

    def __init__(
        self, region: str, credentials: CredentialSource, *, endpoint: str | None, renew: Callable[[], None]
    ) -> None:
        suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
        self._url = f"{(endpoint or f'https://ec2.{region}.{suffix}').rstrip('/')}/"
        self._region = region
        self._credentials = credentials
        self._renew = renew
        self._http = Http()

    def by_id(self, instance_id: str) -> tuple[Instance, ...]:
        """Empty while EC2 does not know it, which may last some seconds after a launch."""
        return self._describe({"InstanceId.1": instance_id})

    def by_name(self, private_dns_name: str, vpc: str) -> tuple[Instance, ...]:
        """Those alive: the name goes with the address, and that to the next machine."""
        return self._describe(
            {
                "Filter.1.Name": "private-dns-name",
                "Filter.1.Value.1": private_dns_name,
                "Filter.2.Name": "vpc-id",
                "Filter.2.Value.1": vpc,
                "Filter.3.Name": "instance-state-name",
                "Filter.3.Value.1": "pending",
                "Filter.3.Value.2": "running",
            }
        )

    def _describe(self, parameters: dict[str, str]) -> tuple[Instance, ...]:
        body = urlencode({"Action": "DescribeInstances", "Version": "2016-11-15"} | parameters).encode()
        headers = sign(
            "POST",
            self._url,
            headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
            body=body,
            credentials=self._credentials(),
            scope=(self._region, "ec2"),
            now=datetime.now(UTC),
        )
        try:
            with self._http.exchange("POST", self._url, headers=headers, timeouts=_TIMEOUTS, body=body) as response:
                status, answer = response.status, response.body(limit=MAX_ANSWER)
        except (Broken, TooLarge) as error:
            raise later("ec2-unreachable", f"EC2 at {self._url} does not answer: {error}", after=10) from error
        if status == 200:
            return _read(answer)
        match = _CODE.search(answer)
        code = match[1].decode() if match else ""
        if code == "InvalidInstanceID.NotFound":
            return ()
        if code in _EXPIRED:
            self._renew()
        raise _refusal(status, code)


def _refusal(status: int, code: str) -> Retryable:
    if _BUSY.fullmatch(code) or status in (429, 503):
        return later("ec2-throttled", f"EC2 is busy ({status} {code})", after=10)
    if status >= 500:
        return later("ec2-unreachable", f"EC2 answers {status} {code}", after=10)
    return later("ec2-refused", f"EC2 refuses DescribeInstances ({status} {code})", after=30)


def _read(answer: bytes) -> tuple[Instance, ...]:
    if b"<!" in answer:
        raise later("ec2-unreachable", "what answers for EC2 is not EC2: it sends a DOCTYPE", after=10)
    try:
        root = ET.fromstring(answer.decode())  # noqa: S314  see the import
        for element in root.iter():
            element.tag = _NAMESPACE.sub("", element.tag)
        return tuple(_instances(root))
    except (ET.ParseError, ValueError) as error:
        raise later("ec2-unreachable", f"what answers for EC2 is not EC2: {error}", after=10) from error


def _instances(root: ET.Element) -> Iterator[Instance]:
    for reservation in root.iterfind("reservationSet/item"):
        for item in reservation.iterfind("instancesSet/item"):
            yield _instance(item, owner=reservation.findtext("ownerId") or "")


def _instance(item: ET.Element, *, owner: str) -> Instance:
    def text(path: str) -> str:
        return (item.findtext(path) or "").strip()

    launched = _time(text("launchTime"))
    primary = [
        _time(interface.findtext("attachment/attachTime") or "")
        for interface in item.iterfind("networkInterfaceSet/item")
        if (interface.findtext("attachment/deviceIndex") or "0") == "0"
    ]
    return Instance(
        instance_id=text("instanceId"),
        owner=owner,
        zone=text("placement/availabilityZone"),
        state=text("instanceState/name"),
        vpc=text("vpcId"),
        private_dns_name=text("privateDnsName"),
        private_ip=text("privateIpAddress"),
        profile_arn=text("iamInstanceProfile/arn"),
        http_tokens=text("metadataOptions/httpTokens"),
        hop_limit=int(text("metadataOptions/httpPutResponseHopLimit") or 0),
        launched=launched,
        attached=min(primary, default=launched),
        tags={tag.findtext("key") or "": tag.findtext("value") or "" for tag in item.iterfind("tagSet/item")},
    )


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
