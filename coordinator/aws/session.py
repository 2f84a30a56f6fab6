"""Clients for AWS services, and the one translation of SDK errors into units.errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from units.errors import BootwrightError, Fatal, Retryable

CONNECT_SECONDS = 5
READ_SECONDS = 30
ATTEMPTS = 5
CONNECTIONS = 32

_DENIED = frozenset(
    ["AccessDenied", "AccessDeniedException", "403", "Forbidden", "KMSAccessDeniedException", "UnauthorizedOperation"]
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
_STRANGERS = frozenset(
    [
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidToken",
    ]
)
_ELSEWHERE = frozenset(
    ["301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"]
)
_BUSY = frozenset(
    [
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "InternalError",
        "ServiceUnavailable",
        "RequestTimeout",
        "500",
        "503",
    ]
)
_NAMES = {"s3": "Amazon S3", "kms": "AWS KMS", "ec2": "Amazon EC2"}


@dataclass(frozen=True, slots=True)
class Aws:
    """Where AWS is. None means: as the environment and ~/.aws/config say."""

    region: str | None = None
    endpoint_url: str | None = None  # one address for every service, as AWS_ENDPOINT_URL; a local test region

    def client(self, service: str, *, region: str | None = None) -> Any:
        """A boto3 client with bounded waits; safe to share among threads."""
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=CONNECTIONS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            # A bucket name with dots has no valid TLS host name; a local endpoint has no wildcard DNS.
            s3={"addressing_style": "path"} if self.endpoint_url else {},
            user_agent_extra="bootwright",
        )
        try:
            session = boto3.session.Session()
            return session.client(
                service,
                region_name=region or self.region or session.region_name or "us-east-1",
                endpoint_url=self.endpoint_url,
                config=config,
            )
        except (BotoCoreError, ValueError) as error:
            raise Fatal("aws-config", f"cannot make a client for {service}: {error}") from error


@contextmanager
def translated(action: str, resource: str) -> Iterator[None]:
    """Turn what botocore raises inside into units.errors. `action` is the IAM action that was tried on `resource`."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _from_response(error, action, resource) from error
    except ResponseParserError as error:
        raise Retryable(
            "aws-unreachable",
            f"{action} on {resource}: what answers is not AWS: {str(error)[:200]}",
            remedy="check the network, a proxy on the way, and the endpoint URL, then try again",
        ) from error
    except BotoCoreError as error:
        raise _from_library(error, action, resource) from error


def error_code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _from_response(error: Any, action: str, resource: str) -> BootwrightError:
    code = error_code(error)
    message = error.response.get("Error", {}).get("Message", "")
    service = _NAMES.get(action.partition(":")[0], "AWS")
    if code == "NoSuchBucket":
        return Fatal(
            "store-bucket-missing",
            f"{resource}: there is no such bucket",
            remedy="run `coordinator init --create-bucket`, or correct `store` in the spec",
        )
    if code in _DENIED:
        return Fatal(
            "aws-access-denied",
            f"{service} denied {action} on {resource}: {message}",
            remedy=f"allow {action} on it for these credentials; see who you are with `aws sts get-caller-identity`",
        )
    if code in _EXPIRED or code in _STRANGERS:
        return Fatal(
            "aws-credentials-refused",
            f"{service} refused the credentials for {action} on {resource}: {code}: {message}",
            remedy="log in again, or set AWS_PROFILE",
        )
    if code in _ELSEWHERE:
        return Fatal(
            "aws-wrong-region",
            f"{resource} is in another region: {message}",
            remedy="correct `region` in the spec, or --region",
        )
    if code in _BUSY:
        return Retryable("aws-busy", f"{service} answered {code} to {action} on {resource}", remedy="try again later")
    return Fatal("aws-error", f"{action} on {resource}: {code}: {message}")


def _from_library(error: Exception, action: str, resource: str) -> BootwrightError:
    from botocore.exceptions import ConnectionError as NoConnection
    from botocore.exceptions import HTTPClientError, IncompleteReadError, NoCredentialsError, ProfileNotFound

    if isinstance(error, NoCredentialsError | ProfileNotFound):
        return Fatal(
            "aws-credentials-missing",
            f"no AWS credentials for {action} on {resource}: {error}",
            remedy="set AWS_PROFILE, or run where a role is attached",
        )
    if isinstance(error, HTTPClientError | NoConnection | IncompleteReadError):
        return Retryable(
            "aws-unreachable",
            f"{action} on {resource}: {error}",
            remedy="check the network, the region and the endpoint URL, then try again",
        )
    return Fatal("aws-error", f"{action} on {resource}: {error}")
