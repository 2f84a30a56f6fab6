"""Runs one process and says what it cost, by the kernel's own account."""

import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    return Sample(ended - begun, usage.ru_utime + usage.ru_stime, texts[0], usage.ru_maxrss / 1024)
