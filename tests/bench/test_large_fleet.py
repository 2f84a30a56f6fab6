"""A large fleet is read once, and its rollout is moved by a handful of requests more.

Its memory is the bench's to tell: the kernel counts what a process had before its exec, here pytest, into its peak.
"""

from pathlib import Path

import pytest

from tests.bench.large_fleet import measure_fleet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NODES = 1500


def test_every_status_is_read_once_and_a_step_of_a_rollout_costs_a_handful_more(tmp_path: Path) -> None:
    status, idle, opens = measure_fleet(tmp_path, NODES, runs=1)
    assert status.requests["s3 LIST"] == 2  # pages of a thousand
    assert NODES <= status.requests["s3 GET"] <= NODES + 8
    assert NODES <= idle.requests["s3 GET"] <= NODES + 10
    assert idle.requests["s3 LIST"] == 4  # statuses, markers, halt objects
    assert "s3 PUT" not in idle.requests
    assert opens.requests["s3 PUT"] == 4  # release, targets, snapshot, timestamp
