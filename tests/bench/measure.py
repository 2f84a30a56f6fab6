"""Runs one process and says what it cost, by the kernel's own account."""

import json
import os
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_LIMIT = 600.0  # seconds


class MeasuredFailed(RuntimeError):
    """A measured process did not do what was to be measured."""


@dataclass(frozen=True, slots=True)
class Sample:
    """From exec to the end, in seconds; `cpu` is user and system together."""

    wall: float
    cpu: float
    output: str = field(repr=False)
    peak_mib: float = 0.0  # resident

    @property
    def result(self) -> dict[str, Any]:
        """The JSON on the last line of what it printed."""
        document: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return document


def run_once(command: Sequence[str], environment: Mapping[str, str]) -> Sample:
    """`{now}` in the command stands for the monotonic time of its start."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaint:
        begun = time.monotonic()
        process = subprocess.Popen(
            [repr(begun) if word == "{now}" else word for word in command],
            env=dict(environment),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaint,
        )
        limit = threading.Timer(_LIMIT, process.kill)
        limit.start()
        peak = _Peak(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        ended = time.monotonic()
        limit.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (output, complaint):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if process.returncode:
        raise MeasuredFailed(
            f"{' '.join(command)}: exit code {process.returncode}: {texts[1][-3000:]}{texts[0][-1000:]}"
        )
    return Sample(ended - begun, usage.ru_utime + usage.ru_stime, texts[0], peak.mib())


class _Peak:
    """The most memory that a process had resident since its exec. wait4's ru_maxrss also counts what this process had
    when it forked: with ten thousand status objects in it that is most of the figure.
    """

    def __init__(self, pid: int) -> None:
        self._path = Path(f"/proc/{pid}/status")
        self._kib = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def mib(self) -> float:
        """Once it has ended."""
        self._thread.join()
        return self._kib / 1024

    def _watch(self) -> None:
        with suppress(OSError):  # it has ended
            while found := re.search(r"^VmHWM:\s+(\d+)", self._path.read_text(), re.MULTILINE):
                self._kib = int(found[1])
                time.sleep(0.02)
