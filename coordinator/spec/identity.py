"""How workers prove who they are, and how long their certificates live."""

from typing import Annotated, Literal

from pydantic import Field

from coordinator.spec.model import SpecModel
from coordinator.spec.urls import Url


class Identity(SpecModel):
    """How a worker proves to the control plane which instance it is, before it gets its certificates."""

    source: Literal["instance-identity", "instance-profile"] = "instance-identity"
    """`instance-identity`: EC2's instance identity role, which nobody can assume. `instance-profile`: the role of the
    instance profile; whoever may assume that role can then pose as any of its machines."""
    sts_endpoint: Url | None = None
    """The STS that issuers ask, if not the region's own: its FIPS or dual-stack name, or a VPC endpoint."""
    port: Annotated[int, Field(ge=1, le=65535)] = 3988
    """The port of the issuers. The load balancer in front of the API must forward it too."""
    callback_port: Annotated[int, Field(ge=1024, le=65535)] | None = None
    """Issuers ask back at a worker's private address whether it is really there that its first certificates are asked
    for: credentials that somebody carried away from an instance then get none. Workers' security groups must admit this
    port from the control plane; 3989 is free. Nobody asks back when it is left out."""
    certificate_hours: Annotated[int, Field(ge=24, le=8760)] = 72
    """Life of a worker's certificates. They are renewed at 60 % of it."""
