"""A real TUF repository, made with python-tuf, and a node that reads it over HTTP with the agent's own S3 client."""

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from agent.aws.credentials import Credentials
from agent.aws.s3 import S3, Bucket
from agent.repository import Repository, VerifiedRelease
from agent.settings import Settings
from units.errors import BootwrightError

BUCKET = "demo-bucket"
METADATA = "demo/tuf/metadata/"
TARGETS = "demo/tuf/targets/"
COMPACT = JSONSerializer(compact=True)
ONLINE = ("targets", "snapshot", "timestamp")


class Publisher:
    """What a coordinator does, and what a thief of its keys could do. `objects` is the bucket."""

    def __init__(self, objects: dict[str, bytes], now: datetime) -> None:
        self.objects = objects
        self.now = now
        self.root_signers = [CryptoSigner.generate_ed25519() for _ in range(3)]
        self.signers = {role: CryptoSigner.generate_ed25519() for role in ONLINE}
        self.lifetimes = {"root": 365, "targets": 365, "snapshot": 365, "timestamp": 14}
        self.root = Root(consistent_snapshot=True)
        for signer in self.root_signers:
            self.root.add_key(signer.public_key, "root")
        self.root.roles["root"].threshold = 2
        for role, signer in self.signers.items():
            self.root.add_key(signer.public_key, role)
        self.targets, self.snapshot, self.timestamp = Targets(), Snapshot(), Timestamp()
        for signed in (self.targets, self.snapshot, self.timestamp):
            signed.version = 0  # the first publish makes it 1
        self.write_root()
        self.publish({"control-plane": b'{"serial": 1}\n', "node": b'{"serial": 1, "other": true}\n'})

    def expires(self, role: str) -> datetime:
        return self.now.replace(microsecond=0) + timedelta(days=self.lifetimes[role])

    def write_root(self, signers: list[CryptoSigner] | None = None) -> bytes:
        self.root.expires = self.expires("root")
        metadata = Metadata(self.root)
        for signer in signers or self.root_signers[:2]:
            metadata.sign(signer, append=True)
        body = metadata.to_bytes(COMPACT)
        self.objects[f"{METADATA}{self.root.version}.root.json"] = body
        return body

    def new_root(self, *rotate: str, signers: list[CryptoSigner] | None = None) -> None:
        """The next root version, with new keys for the roles named."""
        self.root = copy.deepcopy(self.root)
        self.root.version += 1
        for role in rotate:
            self.root.revoke_key(self.signers[role].public_key.keyid, role)
            self.signers[role] = CryptoSigner.generate_ed25519()
            self.root.add_key(self.signers[role].public_key, role)
        self.write_root(signers)

    def publish(self, groups: dict[str, bytes] | None = None) -> None:
        """One commit: targets, snapshot, timestamp, each one version further."""
        for group, body in (groups or {}).items():
            path = f"groups/{group}.json"
            self.targets.targets[path] = TargetFile.from_data(path, body, ["sha256"])
            self.objects[target_key(group, body)] = body
        self.targets.version += 1
        self.write_targets()
        self.snapshot.meta["targets.json"] = MetaFile(self.targets.version)
        self.snapshot.version += 1
        self.write_snapshot()
        self.refresh()

    def refresh(self) -> None:
        self.timestamp.version += 1
        self.write_timestamp()

    def write_targets(self) -> bytes:
        self.targets.expires = self.expires("targets")
        return self._write(f"{self.targets.version}.targets.json", self.targets, "targets")

    def write_snapshot(self) -> bytes:
        self.snapshot.expires = self.expires("snapshot")
        body = self._write(f"{self.snapshot.version}.snapshot.json", self.snapshot, "snapshot")
        self.timestamp.snapshot_meta = MetaFile.from_data(self.snapshot.version, body, ["sha256"])
        return body

    def write_timestamp(self) -> bytes:
        self.timestamp.expires = self.expires("timestamp")
        return self._write("timestamp.json", self.timestamp, "timestamp")

    def settings(self, **changes: Any) -> Settings:
        """What `coordinator userdata` would print now."""
        root = self.objects[f"{METADATA}{self.root.version}.root.json"]
        return Settings(
            **{
                "store": f"s3://{BUCKET}",
                "cluster": "demo",
                "group": "control-plane",
                "region": "eu-west-1",
                "root_version": self.root.version,
                "root_sha256": hashlib.sha256(root).hexdigest(),
                "targets_version": self.targets.version,
                **changes,
            }
        )

    def _write(self, name: str, signed: Any, role: str) -> bytes:
        metadata = Metadata(signed)
        metadata.sign(self.signers[role])
        body = metadata.to_bytes(COMPACT)
        self.objects[f"{METADATA}{name}"] = body
        return body


def target_key(group: str, body: bytes) -> str:
    return f"{TARGETS}groups/{hashlib.sha256(body).hexdigest()}.{group}.json"


@dataclass
class WallClockDouble:
    time: datetime = field(default_factory=lambda: datetime(2026, 11, 23, 12, tzinfo=UTC))

    def now(self) -> datetime:
        return self.time


class Bench:
    """A bucket, its publisher, and nodes that read from it."""

    def __init__(self, server, answer, waits, tmp_path: Path) -> None:
        self.objects: dict[str, bytes] = {}
        self.overrides: dict[str, Any] = {}  # key -> answer, in front of the objects
        self.clock = WallClockDouble()
        self.publisher = Publisher(self.objects, self.clock.time)
        self.root = tmp_path / "machine"
        self.state = self.root / "var/lib/bootwright/trust"
        self.baked = self.root / "usr/share/bootwright/trust/root.json"
        self.baked.parent.mkdir(parents=True)
        self.server = server
        self.gets: list[str] = []
        self._answer = answer
        self._waits = waits
        server.respond = self._respond

    def s3(self) -> S3:
        bucket = Bucket(BUCKET, "eu-west-1", self.server.url)
        return S3(bucket, lambda: Credentials("AKID", "s", source="role demo-nodes"), waits=self._waits, limit=5)

    def node(self, settings: Settings | None = None, *, state: Path | None = None) -> Repository:
        return Repository(
            settings or self.publisher.settings(),
            self.s3(),
            clock=self.clock,
            state_dir=state or self.state,
            baked_root=self.baked,
            waits=self._waits,
        )

    def age(self, **delta: float) -> None:
        self.clock.time += timedelta(**delta)

    def answer(self, status: int, code: str = "") -> Any:
        return self._answer(status, f"<Error><Code>{code}</Code></Error>".encode())

    def deny(self, *keys: str) -> None:
        """AccessDenied for these keys; for everything without any."""
        for key in keys or ["*"]:
            self.overrides[key] = self.answer(403, "AccessDenied")

    def remembered(self) -> dict[str, bytes]:
        """The part of the state that an attack must not touch."""
        return {path.name: path.read_bytes() for path in self.state.glob("*.json")}

    @contextmanager
    def refused(self, code: str, *words: str, exit_code: int = 3) -> Iterator[None]:
        """The block raises exactly this, in words that a person understands, and lowers nothing."""
        before = self.remembered()
        with pytest.raises(BootwrightError) as caught:
            yield
        assert (caught.value.code, caught.value.exit_code) == (code, exit_code), caught.value.message
        assert caught.value.remedy
        for word in words:
            assert word in caught.value.message, caught.value.message
        assert self.remembered() == before

    def _respond(self, method: str, path: str, _headers: dict[str, str], _body: bytes) -> Any:
        key = path.removeprefix(f"/{BUCKET}/")
        self.gets.append(key)
        override = self.overrides.get(key) or self.overrides.get("*")
        if override is not None:
            return override
        if key not in self.objects:
            return self.answer(404, "NoSuchKey")
        return self._answer(200, self.objects[key], {"ETag": f'"{hashlib.md5(self.objects[key]).hexdigest()}"'})


@pytest.fixture
def bench(server, answer, waits, tmp_path) -> Bench:
    return Bench(server, answer, waits, tmp_path)


@pytest.fixture
def publisher(bench) -> Publisher:
    return bench.publisher


@pytest.fixture
def thief(bench) -> Callable[[], Publisher]:
    """Another repository of the same shape, signed by keys that nobody trusts."""
    return lambda: Publisher({}, bench.clock.time)


@pytest.fixture
def booted(bench) -> VerifiedRelease:
    """A node that has verified the repository once."""
    return bench.node().refresh()
