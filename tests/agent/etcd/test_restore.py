"""Restores of real members from moto's S3: every member takes the backup, and the cluster is the old one again."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.aws.s3 import S3
from agent.etcd.access import NodeEtcd
from agent.etcd.admin import EtcdClients
from agent.etcd.backup import Backup, BackupTaker
from agent.etcd.bucket import BackupBucket
from agent.etcd.storage import NodeEtcdStorage
from agent.etcd.tools import EtcdTools
from agent.linux.files import LinuxFiles
from agent.records import S3Records
from tests.agent.etcd.conftest import PREFIX
from tests.real_etcd.cluster import RealCluster, real_cluster
from tests.units.machines import empty_machine
from units.bootstrap_record import BootstrapRecord, RestoreFrom, decode_record, record_key
from units.errors import Fatal, Refused
from units.etcd_generation import EtcdGeneration, EtcdRestore
from units.etcd_restore import Identity
from units.host import HeldVolume, Host, UnitState, VolumeClaim

pytestmark = [pytest.mark.slow, pytest.mark.root]  # files get their owners
KEY = record_key("main")


@dataclass
class ProcessesDouble:
    """systemd, for one unit: the process of a real member."""

    cluster: RealCluster
    name: str

    def state(self, unit: str) -> UnitState:
        running = self.cluster.members[self.name].process is not None
        return UnitState(enabled=False, active="active" if running else "inactive")

    def stop(self, unit: str) -> None:
        self.cluster.kill(self.name)

    def start(self, unit: str) -> None:
        """`existing`, as the agent's unit does: with data in place etcd ignores the flag."""
        self.cluster.start(self.name, state="existing")


class OwnTree:
    """LinuxFiles of one member of several on this host: its /run and /etc lie in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = LinuxFiles()

    def __getattr__(self, method: str) -> Any:
        real = getattr(self._files, method)

        def moved(path: str, *more: Any, **named: Any) -> Any:
            return real(f"{self._folder}{path}" if path.startswith(("/run/", "/etc/")) else path, *more, **named)

        return moved


@dataclass
class World:
    """A cluster, its bucket, and the machine of each member as the two resources see it."""

    cluster: RealCluster
    s3: S3
    tools: EtcdTools
    place: Path

    @property
    def clients(self) -> EtcdClients:
        return EtcdClients(self.cluster.client_urls, self.cluster.pki.authorities, self.cluster.pki.client)

    @property
    def records(self) -> S3Records:
        return S3Records(self.s3, PREFIX)

    @property
    def bucket(self) -> BackupBucket:
        return BackupBucket(self.s3, PREFIX, "main")

    def take(self) -> Backup:
        taker = BackupTaker("demo", self.bucket, self.clients, lambda: datetime.now(UTC), self.tools, (self.place,))
        self.cluster.etcdctl("put", "/bootwright/cluster", self.record.token)  # as EtcdGeneration leaves it
        return taker.take(self.record, "test")

    @property
    def record(self) -> BootstrapRecord:
        found = self.records.get(KEY)
        assert found is not None
        return decode_record(found.content, KEY)

    def begin(self, backup: Backup) -> None:
        """What `coordinator etcd restore` writes."""
        found = self.records.get(KEY)
        assert found is not None
        old = decode_record(found.content, KEY)
        meta = backup.meta
        new = BootstrapRecord(
            state="restoring",
            generation=old.generation + 1,
            token=f"token-g{old.generation + 1}",
            volumes={},
            created_by="operator",
            restore=RestoreFrom(backup=backup.name, sha256=meta.sha256, size=meta.size, revision=meta.revision),
        )
        assert self.records.replace(KEY, new.encode(), found.etag)

    def host(self, name: str) -> Host:
        machine = empty_machine()
        machine.volumes.attached["main"] = HeldVolume(f"vol-{name}", name, "/dev/none")
        machine.probes.get = lambda _url: None  # type: ignore[method-assign]  # no API server here
        access = NodeEtcd(self.s3, PREFIX, cluster="demo", now=lambda: datetime.now(UTC))
        storage = NodeEtcdStorage(
            access.bucket,
            lambda urls: EtcdClients(tuple(urls), self.cluster.pki.authorities, self.cluster.pki.client),
            tools=self.tools,
            places=(self.place,),
            owner=None,
        )
        return replace(
            machine.host,
            files=OwnTree(self.cluster.folder / name / "tree"),  # type: ignore[arg-type]
            systemd=ProcessesDouble(self.cluster, name),  # type: ignore[arg-type]
            records=self.records,
            etcd_storage=storage,
        )

    def claim(self, name: str) -> VolumeClaim:
        return VolumeClaim("demo", "main", tuple(self.cluster.members), (name,), 1)

    def mount(self, name: str) -> str:
        return str(self.cluster.members[name].data.parent)

    def restore(self, name: str) -> EtcdRestore:
        member = self.cluster.members[name]
        identity = Identity(name, member.peer_url, self.cluster.initial_cluster)
        return EtcdRestore(self.claim(name), self.mount(name), "bootwright-etcd-main.service", identity, "none")

    def generation(self, name: str) -> EtcdGeneration:
        return EtcdGeneration(self.claim(name), self.mount(name), (self.cluster.members[name].client_url,))

    def establish(self, token: str) -> None:
        record = BootstrapRecord(
            state="established",
            generation=1,
            token=token,
            volumes={name: f"vol-{name}" for name in self.cluster.members},
            started=tuple(self.cluster.members),
            created_by="i-1",
        )
        self.records.create(KEY, record.encode())


@pytest.fixture(params=[("a",), ("a", "b", "c")], ids=["one member", "three members"])
def world(request, tmp_path: Path, s3: S3, tools: EtcdTools, place: Path) -> Iterator[World]:
    with real_cluster(tmp_path / "cluster", request.param) as cluster:
        world = World(cluster, s3, tools, place)
        world.establish(cluster.token)
        yield world


def revision_of(cluster: RealCluster) -> int:
    return int(json.loads(cluster.etcdctl("get", "/k/00000000", "-w", "json"))["header"]["revision"])


def wait_for_quorum(world: World) -> None:
    """What the restore stopped it has started again."""
    world.cluster.wait_ready()


def test_the_backup_comes_back_and_what_came_after_it_is_gone(world: World) -> None:
    cluster = world.cluster
    cluster.put_many(30, 100)
    backup = world.take()
    before = revision_of(cluster)
    cluster.put_many(5, 100, prefix="/late/")
    world.begin(backup)
    for name in cluster.members:
        world.restore(name).apply(world.host(name))
        assert world.restore(name).check(world.host(name)) is None
    wait_for_quorum(world)
    assert cluster.etcdctl("get", "--prefix", "/k/", "--keys-only").split() == [f"/k/{n:08}" for n in range(30)]
    assert cluster.etcdctl("get", "--prefix", "/late/", "--keys-only") == ""
    assert revision_of(cluster) >= before + 1_000_000_000
    assert world.record.volumes == {name: f"vol-{name}" for name in cluster.members}
    hashes = {
        json.loads(cluster.etcdctl("endpoint", "hashkv", "-w", "json", member=name))[0]["HashKV"]["hash"]
        for name in cluster.members
    }
    assert len(hashes) == 1
    for name in cluster.members:
        kept = Path(world.mount(name)) / "data.g1/member/wal"
        assert list(kept.glob("*.wal")), "the old data is not kept"


def test_a_watch_from_before_the_restore_is_told_to_begin_anew(world: World) -> None:
    """Watchers relist: without the bump they would wait for revisions that mean something else now."""
    cluster = world.cluster
    cluster.put_many(10, 10)
    backup = world.take()
    revision = revision_of(cluster)
    world.begin(backup)
    for name in cluster.members:
        world.restore(name).apply(world.host(name))
    wait_for_quorum(world)
    from agent.etcd.gateway_errors import EtcdRefusal
    from agent.etcd.wire import encoded

    with world.clients.gateway() as gateway, pytest.raises(EtcdRefusal) as caught:
        gateway.call("/v3/kv/range", {"key": encoded("/k/00000000"), "revision": str(revision)})
    assert caught.value.code == "etcd-compacted"


def test_the_clusters_own_key_changes_with_the_generation(world: World) -> None:
    cluster = world.cluster
    cluster.put_many(1, 10)
    first = next(iter(cluster.members))
    with pytest.raises(Refused) as caught:  # an established cluster that does not hold its token
        world.generation(first).apply(world.host(first))
    assert caught.value.code == "etcd-wrong-generation"
    cluster.etcdctl("put", "/bootwright/cluster", "token-g1")
    world.generation(first).apply(world.host(first))
    backup = world.take()
    world.begin(backup)
    for name in cluster.members:
        world.restore(name).apply(world.host(name))
    wait_for_quorum(world)
    for name in cluster.members:
        assert world.generation(name).check(world.host(name)) is not None
        world.generation(name).apply(world.host(name))
        assert world.generation(name).check(world.host(name)) is None
    assert "token-g2" in cluster.etcdctl("get", "/bootwright/cluster")


def test_a_backup_that_rotted_in_the_bucket_leaves_the_old_data_where_it_is(world: World, objects) -> None:
    cluster = world.cluster
    cluster.put_many(3, 10)
    backup = world.take()
    key = f"demo/etcd/main/backups/{backup.name}/snapshot.db"
    content = bytearray(objects.Object(key).get()["Body"].read())
    content[6000] ^= 1
    objects.put_object(Key=key, Body=bytes(content))
    world.begin(backup)
    first = next(iter(cluster.members))
    with pytest.raises(Fatal) as caught:
        world.restore(first).apply(world.host(first))
    assert caught.value.code == "etcd-backup-damaged"
    assert list((Path(world.mount(first)) / "data/member/wal").glob("*.wal"))
    assert not list(Path(world.mount(first)).glob("restored*"))


def test_a_member_that_was_away_joins_the_generation_from_the_same_backup(
    tmp_path: Path, s3: S3, tools: EtcdTools, place: Path
) -> None:
    with real_cluster(tmp_path / "cluster", ("a", "b", "c")) as cluster:
        world = World(cluster, s3, tools, place)
        world.establish(cluster.token)
        cluster.put_many(10, 10)
        backup = world.take()
        world.begin(backup)
        cluster.kill()
        for name in ("a", "b"):
            world.restore(name).apply(world.host(name))
        cluster.start("a", "b", state="existing")
        cluster.wait_ready("a", "b")
        for name in ("a", "b"):
            found = world.records.get(KEY)
            assert found is not None
            assert world.records.replace(KEY, world.record.with_started(name).encode(), found.etag)
        cluster.put_many(2000, 10, prefix="/after/")  # beyond the log that c could catch up from
        world.restore("c").apply(world.host("c"))
        cluster.start("c", state="existing")
        cluster.wait_ready("c")
        deadline = time.monotonic() + 30
        while "/after/00001999" not in cluster.etcdctl(
            "get", "--prefix", "/after/", "--keys-only", "--consistency=s", member="c"
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_old_members_and_restored_ones_do_not_talk_to_each_other(
    tmp_path: Path, s3: S3, tools: EtcdTools, place: Path
) -> None:
    """c still runs the old generation while a and b restore: it has no quorum, and gets none."""
    with real_cluster(tmp_path / "cluster", ("a", "b", "c")) as cluster:
        world = World(cluster, s3, tools, place)
        world.establish(cluster.token)
        cluster.put_many(3, 10)
        world.begin(world.take())
        for name in ("a", "b"):
            world.restore(name).apply(world.host(name))
        cluster.wait_ready("a", "b")
        assert not cluster.is_ready("c")
        assert (
            "cluster ID mismatch" in (cluster.folder / "c.log").read_text() + (cluster.folder / "a.log").read_text()
            or "request cluster ID" in (cluster.folder / "a.log").read_text()
        )
