"""boto3 clients for the lab, its guests and bare moto, made in one place."""

from collections.abc import Callable
from typing import Any

REGION = "eu-west-1"


def client(endpoint_url: str, service: str, access_key: str, secret: str, token: str = "", *, attempts: int = 3) -> Any:
    """attempts: 1 to see every answer, retryable or not."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret,
        aws_session_token=token or None,
        config=Config(retries={"total_max_attempts": attempts}),
    )


def clients(endpoint_url: str, access_key: str, secret: str) -> Callable[[str], Any]:
    """One client a service, by name."""
    return lambda service: client(endpoint_url, service, access_key, secret)
