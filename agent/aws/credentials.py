"""AWS credentials of this node, as IMDS hands them out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Credentials:
    """Temporary credentials. `source` says where they come from, for messages: a role's name or ARN."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    token: str | None = field(repr=False, default=None)
    expires: datetime | None = None
    source: str = "unknown credentials"


CredentialSource = Callable[[], Credentials]
"""Credentials that are valid now; may ask IMDS, and raises what IMDS raises."""
