"""T18 to T21: damage, full disks, and power cuts at every single file operation."""

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.repository import Repository
from units.errors import Retryable

pytestmark = pytest.mark.slow  # every crash point

CACHE = ["timestamp.json", "snapshot.json", "targets.json", "root_history/1.root.json", "root_history/2.root.json"]
STATE = ["floors.a.json", "floors.b.json", "release.json", "verified.json"]
ZYGOTE = Path(__file__).with_name("zygote.py")


def damages(body: bytes) -> dict[str, bytes | None]:
    return {
        "empty": b"",
        "half": body[: len(body) // 2],
        "random": random.Random(1).randbytes(len(body)),
        "list": b"[]",
        "deleted": None,
    }


@pytest.mark.parametrize("kind", ["empty", "half", "random", "list", "deleted"])
@pytest.mark.parametrize("name", [*(f"metadata/{name}" for name in CACHE), *STATE])
def test_t18_any_damaged_file_heals(bench, publisher, name, kind) -> None:
    settings = publisher.settings()
    publisher.new_root("timestamp")
    publisher.refresh()
    healthy = bench.node(settings).refresh()
    path = bench.state / name
    body = damages(path.read_bytes())[kind]
    if body is None:
        path.unlink()
    else:
        path.write_bytes(body)
    assert bench.node(settings).refresh() == healthy
    assert not bench.node(settings).changed_since()


@pytest.mark.parametrize("name", ["metadata/timestamp.json", "metadata/root.json", "metadata/root_history", "metadata"])
def test_t18_a_directory_or_file_in_the_wrong_place_heals(bench, booted, name) -> None:
    path = bench.state / name
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
        path.write_bytes(b"a file")
    else:
        path.unlink()
        (path / "child").mkdir(parents=True)
    assert bench.node().refresh() == booted


@pytest.mark.parametrize("kept", [["floors.a.json", "floors.b.json"], ["floors.a.json"], ["floors.b.json"]])
def test_t18_with_every_cache_empty_the_floors_still_stop_a_rollback(bench, publisher, kept) -> None:
    """A power cut may empty whatever python-tuf wrote: it never calls fsync."""
    settings = publisher.settings()
    old = dict(publisher.objects)
    publisher.publish({"control-plane": b"fixed"})
    bench.node(settings).refresh()
    for path in bench.state.rglob("*"):
        if path.is_file() and path.name not in kept:
            path.write_bytes(b"")
    publisher.objects.clear()
    publisher.objects.update(old)
    with bench.refused("trust-rollback", "this node has seen 2"):
        bench.node(settings).refresh()
    assert not (bench.state / "metadata" / "timestamp.json").exists()  # nothing refused stays in the cache


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 kB, for ENOSPC and EROFS as the kernel gives them."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", disk], check=True)


def read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)


def full(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


@pytest.mark.root
@pytest.mark.parametrize(("trouble", "code"), [(read_only, "trust-disk-read-only"), (full, "trust-disk-full")])
def test_t19_a_full_or_read_only_disk_keeps_what_runs(bench, publisher, small_disk, trouble, code) -> None:
    settings = publisher.settings()
    state = small_disk / "trust"
    running = bench.node(settings, state=state).refresh()
    publisher.publish({"control-plane": b"newer " * 2000})
    cached = (state / "metadata" / "snapshot.json").read_bytes()
    trouble(small_disk)
    stale = bench.node(settings, state=state).refresh(running=True)
    assert (stale.condition, stale.release) == ("TrustStale", running.release)
    assert "the disk is" in stale.details
    assert (state / "metadata" / "snapshot.json").read_bytes() == cached  # no cache is wiped for want of space
    with pytest.raises(Retryable) as caught:
        bench.node(settings, state=state).refresh()
    assert caught.value.code == code
    assert bench.node(settings, state=state).changed_since()  # a poll needs no disk


@pytest.mark.root
def test_t19_it_goes_on_when_there_is_space_again(bench, publisher, small_disk) -> None:
    settings = publisher.settings()
    state = small_disk / "trust"
    bench.node(settings, state=state).refresh()
    publisher.publish({"control-plane": b"newer"})
    full(small_disk)
    bench.node(settings, state=state).refresh(running=True)
    (small_disk / "ballast").unlink()
    assert bench.node(settings, state=state).refresh().release == b"newer"


class Zygote:
    """A process that has everything imported and forks one refresh per line; see zygote.py."""

    def __init__(self, bench) -> None:
        place = {"url": bench.server.url, "state": str(bench.state), "now": bench.clock.time.isoformat()}
        self._place = json.dumps(place)
        self._process = subprocess.Popen(
            [sys.executable, ZYGOTE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
        )

    def refresh(self, settings, *, die_at: int | None = None, kill_after: float | None = None) -> str:
        """`done`, `died` at the file operation of this number or at this time, or `raised CODE`."""
        order = {"settings": settings.model_dump(), "die_at": die_at, "kill_after": kill_after}
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{self._place}\t{json.dumps(order)}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def close(self) -> None:
        self._process.communicate(timeout=10)


@pytest.fixture
def zygote(bench):
    made = Zygote(bench)
    yield made
    made.close()


def test_t20_a_crash_at_any_file_operation_leaves_a_state_that_goes_on(bench, publisher, zygote) -> None:
    """Die before the first operation, the second, and so on, each on a fresh publish, until a refresh lives through."""
    settings = publisher.settings()
    assert zygote.refresh(settings) == "done"
    for number in range(400):
        if number % 5 == 0:
            publisher.new_root("timestamp")
        publisher.publish({"control-plane": f"release {number}".encode()})
        before = bench.node(settings)._state.floors()
        outcome = zygote.refresh(settings, die_at=number)
        after = bench.node(settings)._state.floors()
        assert after.versions.targets >= before.versions.targets
        assert after.versions.root >= before.versions.root
        found = bench.node(settings).refresh()
        assert found.release == f"release {number}".encode()
        if outcome == "done":
            break
        assert outcome == "died"
    else:
        pytest.fail("a refresh has less than 400 file operations")
    assert number > 20  # it did die at many places


def test_t20_killed_at_random_times(bench, publisher, zygote) -> None:
    settings = publisher.settings()
    rng = random.Random(20)
    outcomes = set()
    for number in range(25):
        publisher.publish({"control-plane": f"release {number}".encode()})
        outcomes.add(zygote.refresh(settings, kill_after=rng.uniform(0, 0.03)))
        assert bench.node(settings).refresh().release == f"release {number}".encode()
    assert outcomes <= {"died", "done"}


def test_t21_two_agents_at_once_take_turns(bench, publisher) -> None:
    settings = publisher.settings()
    wrong: list[object] = []

    def work() -> None:
        for _ in range(10):
            try:
                found = Repository(
                    settings, bench.s3(), clock=bench.clock, state_dir=bench.state, baked_root=bench.baked
                ).refresh()
            except Exception as error:  # noqa: BLE001  a thread hands its failure to the test
                wrong.append(error)
            else:
                if found.condition != "Fresh":
                    wrong.append(found)

    agents = [threading.Thread(target=work) for _ in range(3)]
    for agent in agents:
        agent.start()
    for number in range(10):
        publisher.publish({"control-plane": f"release {number}".encode()})
    for agent in agents:
        agent.join(60)
    assert wrong == []
    assert bench.node(settings).refresh().release == b"release 9"


def test_strays_of_an_interrupted_write_are_swept(bench, booted) -> None:
    (bench.state / "metadata" / "tmpabc123").write_bytes(b"half")
    (bench.state / ".release.json.tmp-0123456789abcdef").write_bytes(b"half")
    bench.node().refresh()
    assert not list(bench.state.rglob("*tmp*"))


def test_state_is_for_root_alone(bench, booted) -> None:
    assert bench.state.stat().st_mode & 0o077 == 0
    for path in bench.state.glob("*.json"):
        assert path.stat().st_mode & 0o777 == 0o600
