"""What `coordinator status` and `advance` cost over a large fleet: every status object is read and decoded."""

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from coordinator.aws.s3 import S3Store
from coordinator.aws.session import Aws
from coordinator.directory_store import DirectoryStore
from coordinator.layout import outcome_prefix
from coordinator.rollouts import Terms
from tests.bench.figures import Row, Target
from tests.bench.measure import Sample, run_once
from tests.bench.s3_double import FleetOfStatusesDouble, S3Double, running_s3
from tests.coordinator.fleet import FleetDouble, manifest_of
from tests.coordinator.workshop import CLUSTER, PASSPHRASE, ClockDouble, Workshop
from units.manifest import manifest_digest
from units.rollout import rank
from units.status import CertificateState, NodeStatus, ResourceState

GROUP = "workers"
BUCKET = "fleet"
_KEY_ID, _SECRET = "AKIAIOSFODNN7EXAMPLE", "not-a-secret"
TARGETS = {10_000: (Target("peak_mib", 300.0),)}


def measure_fleet(folder: Path, nodes: int, runs: int) -> tuple[Row, ...]:
    """`status`, `advance` with nothing to do, and `advance` that opens a wave."""
    workshop = Workshop(folder / "keys", DirectoryStore(folder / "store" / CLUSTER), ClockDouble())
    workshop.found()
    plain = FleetDouble(workshop)
    plain.publish()
    with running_s3(folder / "store", CLUSTER, FleetOfStatusesDouble(nodes, _status())) as s3:
        _begin_rollout(folder, workshop, s3)
        environment = _environment(folder, s3)
        status, advance = ((sys.executable, "-m", "coordinator", verb) for verb in ("status", "advance"))
        told = f"coordinator advance, {nodes} nodes"
        rows = [
            _measured(f"coordinator status, {nodes} nodes", status, environment, s3, runs),
            _measured(f"{told}, nothing moves", advance, environment, s3, runs),
        ]
        _canary_is_ok(plain, nodes)
        opens = _measured(f"{told}, opens a wave", advance, environment, s3, 1)
        assert plain.standing(GROUP)[3] == 1, "the measured advance opened no wave"
    return (*rows, opens)


def _status() -> NodeStatus:
    """As large as a worker's: 7 kB."""
    now = datetime.now(UTC)
    begin, end = f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}", f"{now + timedelta(hours=71):%Y-%m-%dT%H:%M:%SZ}"
    return NodeStatus(
        instance_id="i-0",
        cluster=CLUSTER,
        group=GROUP,
        role="node",
        stage="ready",
        serial=2,
        manifest=manifest_digest(manifest_of(GROUP)),
        trust="Fresh",
        resources=tuple(ResourceState(key=f"file:/etc/kubernetes/{n:03}", status="unchanged") for n in range(50)),
        certificates=tuple(
            CertificateState(
                path=f"/etc/kubernetes/pki/{n}.pem",
                subject="system:node:ip-10-98-0-1",
                issuer="kubernetes",
                not_before=begin,
                not_after=end,
                days_left=2,
                life_left=0.98,
                renews=end,
            )
            for n in range(4)
        ),
        converged=begin,
        updated=begin,
    )


def _begin_rollout(folder: Path, workshop: Workshop, s3: S3Double) -> None:
    """By a publish that sees the whole fleet through the stand-in."""
    import boto3

    keys = {"aws_access_key_id": _KEY_ID, "aws_secret_access_key": _SECRET}
    client = boto3.client("s3", region_name="eu-west-1", endpoint_url=s3.url, **keys)
    store = S3Store(Aws("eu-west-1", s3.url), BUCKET, CLUSTER, client=client)
    publisher = FleetDouble(Workshop(folder / "keys", store, workshop.clock), terms=Terms(bake_seconds=0))
    publisher.publish(workers="2")


def _canary_is_ok(fleet: FleetDouble, nodes: int) -> None:
    rollout = fleet.release(GROUP).rollout
    assert rollout is not None
    ids = [f"i-{number:017x}" for number in range(nodes)]
    for one in ids:
        if rank(rollout.serial, one) <= rollout.waves[0].cutoff:
            fleet.workshop.store.put(f"{outcome_prefix(GROUP, rollout.serial)}ok/{one}", b"")


def _environment(folder: Path, s3: S3Double) -> Mapping[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "AWS_ACCESS_KEY_ID": _KEY_ID,
        "AWS_SECRET_ACCESS_KEY": _SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": s3.url,
        "BOOTWRIGHT_STORE": f"s3://{BUCKET}",
        "BOOTWRIGHT_CLUSTER": CLUSTER,
        "BOOTWRIGHT_KEYS": str(folder / "keys"),
        "BOOTWRIGHT_PASSPHRASE": PASSPHRASE,
    }


def _measured(name: str, command: tuple[str, ...], environment: Mapping[str, str], s3: S3Double, runs: int) -> Row:
    samples: list[Sample] = []
    for _ in range(runs):
        s3.requests.clear()
        samples.append(run_once(command, environment))
    nodes = int(name.split(", ")[1].split(maxsplit=1)[0])
    return Row(
        name=name,
        cpu=median(sample.cpu for sample in samples),
        wall=median(sample.wall for sample in samples),
        runs=len(samples),
        peak_mib=median(sample.peak_mib for sample in samples),
        requests=dict(s3.requests),
        targets=TARGETS.get(nodes, ()),
    )
