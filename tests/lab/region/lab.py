"""Starting and ending a lab. `with Lab(run_directory) as lab:` ends everything it started, whatever happens inside."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from tests.lab import cache
from tests.lab.processes import mark
from tests.lab.region.client import LabClient, LabError
from tests.lab.region.ledger import Entry, entries
from tests.lab.region.leftovers import end_leftovers
from tests.lab.region.settings import RegionSettings, RunDirectory

REPOSITORY = Path(__file__).resolve().parents[3]
DOUBLES = "tests.lab.region.double:launch"
IMAGE_OF_DOUBLES = "ami-000000000000000ab"
START_SECONDS = 60.0
REGION_END_SECONDS = 60.0  # it switches every machine off first
LOG_LINES = 30
_CHILDREN: "dict[Path, subprocess.Popen[bytes]]" = {}  # started by this very process, so it must reap them


def start(run_directory: Path, settings: RegionSettings) -> LabClient:
    """A region in the background, in a session of its own; returns once it answers. Raises LabError."""
    run = RunDirectory(run_directory.resolve())
    run.path.mkdir(parents=True, exist_ok=True)
    if _answers(run):
        raise LabError(f"a lab is up in {run.path} already; end it first: python -m tests.lab down")
    end(run.path)  # what a region that was killed has left
    run.settings.write_text(_with_image(settings).to_json())
    with (run.path / "region.out").open("ab") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.lab.region", str(run.path)],
            cwd=REPOSITORY,
            env={**_without_aws(os.environ), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _CHILDREN[run.path] = child
    deadline = time.monotonic() + START_SECONDS
    while not run.state.exists():
        if child.poll() is not None:
            raise LabError(f"the region ended with {child.returncode} while starting:\n{_said(run)}")
        if time.monotonic() > deadline:
            end(run.path)
            raise LabError(f"the region did not answer in {START_SECONDS:.0f} s:\n{_said(run)}")
        time.sleep(0.05)
    return LabClient(run.path)


def end(run_directory: Path) -> list[Entry]:
    """End the region and every process in its ledger. Returns what was alive; nothing to end is no error."""
    run = RunDirectory(run_directory.resolve())
    alive = [entry for entry in entries(run.processes) if entry.process.is_alive()]
    for region in alive[:1]:
        region.end(REGION_END_SECONDS)
    end_leftovers(run)
    run.state.unlink(missing_ok=True)
    if child := _CHILDREN.pop(run.path, None):
        child.wait()
    return alive


class Lab:
    """A lab for as long as a `with` block; inside it is a LabClient."""

    def __init__(self, run_directory: Path, settings: RegionSettings | None = None) -> None:
        self._run_directory = run_directory
        self._settings = settings or RegionSettings()

    def __enter__(self) -> LabClient:
        # Whoever is killed inside the block never gets to its end; the region then ends itself.
        myself = mark(os.getpid())
        owned = replace(self._settings, owner=(myself.pid, myself.started))
        try:
            return start(self._run_directory, owned)
        except BaseException:
            end(self._run_directory)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end(self._run_directory)


def _with_image(settings: RegionSettings) -> RegionSettings:
    if settings.image_id:
        return settings
    if settings.machines == DOUBLES:
        return replace(settings, image_id=IMAGE_OF_DOUBLES)
    records = sorted(cache.folder("images").glob("ami-*.json"), key=lambda path: path.stat().st_mtime)
    if not records:
        raise LabError("no image has been baked yet: python -m tests.lab.image")
    return replace(settings, image_id=records[-1].stem)


def _answers(run: RunDirectory) -> bool:
    with contextlib.suppress(LabError):
        LabClient(run.path).status()
        return True
    return False


def _said(run: RunDirectory) -> str:
    return "\n".join(_tails(run.path / "region.out", run.log))


def _tails(*files: Path) -> Iterator[str]:
    for file in files:
        if file.exists():
            yield from file.read_text(errors="replace").splitlines()[-LOG_LINES:]


def _without_aws(environment: "os._Environ[str]") -> dict[str, str]:
    """The caller's own AWS account has no business in the region's process."""
    return {name: value for name, value in environment.items() if not name.startswith("AWS_")}
