"""Cuts the power at every change that an apply makes to a disk, and tells what the next boot made of each.

`python -m tests.agent.apply_cuts CASE DIRECTORY` prints one JSON `Cuts`. Forking needs a process without threads, which
a test run is not, so the whole enumeration happens here. A child applies the case's manifest to a copy of a machine's
root and SIGKILLs itself before its n-th change, for n = 0, 1, ... until one comes to its end by itself: then there was
no further change, and the enumeration is complete. SIGKILL keeps the page cache: what fsync is for, it cannot show
(test_files.py looks at the order of the system calls for that).
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pickle
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from agent.linux.assets import BAKED, LocalAssets, asset_key, wanted_of
from agent.linux.atomic import is_temporary
from tests.bench.sandbox import DoublesState, SandboxFiles
from tests.units.machines import FACTS, secrets
from tests.units.test_transaction import OLD as SAMPLE
from tests.units.test_transaction import POISON, ProbesDouble, with_kubelet
from units.applied import Applied
from units.generations import Generations
from units.host import Account, FileState, Host
from units.manifest import Asset, ExtraFile, KubeProxy, Manifest, manifest_digest
from units.memory import MemoryHost
from units.transaction import Transaction

ROLE = "node"
OLD_KUBELET, NEW_KUBELET = b"#!/bin/true old\n" * 100, b"#!/bin/true new\n" * 100
STORE = {hashlib.sha256(content).hexdigest(): content for content in (OLD_KUBELET, NEW_KUBELET)}
LEDGER = ".bootwright-owners"  # the sandbox's own book, no file of the machine's

_CHANGES = frozenset(
    {f"os.{call}" for call in ("rename", "remove", "mkdir", "rmdir", "chmod", "chown", "link", "symlink", "truncate")}
    | {f"os.{call}" for call in ("utime", "setxattr", "removexattr")}
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_TEMPORARY_END = re.compile(r"^\.(.+)\.tmp-[0-9a-f]{16}$")


def _kubelet(content: bytes) -> tuple[Asset, ...]:
    sha256 = hashlib.sha256(content).hexdigest()
    return (SAMPLE[ROLE].assets[0].model_copy(update={"sha256": sha256, "size": len(content)}),)


OLD = SAMPLE[ROLE].model_copy(update={"assets": _kubelet(OLD_KUBELET)})
NEW = with_kubelet(
    ROLE,
    50,
    kube_proxy=KubeProxy(enabled=False),
    assets=_kubelet(NEW_KUBELET),
    files=(ExtraFile(path="/etc/new/directory/issue", content="new\n"),),
)
BAD = with_kubelet(
    ROLE, POISON, assets=_kubelet(NEW_KUBELET), files=(ExtraFile(path="/etc/bad/directory/issue", content="bad\n"),)
)


@dataclass(frozen=True)
class Case:
    """`begun` is cut off; then the machine is asked for `asked`, and must end on `final`."""

    begun: Manifest
    asked: Manifest
    final: Manifest


CASES = {
    "good": Case(NEW, NEW, NEW),
    "bad": Case(BAD, BAD, OLD),
    "bad-then-good": Case(BAD, NEW, NEW),
}


@dataclass(frozen=True)
class Cut:
    """One power cut, and what came of it. `differences` are those from a machine that only ever ran `final`."""

    before: str  # the change that did not happen
    phase: str  # the journal's at the cut, or "none"
    temporaries: int  # that the cut left behind
    end: str
    running: str
    journal: bool
    quarantined: tuple[str, ...]
    differences: tuple[str, ...]
    again: str  # how the same, asked for once more, ended
    changed: tuple[str, ...]  # resources that it changed
    touched: tuple[str, ...]  # paths that it so much as touched


@dataclass(frozen=True)
class Cuts:
    cuts: tuple[Cut, ...]
    uncut: str  # how the run ended that found no change to be cut before
    events: dict[str, int]


@dataclass
class World:
    """What outlives a power cut and lies outside the root: the doubles' disks, and the cluster's Node."""

    enabled: set[str] = field(default_factory=set)
    accounts: dict[str, Account] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    cordoned: bool = False


class Machine:
    """Real files and assets below `root`; the models of units.memory for the rest."""

    def __init__(self, root: Path, world: World) -> None:
        self.root = root
        self.files = SandboxFiles(root, DoublesState())
        self.memory = MemoryHost(secrets(), files=self.files)  # type: ignore[arg-type]  # real ones in their place
        self.memory.systemd.active.add("containerd.service")  # Debian enables it
        self.memory.systemd.enabled |= world.enabled
        self.memory.users.accounts |= world.accounts
        self.memory.images.loaded |= world.images
        self.memory.node_api.cordoned = world.cordoned

    @property
    def world(self) -> World:
        memory = self.memory
        return World(
            memory.systemd.enabled, memory.users.accounts, memory.images.loaded, cordoned=memory.node_api.cordoned
        )

    @property
    def kept(self) -> Generations:
        return Generations(self.files)

    def apply(self, target: Manifest) -> Applied:
        return Transaction(self._host, FACTS).apply(target)

    def _host(self, manifest: Manifest) -> Host:
        assets = LocalAssets(_download, wanted=wanted_of(manifest), root=self.root)
        probes = ProbesDouble(self.memory, self.memory.probes)
        return dataclasses.replace(self.memory.host, assets=assets, probes=probes)


def _download(key: str, file: IO[bytes], size: int) -> str:
    """A double of the store. The power may go when half has come."""
    content = STORE[key.rpartition("/")[2]]
    begun = file.seek(0, os.SEEK_END)
    for end in (size // 2, size):
        file.write(content[begun:end])
        file.flush()
        begun = max(begun, end)
        sys.audit("tests.downloaded", end)
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()


def bake(root: Path) -> Path:
    """An image with the first manifest's kubelet in it."""
    baked = root / BAKED.lstrip("/") / asset_key(hashlib.sha256(OLD_KUBELET).hexdigest())
    baked.parent.mkdir(parents=True)
    baked.write_bytes(OLD_KUBELET)
    return root


def enumerate_cuts(case: Case, directory: Path) -> Cuts:
    machine = Machine(bake(directory / "prepared"), World())
    assert machine.apply(OLD).end == "committed"
    fresh = Machine(bake(directory / "fresh"), World())
    assert fresh.apply(case.final).end == "committed"
    wanted = tree(fresh)
    _uncut(machine, case, directory / "warm")  # imports what a run imports late: once, not in every child
    events: dict[str, int] = {}
    cuts: list[Cut] = []
    for number in itertools.count():
        root = directory / "cut"
        shutil.copytree(machine.root, root, symlinks=True)
        told = cut_before(number, Machine(root, machine.world), case.begun)
        if told["before"] is None:
            return Cuts(tuple(cuts), told["end"], events)
        events[told["event"]] = events.get(told["event"], 0) + 1
        cuts.append(recovered(root, told, case, wanted))
        shutil.rmtree(root)
    raise AssertionError


def _uncut(machine: Machine, case: Case, root: Path) -> None:
    shutil.copytree(machine.root, root, symlinks=True)
    Machine(root, machine.world).apply(case.begun)


def cut_before(number: int, machine: Machine, target: Manifest) -> dict[str, Any]:
    """In a child that dies. Told through a pipe: what it would have changed next, and the world that it left."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            sys.addaudithook(_death(number, machine, writing))
            end = machine.apply(target).end
            os.write(writing, pickle.dumps({"before": None, "end": end, "world": machine.world}))
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    _, status = os.waitpid(pid, 0)
    found: dict[str, Any] = pickle.loads(told)
    died = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    assert died == (found["before"] is not None), f"the child ended with {status}"
    return found


def _death(number: int, machine: Machine, writing: int) -> Callable[[str, tuple[Any, ...]], None]:
    left = number
    root = str(machine.root.resolve())

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        name = _changed(event, arguments, root)
        if name is None:
            return
        if left == 0:
            told = {"before": f"{event} {name}", "event": event, "world": machine.world}
            os.write(writing, pickle.dumps(told))
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    return hook


def _changed(event: str, arguments: tuple[Any, ...], root: str) -> str | None:
    """The name of what this call changes below the root; None for any other call.

    A name without a directory counts as below it: `open` does not tell the descriptor that it is relative to.
    """
    if event == "tests.downloaded":
        return str(arguments[0])
    if event == "open":
        if not isinstance(arguments[0], str) or not arguments[2] & _WRITING:
            return None
    elif event not in _CHANGES:
        return None
    path = arguments[1] if event in ("os.rename", "os.symlink", "os.link") else arguments[0]
    real = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fspath(path)  # noqa: PTH115 (a hook stays small)
    if real.startswith("/") and not real.startswith(f"{root}/"):
        return None
    name = real.removeprefix(f"{root}/")
    return _TEMPORARY_END.sub(r"\1 (temporary)", name.rpartition("/")[2])


def recovered(root: Path, told: dict[str, Any], case: Case, wanted: dict[str, FileState]) -> Cut:
    """The next boot: what lay in memory is gone, and the agent is asked again."""
    temporaries = sum(is_temporary(path.name) for path in root.rglob("*"))
    shutil.rmtree(root / "run", ignore_errors=True)
    machine = Machine(root, told["world"])
    journal = machine.kept.journal
    found = machine.apply(case.asked)
    kept = machine.kept
    before = marks(root)
    again = machine.apply(case.final)
    return Cut(
        before=told["before"],
        phase="none" if journal is None else journal.phase,
        temporaries=temporaries,
        end=found.end,
        running=kept.current_digest,
        journal=kept.journal is not None,
        quarantined=tuple(kept.quarantine),
        differences=tuple(differences(tree(machine), wanted)),
        again=again.end,
        changed=tuple(outcome.key for outcome in again.report.changed),
        touched=tuple(sorted(path for path, _mark in before.items() ^ marks(root).items())),
    )


def tree(machine: Machine) -> dict[str, FileState]:
    """Every path below the root, hidden ones too. Keys are made anew by each machine: their content is not compared."""
    found: dict[str, FileState] = {}
    for path in machine.root.rglob("*"):
        inside = f"/{path.relative_to(machine.root)}"
        state = machine.files.read(inside)
        assert state is not None
        found[inside] = dataclasses.replace(state, content=b"") if inside.endswith(".pem") else state
    return {path: state for path, state in found.items() if path != f"/{LEDGER}"}


def differences(found: dict[str, FileState], wanted: dict[str, FileState]) -> Iterator[str]:
    for path in sorted(found.keys() | wanted.keys()):
        if path not in wanted:
            yield f"more: {path}"
        elif path not in found:
            yield f"less: {path}"
        elif found[path] != wanted[path]:
            yield f"other: {path}"


def marks(root: Path) -> dict[str, tuple[int, int, int]]:
    """Changes with every write, also with one of the same bytes, and with a file that came and went."""
    stats = {str(path.relative_to(root)): path.lstat() for path in (*root.rglob("*"), root) if path != root}
    return {path: (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns) for path, stat in stats.items()}


def main() -> None:
    case, directory = sys.argv[1:]
    names = {manifest_digest(one): name for name, one in (("OLD", OLD), ("NEW", NEW), ("BAD", BAD))}
    text = json.dumps(dataclasses.asdict(enumerate_cuts(CASES[case], Path(directory))))
    for digest, name in names.items():
        text = text.replace(digest, name)
    print(text)


if __name__ == "__main__":
    main()
