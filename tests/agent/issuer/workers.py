"""A worker's side of the protocol: the agent's own client, against a running issuer."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from agent.issuer_client import IssuerClient
from tests.agent.issuer.aws_doubles import REGION, PrincipalDouble
from tests.agent.issuer.imds_double import imds
from tests.agent.issuer.world import World
from tests.units.sample import manifest
from units.manifest import Api, Authority, Cluster, Identity, Manifest, Trust


def manifest_of(world: World, port: int, *, endpoint: str = "127.0.0.1", bundle: str = "") -> Manifest:
    sample = manifest("node")
    config = world.config
    trust = sample.trust.model_dump() | {
        "authorities": (Authority(name="kubernetes", bundle=bundle or world.bundle),),
    }
    return manifest(
        "node",
        cluster=Cluster(name=config.cluster, uid=config.uid, region=REGION),
        api=Api(endpoint=endpoint),
        trust=Trust.model_validate(trust),
        identity=Identity(
            sts_endpoint=config.sts_endpoint, port=port, source=config.source, callback_port=config.callback_port
        ),
    )


@contextmanager
def worker(
    world: World,
    port: int,
    *,
    profile: PrincipalDouble | None = None,
    bundle: str = "",
    off: float = 0.0,
    endpoint: str = "127.0.0.1",
) -> Iterator[IssuerClient]:
    """`off`: seconds that its clock is ahead of the issuer's."""
    identity = next(iter(world.aws.sts.principals.values()))
    with imds(identity, profile) as source:
        yield IssuerClient(
            manifest_of(world, port, endpoint=endpoint, bundle=bundle),
            source,
            now=lambda: datetime.now(UTC) + timedelta(seconds=off),
        )
