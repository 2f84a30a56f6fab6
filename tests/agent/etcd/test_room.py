"""Room on a real ext4 with an end: the reserve is of blocks, is given up for a real etcd, comes back; nobody's else."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.etcd.admin import EtcdClients
from agent.etcd.bucket import BackupBucket
from agent.etcd.relief import NOTHING, keep_room, relieve
from agent.etcd.room import measure, read_note, take
from agent.etcd.storage import NodeEtcdStorage
from agent.linux.ext4 import outgrown_at
from tests.agent.linux.loops import MIB, make_disk, sh
from tests.real_etcd.cluster import RealCluster, real_cluster
from units.bootstrap_record import RestoreFrom
from units.errors import BootwrightError, Fatal, Retryable
from units.etcd_restore import Identity
from units.etcd_room import LOW_BYTES, Delete, MakeReserve, next_step

__all__ = ["make_disk"]

pytestmark = [pytest.mark.root, pytest.mark.slow]
LARGE, SMALL = 2048 * MIB, 500 * MIB


@dataclass
class VolumeOfEtcd:
    """ext4 on a loop device, mounted where an etcd member's would be."""

    mounts: Path
    device: str
    image: Path

    @property
    def mount(self) -> Path:
        return self.mounts / "main"

    def fill(self, *, leave: int = 0, name: str = "ballast") -> Path:
        """Somebody else's file takes all but so much."""
        path = self.mount / name
        sh("fallocate", "--length", str(measure(self.mount).free_bytes - max(leave, MIB)), str(path))
        if not leave:
            subprocess.run(["dd", "if=/dev/zero", "bs=4k", "oflag=append", "conv=notrunc", f"of={path}"], check=False)
            assert measure(self.mount).free_bytes == 0
        return path

    def look_after(self) -> str:
        return keep_room(NOTHING, self.started.append, mounts=self.mounts)

    def __post_init__(self) -> None:
        self.started: list[str] = []


Make = Callable[[int], VolumeOfEtcd]


@pytest.fixture
def make(make_disk: Callable[[int], object], tmp_path: Path) -> Iterator[Make]:
    mounted: list[Path] = []

    def volume(size: int) -> VolumeOfEtcd:
        disk = make_disk(size)
        made = VolumeOfEtcd(tmp_path / "etcd", disk.device, disk.image)  # type: ignore[attr-defined]
        made.mount.mkdir(parents=True)
        sh("mkfs.ext4", "-q", "-m0", made.device)
        sh("mount", "-o", "noatime", made.device, str(made.mount))
        mounted.append(made.mount)
        (made.mount / ".etcd-volume.json").write_text("{}")
        return made

    yield volume
    for path in mounted:
        subprocess.run(["umount", path], check=False)


def test_the_reserve_is_of_blocks_that_nobody_else_can_have_and_only_roots(make: Make) -> None:
    volume = make(LARGE)
    before = measure(volume.mount)
    volume.look_after()
    after = measure(volume.mount)
    assert before.free_bytes - after.free_bytes >= 128 * MIB
    assert after.reserve_bytes >= 128 * MIB
    found = (volume.mount / ".reserve").stat()
    assert (found.st_uid, found.st_mode & 0o777) == (0, 0o600)
    volume.look_after()
    assert measure(volume.mount) == after


def test_a_full_volume_gives_up_the_reserve_once_and_touches_nothing_of_anybody_else(make: Make) -> None:
    volume = make(LARGE)
    volume.look_after()
    strangers = {name: volume.mount / name for name in ("data.g1.mine", "restored", ".reserved")}
    for path in strangers.values():
        path.mkdir()
        (path / "kept").write_text("kept")
    (volume.mount / "data").mkdir()
    ballast = volume.fill()
    volume.look_after()
    room = measure(volume.mount)
    assert (room.reserve_bytes, volume.started) == (0, ["main"])
    assert room.free_bytes >= 127 * MIB
    (note,) = read_note(volume.mount)
    assert (note.what, note.bytes >= 128 * MIB) == ("its reserve", True)
    assert all((path / "kept").read_text() == "kept" for path in strangers.values())
    volume.fill(name="more")
    volume.look_after()
    assert measure(volume.mount).free_bytes < LOW_BYTES, "nothing is left to give up"
    assert volume.started == ["main"]
    (volume.mount / "more").unlink()
    volume.look_after()
    assert measure(volume.mount).reserve_bytes == 0, "it is not made again of what it gave"
    ballast.unlink()
    volume.look_after()
    assert measure(volume.mount).reserve_bytes >= 128 * MIB
    assert [one.what for one in read_note(volume.mount)] == ["its reserve"]


def test_a_volume_too_small_for_a_reserve_has_none_and_loses_nothing(make: Make) -> None:
    volume = make(SMALL)
    volume.look_after()
    assert not (volume.mount / ".reserve").exists()
    volume.fill()
    volume.look_after()
    assert sorted(measure(volume.mount).names) == [".etcd-volume.json", "ballast", "lost+found"]
    assert volume.started == []


def test_a_volume_without_our_marker_is_left_alone(make: Make) -> None:
    volume = make(LARGE)
    (volume.mount / ".etcd-volume.json").unlink()
    volume.look_after()
    assert measure(volume.mount).names == {"lost+found"}


def some_data(path: Path, size: int) -> None:
    (path / "member").mkdir(parents=True)
    sh("fallocate", "--length", str(size), str(path / "member/db"))


def test_what_a_restore_left_goes_before_what_it_put_aside_and_only_then_the_reserve(make: Make) -> None:
    volume = make(LARGE)
    volume.look_after()
    for name in ("restored.g9.rough", "data.g1", "data.g2"):
        some_data(volume.mount / name, 64 * MIB)
    volume.fill()
    assert [one.what for one in relieve("main", volume.mount, lambda _etcd, _mount: ("data.g1",))] == [
        "restored.g9.rough",
        "data.g1",
    ]
    assert (volume.mount / "data.g2/member/db").exists()
    assert measure(volume.mount).reserve_bytes >= 128 * MIB
    volume.fill(name="more")

    def unreachable(_etcd: str, _mount: Path) -> tuple[str, ...]:
        raise Retryable("s3-unreachable", "the store does not answer")

    assert [one.what for one in relieve("main", volume.mount, unreachable)] == ["its reserve"]
    assert (volume.mount / "data.g2/member/db").exists()


def test_nothing_but_the_agents_own_is_deleted_whoever_asks(make: Make) -> None:
    volume = make(SMALL)
    some_data(volume.mount / "data", MIB)
    for name in ("data", "lost+found", "../main/data"):
        with pytest.raises(Fatal) as refused:
            take(Delete(name), volume.mount)
        assert refused.value.code == "etcd-data-kept"
    assert (volume.mount / "data/member/db").exists()


def test_what_lies_in_the_reserves_place_and_is_none_is_not_followed(make: Make, tmp_path: Path) -> None:
    volume = make(LARGE)
    (volume.mount / ".reserve").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BootwrightError):
        take(MakeReserve(128 * MIB), volume.mount)
    assert not (tmp_path / "elsewhere").exists()


def relieve_until_killed(mount: Path, number: int) -> int:
    """In a process of its own, which ends by SIGKILL as it does the `number`th thing to a file; how that ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seen = iter(range(1, number))

    def count(event: str, _arguments: object) -> None:
        if event in {"open", "os.rename", "os.remove", "os.rmdir", "os.listdir"} and next(seen, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(count)
        relieve("main", mount, lambda _etcd, _mount: ("data.g1",))
    except BaseException:  # noqa: BLE001 (of a fork, which must never go on as a second pytest)
        os._exit(1)
    os._exit(0)


def test_a_kill_at_any_step_leaves_what_the_next_look_goes_on_from(make: Make) -> None:
    volume = make(LARGE)
    number, ended = 0, -signal.SIGKILL
    while ended == -signal.SIGKILL:
        number += 1
        for name in ("ballast", ".room.json"):
            (volume.mount / name).unlink(missing_ok=True)
        relieve("main", volume.mount, NOTHING)
        for name in ("data", "data.g1", "restored.g2.rough"):
            if not (volume.mount / name).exists():
                some_data(volume.mount / name, 30 * MIB)
        volume.fill()
        ended = relieve_until_killed(volume.mount, number)
        relieve("main", volume.mount, lambda _etcd, _mount: ("data.g1",))
        room = measure(volume.mount)
        assert next_step(room, lambda: ("data.g1",)) is None
        assert room.free_bytes >= LOW_BYTES
        assert (volume.mount / "data/member/db").stat().st_size == 30 * MIB
        assert not [name for name in room.names if name.startswith((".gone.", "restored."))], number
    assert ended == 0
    assert number > 10


def test_a_restore_takes_the_reserve_if_that_makes_its_room_and_leaves_it_if_it_does_not(
    make: Make, tmp_path: Path
) -> None:
    volume = make(LARGE)
    volume.look_after()
    volume.fill(leave=200 * MIB)

    def unreachable(_etcd: str) -> BackupBucket:
        raise Retryable("s3-unreachable", "the store does not answer")

    storage = NodeEtcdStorage(unreachable, lambda _urls: EtcdClients((), "", ""), places=(tmp_path,), owner=None)

    def restore(size: int) -> str:
        backup = RestoreFrom(backup="2026-01-01T00:00:00Z-7", sha256="0" * 64, size=size, revision=7)
        with pytest.raises(Retryable) as stopped:
            storage.make_data("main", backup, Identity("a", "", ""), "t", mark=b"", to=f"{volume.mount}/restored.g2")
        return stopped.value.code

    assert restore(100 * MIB) == "etcd-no-room"
    assert measure(volume.mount).reserve_bytes >= 128 * MIB
    assert restore(20 * MIB) == "s3-unreachable", "it had room, and went on to fetch the backup"
    assert measure(volume.mount).reserve_bytes == 0


def write_until_it_ends(cluster: RealCluster) -> list[str]:
    """Keys that were acknowledged."""
    acknowledged: list[str] = []
    process = cluster.members["a"].process
    assert process is not None
    while process.poll() is None:
        key = f"/written/{len(acknowledged):05}/"
        try:
            cluster.put_many(1, 200_000, prefix=key)
        except BootwrightError:
            continue
        acknowledged.append(f"{key}00000000")
    assert process.returncode == 1
    cluster.members["a"].process = None
    return acknowledged


@pytest.mark.parametrize("left", [0, 30 * MIB, 100 * MIB], ids=["nothing", "half a piece of log", "one and a half"])
def test_an_etcd_that_a_full_volume_ended_serves_again_of_the_reserve_with_all_it_acknowledged(
    make: Make, left: int
) -> None:
    volume = make(LARGE)
    volume.look_after()
    with real_cluster(volume.mount / "cluster") as cluster:
        cluster.put_many(3, 100, prefix="/before/")
        volume.fill(leave=left)
        acknowledged = write_until_it_ends(cluster)
        assert "no space left on device" in (volume.mount / "cluster/a.log").read_text(errors="replace")
        cluster.start()
        process = cluster.members["a"].process
        assert process is not None
        assert process.wait(60) == 1, "without room it ends again"
        cluster.members["a"].process = None
        volume.look_after()
        assert volume.started == ["main"]
        cluster.start()
        cluster.wait_ready()
        cluster.put_many(3, 100, prefix="/after/")
        there = set(cluster.etcdctl("get", "/", "--prefix", "--keys-only").split())
        assert set(acknowledged) <= there
        assert {f"/{when}/{number:08}" for when in ("before", "after") for number in range(3)} <= there


def test_a_volume_that_was_enlarged_asks_for_a_whole_run_and_has_its_reserve_again(make: Make) -> None:
    volume = make(LARGE)
    volume.look_after()
    volume.fill()
    volume.look_after()
    assert measure(volume.mount).reserve_bytes == 0
    with volume.image.open("r+b") as image:
        image.truncate(2 * LARGE)
    sh("losetup", "--set-capacity", volume.device)
    assert outgrown_at(volume.mount)
    assert volume.look_after() == "the volume of etcd main has grown"
    # Online it needs CAP_SYS_RESOURCE, which a container may lack: the lab does it mounted (tests/lab).
    sh("umount", str(volume.mount))
    sh("e2fsck", "-f", "-p", volume.device)
    sh("resize2fs", volume.device)
    sh("mount", "-o", "noatime", volume.device, str(volume.mount))
    assert volume.look_after() == ""
    assert measure(volume.mount).reserve_bytes >= 128 * MIB


def test_what_has_no_device_of_its_own_never_grows(tmp_path: Path) -> None:
    assert not outgrown_at(Path("/proc"))
    assert keep_room(NOTHING, [].append, mounts=tmp_path / "none") == ""
