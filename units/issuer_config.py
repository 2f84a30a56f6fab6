"""What an issuer knows of its cluster: written by the plan from the signed manifest, read by `agent issuer`.

Every check that it makes compares with a value from here, never with one from the request (trust.md 2.3).
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from units.errors import Invalid
from units.facts import NodeFacts
from units.manifest import Manifest, Part, Word, problems_of
from units.names import url_host

MAX_BYTES = 256 * 1024

Account = Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")]


class GroupBinding(Part):
    """A machine belongs to `name` only if it carries this instance profile: a tag alone is anybody's to write (N14)."""

    name: Word
    instance_profile_arn: Word


class IssuerConfig(Part):
    cluster: Word
    uid: Word
    account: Account
    partition: Word
    region: Word
    vpc: Word
    source: Literal["instance-identity", "instance-profile"]
    sts_endpoint: Word
    node_name: Literal["private-dns", "instance-id"]
    leaf_seconds: int = Field(gt=0)
    callback_port: int = Field(default=0, ge=0, le=65535)  # where workers confirm a first request; 0: nobody is asked
    groups: tuple[GroupBinding, ...]
    api_server: Word  # https://ADDRESS:PORT of this machine's own
    issuer_name: Word  # the instance this issuer runs on, for its credential: a DNS name may be too long for a CN

    @property
    def audience(self) -> str:
        """Bound into every proof, so that one made for another cluster is worth nothing here (N7)."""
        return audience(self.cluster, self.uid)


def audience(cluster: str, uid: str) -> str:
    return f"{cluster}/{uid}"


def issuer_config(manifest: Manifest, facts: NodeFacts) -> IssuerConfig:
    identity = manifest.identity
    arn = f"arn:{facts.partition}:iam::{facts.account_id}:instance-profile/"
    return IssuerConfig(
        cluster=manifest.cluster.name,
        uid=manifest.cluster.uid,
        account=facts.account_id,
        partition=facts.partition,
        region=manifest.cluster.region,
        vpc=manifest.network.vpc,
        source=identity.source,
        sts_endpoint=identity.sts_endpoint,
        node_name=manifest.node_name,
        leaf_seconds=identity.leaf_hours * 3600,
        callback_port=identity.callback_port,
        groups=tuple(
            GroupBinding(name=group.name, instance_profile_arn=arn + group.instance_profile)
            for group in identity.node_groups
        ),
        api_server=f"https://{url_host(facts.private_ip)}:{manifest.api.port}",
        issuer_name=facts.instance_id,
    )


def decode_issuer_config(data: bytes) -> IssuerConfig:
    try:
        return IssuerConfig.model_validate_json(data[: MAX_BYTES + 1])
    except ValidationError as error:
        raise Invalid(
            "issuer-config-invalid",
            "issuer.json does not fit this agent's schema",
            problems=problems_of(error),
            remedy="agent sync writes it anew from the signed manifest",
        ) from error
