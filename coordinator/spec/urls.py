"""Addresses of AWS services."""

from typing import Annotated

from coordinator.spec.words import Text

Url = Annotated[
    str,
    Text(
        r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/?",
        "http(s)://host[:port]",
        "https://vpce-0a1b.ec2.eu-west-1.vpce.amazonaws.com",
    ),
]
