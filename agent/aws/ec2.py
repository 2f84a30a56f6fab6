"""EC2's refusals, translated; and its client, made when the first call needs it.

botocore needs a quarter of a second to load EC2's model: a boot whose volume is attached already never pays for it.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from agent.aws.credentials import CredentialSource
from units.errors import BootwrightError, Fatal, Refused, Retryable

# EC2's own names for it, and those of the gateways before it (botocore's list of throttling codes is a part).
_BUSY = re.compile(
    r"Throttl|TooManyRequests|SlowDown|PriorRequestNotComplete|TransactionInProgress"
    r"|^(Request|Bandwidth)?LimitExceeded(Exception)?$|ThroughputExceeded"
    r"|^(InternalError|InternalFailure|Unavailable|ServiceUnavailable|RequestTimeout)(Exception)?$"
)
_BUSY_STATUS = (429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Ec2Access:
    """How to reach EC2. A client keeps its credentials: a role's live for hours, an agent's run takes minutes."""

    region: str
    credentials: CredentialSource
    endpoint: str | None = None

    def client(self) -> Any:
        import botocore.config
        import botocore.session

        found = self.credentials()
        session = botocore.session.Session()
        session.set_credentials(found.access_key_id, found.secret_access_key, found.token)
        return session.create_client(
            "ec2",
            region_name=self.region,
            endpoint_url=self.endpoint,
            config=botocore.config.Config(
                connect_timeout=3,
                read_timeout=20,
                retries={"total_max_attempts": 1},  # agent.waits tries again, and says so meanwhile
                proxies={},
                ignore_configured_endpoint_urls=True,
            ),
        )


@contextmanager
def explained(action: str, what: str, source: str) -> Iterator[None]:
    """Turns botocore's errors into ours. `source` names the credentials for a refusal."""
    import botocore.exceptions
    import botocore.parsers

    try:
        yield
    except botocore.exceptions.ClientError as error:
        found = error.response.get("Error", {})
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        code, said = str(found.get("Code")), str(found.get("Message"))[:400]
        raise explain(code, said, action, what, source, status=status) from error
    except botocore.parsers.ResponseParserError as error:  # no XML: a proxy, a load balancer, a captive portal
        raise _unreachable(f"what answers for EC2 to {action} of {what} is not EC2: {str(error)[:400]}") from error
    except botocore.exceptions.BotoCoreError as error:
        raise _unreachable(f"EC2 does not answer to {action} of {what}: {error}") from error


def explain(code: str, said: str, action: str, what: str, source: str, *, status: int = 400) -> BootwrightError:
    """The table of etcd-pki.md 1.2: what each refusal means for whoever wants a volume. The code decides before the
    HTTP status does: an answer without EC2's own words has but its status, which botocore then gives as the code.
    """
    if code == "InvalidParameterValue" and "in use" in said:
        return Retryable(
            "volume-device-name-taken", f"{what}: {said} ({code})", remedy="the next name is tried", after=1
        )
    make = _BY_CODE.get(code, _busy if _BUSY.search(code) or status in _BUSY_STATUS else _unexpected)
    return make(f"{action} of {what}: {said} ({code})", action, source)


def _unreachable(message: str) -> Retryable:
    return Retryable(
        "ec2-unreachable",
        message,
        remedy="check the route to EC2: an interface endpoint or NAT for this subnet, its security group, and DNS",
    )


def _lost_race(message: str, _action: str, _source: str) -> Retryable:
    return Retryable("volume-lost-race", f"another instance was faster: {message}", remedy="the next volume is tried")


def _incorrect_state(message: str, _action: str, _source: str) -> Retryable:
    return Retryable(
        "volume-incorrect-state",
        f"the volume or this instance is not in a state for it: {message}",
        remedy="wait; if it stays so, look at both in EC2",
        after=2,
    )


def _wrong_zone(message: str, _action: str, _source: str) -> Refused:
    return Refused(
        "volume-wrong-zone",
        f"the volume lies in another zone: {message}",
        remedy="EBS volumes cannot leave their zone: run this group in the volume's zone, or correct the tags",
    )


def _limit(message: str, _action: str, _source: str) -> Fatal:
    return Fatal(
        "volume-attachment-limit",
        f"this instance cannot hold one more volume: {message}",
        remedy="use a machine type with more attachments, or detach what is not needed",
    )


def _not_visible(message: str, _action: str, _source: str) -> Retryable:
    return Retryable(
        "ec2-not-visible",
        f"EC2 does not know it (yet): {message}",
        remedy="right after creation this passes within a minute; otherwise it was deleted",
        after=5,
    )


def _busy(message: str, _action: str, _source: str) -> Retryable:
    return Retryable("ec2-busy", f"EC2 is busy: {message}", remedy="this passes by itself", after=10)


def _denied(message: str, action: str, source: str) -> Retryable:
    return Retryable(
        "ec2-access-denied",
        f"EC2 denies it to {source}: {message}",
        remedy=f"allow {action} in the instance profile's policy, for volumes and instances of this cluster",
        after=60,
    )


def _credentials(message: str, _action: str, source: str) -> Retryable:
    return Retryable(
        "ec2-credentials-refused",
        f"EC2 does not accept the credentials of {source}: {message}",
        remedy="check the node's clock (`chronyc tracking`), and that the instance profile's role still exists",
        after=15,
    )


def _unexpected(message: str, _action: str, _source: str) -> Fatal:
    return Fatal("ec2-unexpected", f"EC2 refuses: {message}", remedy="look the code up in EC2's API error codes")


_BY_CODE: dict[str, Callable[[str, str, str], BootwrightError]] = {
    "VolumeInUse": _lost_race,
    "IncorrectState": _incorrect_state,
    "IncorrectInstanceState": _incorrect_state,
    "InvalidVolume.ZoneMismatch": _wrong_zone,
    "AttachmentLimitExceeded": _limit,
    "InvalidVolume.NotFound": _not_visible,
    "InvalidInstanceID.NotFound": _not_visible,
    "InvalidAttachment.NotFound": _incorrect_state,  # detached already
    "UnauthorizedOperation": _denied,
    "AccessDenied": _denied,
    "AuthFailure": _credentials,
    "InvalidClientTokenId": _credentials,
    "RequestExpired": _credentials,
    "ExpiredToken": _credentials,
}
