"""The timer's poll as a process of its own: agent.json, IMDS, S3 and the records of trust, with next to no code."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from agent import settings as enrolment
from agent.aws.imds import Imds
from agent.quick_poll import changed_since
from units.peer_names import PeerNames, PeerRecord, peer_key

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
def machine(bench, server, answer):
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
    path = bench.root / "etc/bootwright/agent.json"
    settings = bench.publisher.settings(endpoint=server.url)
    enrolment.write(settings, path)
    bench.node(settings).refresh()
    return path


def poll(bench, waits) -> bool:
    return changed_since(Imds(bench.server.url, waits=waits), root=bench.root, waits=waits)


def test_it_agrees_with_the_repository(bench, publisher, machine, waits) -> None:
    assert not poll(bench, waits)
    publisher.refresh()
    assert poll(bench, waits)


def test_the_buckets_region_is_asked_for_when_nobody_said_it(bench, machine, waits) -> None:
    settings = enrolment.read(machine)
    enrolment.write(settings.model_copy(update={"region": None}), machine)
    assert not poll(bench, waits)


def test_anything_odd_takes_the_long_way_round(bench, machine, waits) -> None:
    enrolled = machine.read_bytes()
    machine.unlink()
    assert poll(bench, waits)
    machine.write_bytes(enrolled)
    (bench.state / "verified.json").write_bytes(b"")
    assert poll(bench, waits)


def test_a_control_plane_node_asks_for_its_generation_and_for_each_other_member(bench, machine, waits) -> None:
    below = bench.root.joinpath
    for folder in ("var/lib/etcd/main", "run/bootwright"):
        below(folder).mkdir(parents=True)
    below("var/lib/etcd/main/.generation").write_text("token-g1\n")
    below("etc/hosts").write_text("127.0.0.1 localhost\n")
    names = PeerNames("main", (("b", "b.etcd-main.internal.x"), ("c", "c.etcd-main.internal.x")))
    below("run/bootwright/etcd-peers-main.json").write_bytes(names.encode())
    moved = PeerRecord("i-b", "10.99.1.10", "vol-b", "2026-01-01T00:00:00Z")
    bench.objects[f"demo/{peer_key('main', 'b')}"] = moved.encode()
    bench.objects["demo/etcd/main/cluster.json"] = b'{"token": "token-g1"}'
    bench.gets.clear()
    assert not poll(bench, waits)
    assert len(bench.gets) == 2 + 1 + 2
    assert "10.99.1.10 b.etcd-main.internal.x\n" in below("etc/hosts").read_text()
    bench.objects["demo/etcd/main/cluster.json"] = b'{"token": "token-g2"}'
    bench.gets.clear()
    assert poll(bench, waits)
    assert len(bench.gets) == 2 + 1, "the run that follows looks for the others itself"


def test_it_loads_no_models_no_tuf_no_sdk_and_no_cryptography(bench, machine) -> None:
    script = f"""
import sys
from pathlib import Path
from agent.aws.imds import Imds
from agent.quick_poll import changed_since
assert changed_since(Imds({bench.server.url!r}), root=Path({str(bench.root)!r})) is False
heavy = {{"tuf", "securesystemslib", "botocore", "boto3", "requests", "urllib3", "pydantic", "cryptography", "yaml"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
