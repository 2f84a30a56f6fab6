"""The timer's poll as a process of its own: agent.json, IMDS, S3 and the records of trust, with next to no code."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from agent import settings as enrolment
from agent.aws.imds import Imds
from agent.quick_poll import changed_since

ROLE = "/latest/meta-data/iam/security-credentials/"
METADATA = {
    ROLE: b"demo-nodes",
    ROLE + "demo-nodes": json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": "ASIA",
            "SecretAccessKey": "s",
            "Token": "t",
            "Expiration": "2099-01-01T00:00:00Z",
        }
    ).encode(),
    "/latest/meta-data/placement/region": b"eu-west-1",
}


@pytest.fixture
def machine(bench, server, answer, tmp_path):
    """An enrolled machine that has verified once, with IMDS and S3 on one server."""
    bench.clock.time = datetime.now(UTC)
    bench.publisher.now = bench.clock.time
    bench.publisher.refresh()
    store = server.respond

    def respond(method: str, path: str, headers: dict[str, str], body: bytes):
        if path == "/latest/api/token":
            return answer(200, b"token")
        if path in METADATA:
            return answer(200, METADATA[path])
        return store(method, path, headers, body)

    server.respond = respond
    path = tmp_path / "agent.json"
    settings = bench.publisher.settings(endpoint=server.url)
    enrolment.write(settings, path)
    bench.node(settings).refresh()
    return path


def poll(bench, path, waits) -> bool:
    imds = Imds(bench.server.url, waits=waits)
    return changed_since(imds, enrolment=path, state_dir=bench.state, baked_root=bench.baked, waits=waits)


def test_it_agrees_with_the_repository(bench, publisher, machine, waits) -> None:
    assert not poll(bench, machine, waits)
    publisher.refresh()
    assert poll(bench, machine, waits)


def test_the_buckets_region_is_asked_for_when_nobody_said_it(bench, machine, waits) -> None:
    settings = enrolment.read(machine)
    enrolment.write(settings.model_copy(update={"region": None}), machine)
    assert not poll(bench, machine, waits)


def test_anything_odd_takes_the_long_way_round(bench, machine, waits, tmp_path) -> None:
    assert poll(bench, tmp_path / "absent.json", waits)
    (bench.state / "verified.json").write_bytes(b"")
    assert poll(bench, machine, waits)


def test_it_loads_no_models_no_tuf_no_sdk_and_no_cryptography(bench, machine) -> None:
    script = f"""
import sys
from pathlib import Path
from agent.aws.imds import Imds
from agent.quick_poll import changed_since
assert changed_since(
    Imds({bench.server.url!r}), enrolment=Path({str(machine)!r}), state_dir=Path({str(bench.state)!r}),
    baked_root=Path("/nonexistent"),
) is False
heavy = {{"tuf", "securesystemslib", "botocore", "boto3", "requests", "urllib3", "pydantic", "cryptography", "yaml"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
