"""What `coordinator publish --yes` costs for many groups, first all of them new, then with nothing to change."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.bench.cloud import BUCKET
from tests.bench.figures import Row, Target, medians
from tests.bench.fleet import CLUSTER, Published
from tests.bench.measure import Sample, run_once

TARGETS = {50: (Target("wall", 2.0),)}
_TUF = f"{CLUSTER}/tuf/"


def measure_publish(published: Published, groups: int, runs: int) -> tuple[Row, Row]:
    """All groups new, and then none changed. Every run of the first starts from the cluster as it was founded."""
    operator = published.operator
    operator.write_spec(published.secrets_key, groups)
    new: list[Sample] = []
    requests: dict[str, int] = {}
    with _founded_again(published) as reset:
        for _ in range(runs + 1):
            next(reset)
            with operator.cloud.counted() as requests:
                new.append(_publish(published))
        with operator.cloud.counted() as requests_unchanged:
            unchanged = [_publish(published)]
        unchanged += [_publish(published) for _ in range(runs)]
        next(reset)
    return (
        _row(f"coordinator publish, {groups} groups, all new", new[1:], requests, TARGETS.get(groups, ())),
        _row(f"coordinator publish, {groups} groups, no change", unchanged[1:], requests_unchanged, ()),
    )


def _row(name: str, samples: Sequence[Sample], requests: dict[str, int], targets: tuple[Target, ...]) -> Row:
    cpu, wall = medians((sample.cpu, sample.wall) for sample in samples)
    return Row(name=name, cpu=cpu, wall=wall, runs=len(samples), requests=requests, targets=targets)


def _publish(published: Published) -> Sample:
    return run_once(published.operator.command("publish", "--yes"), published.operator.environment)


@contextmanager
def _founded_again(published: Published) -> Iterator[Iterator[None]]:
    """Each step puts signed repository and key directory back to where they are now."""
    s3 = published.operator.cloud.client("s3")
    keys, kept = published.operator.directory / "keys", published.operator.directory / "keys-kept"
    shutil.copytree(keys, kept, dirs_exist_ok=True)
    objects = {key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in _keys(s3)}

    def steps() -> Iterator[None]:
        while True:
            surplus = [key for key in _keys(s3) if key not in objects]
            for start in range(0, len(surplus), 1000):
                batch = [{"Key": key} for key in surplus[start : start + 1000]]
                s3.delete_objects(Bucket=BUCKET, Delete={"Objects": batch})
            for key, body in objects.items():
                s3.put_object(Bucket=BUCKET, Key=key, Body=body)
            shutil.rmtree(keys)
            shutil.copytree(kept, keys)
            keys.chmod(0o700)
            yield

    yield steps()
    shutil.rmtree(kept)


def _keys(s3: Any) -> Sequence[str]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=_TUF)
    return [item["Key"] for page in pages for item in page.get("Contents", ())]
