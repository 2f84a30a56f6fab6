"""Fixtures of the lab's tests: a region on loopback with machine doubles, and bare moto beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.ha import HaCluster, Writer
from tests.lab.region.fixtures import bare, lab, region, strict

__all__ = ["bare", "lab", "region", "strict"]


@pytest.fixture
def writer(cluster: HaCluster, tmp_path: Path) -> Iterator[Writer]:
    """Writes all the time to the `cluster` of the test's own file; it has begun."""
    with Writer(cluster, tmp_path / "writer") as writer:
        writer.wait_for_more()
        yield writer
