"""The only place that starts a process: no shell, a fixed environment, a deadline, bounded output."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from units.errors import Fatal, Retryable

# Nothing of the agent's own environment reaches a tool: no locale, no LD_*, no proxy, no credentials.
ENVIRONMENT: Mapping[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "HOME": "/",
}
STDOUT_LIMIT = 4 * 1024 * 1024  # names of a thousand images are 100 kB
STDERR_LIMIT = 64 * 1024
_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that ended by itself. `stdout` is whole; of `stderr` the last 64 KiB are kept."""

    arguments: tuple[str, ...]
    exit_code: int  # negative: ended by that signal
    stdout: bytes = field(repr=False)
    stderr: bytes = field(repr=False)

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    def complaint(self, lines: int = 5) -> str:
        """The last lines of what it printed, joined into one; stderr last. e2fsck gives its reasons on stdout."""
        return last_lines(self.stdout[-STDERR_LIMIT:] + b"\n" + self.stderr, lines)


class Run(Protocol):
    """How the adapters start a tool; given to them, so that a test can play a recorded answer."""

    def __call__(
        self, arguments: Sequence[str], *, timeout: float, stdin: bytes = b"", allowed: tuple[int, ...] | None = (0,)
    ) -> Completed: ...


def run(
    arguments: Sequence[str], *, timeout: float, stdin: bytes = b"", allowed: tuple[int, ...] | None = (0,)
) -> Completed:
    """Run a tool to its end, at most `timeout` seconds; with `allowed=None` any exit code is an answer.

    Raises Fatal `tool-missing` or `tool-failed` (exit code not in `allowed`, output over the limit), and Retryable
    `tool-timeout`. At the deadline, or when the agent is interrupted, the tool's whole process group is killed.
    """
    try:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(ENVIRONMENT),
            cwd="/",
            start_new_session=True,  # its own group: a deadline ends its children too
        )
    except OSError as error:
        raise Fatal(
            "tool-missing",
            f"cannot run {arguments[0]}: {error.strerror}",
            remedy="the image lacks a package: bake it again with packer/install.sh",
        ) from error
    try:
        stdout, stderr = _exchange(process, stdin, time.monotonic() + timeout)
    except TimeoutError:
        raise Retryable("tool-timeout", f"`{' '.join(arguments)}` did not end within {timeout:.0f} s") from None
    finally:
        _end(process)
    completed = Completed(tuple(arguments), process.returncode, stdout, stderr)
    if len(stdout) > STDOUT_LIMIT:
        raise Fatal("tool-failed", f"`{' '.join(arguments)}` printed more than {STDOUT_LIMIT} bytes")
    if allowed is not None and completed.exit_code not in allowed:
        raise Fatal(
            "tool-failed",
            f"`{' '.join(arguments)}` ended with {completed.exit_code}: {completed.complaint() or 'it said nothing'}",
        )
    return completed


@contextmanager
def running(arguments: Sequence[str], *, log: Path, niceness: int = 0) -> Iterator[Callable[[], int | None]]:
    """A process beside us for as long as the block lasts; yields a function that tells its exit code, None if it runs.

    Its output goes to `log`. At the end its whole group is killed: only for what may be killed at any moment.
    """
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                ["nice", "-n", str(niceness), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(ENVIRONMENT),
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise Fatal("tool-missing", f"cannot run {arguments[0]}: {error.strerror}") from error
        try:
            yield process.poll
        finally:
            _end(process)


def last_lines(output: bytes, count: int) -> str:
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    return " | ".join(line[:500] for line in lines[-count:])


def _exchange(process: subprocess.Popen[bytes], stdin: bytes, deadline: float) -> tuple[bytes, bytes]:
    """Feed stdin and drain both outputs, never holding more than the limits; TimeoutError at the deadline."""
    assert process.stdout
    assert process.stderr
    stdout, stderr, sent = bytearray(), bytearray(), 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        if process.stdin:
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin, selectors.EVENT_WRITE)
        while selector.get_map():
            for key, _ in selector.select(_left(deadline)):
                if key.fileobj is process.stdin:
                    sent += _feed(key.fd, stdin[sent : sent + _CHUNK])
                    if sent >= len(stdin):
                        selector.unregister(process.stdin)
                        process.stdin.close()
                elif not (chunk := os.read(key.fd, _CHUNK)):
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stdout:
                    stdout += chunk[: STDOUT_LIMIT + 1 - len(stdout)]
                else:
                    stderr += chunk
                    del stderr[:-STDERR_LIMIT]
    try:
        process.wait(_left(deadline))
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return bytes(stdout), bytes(stderr)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _feed(descriptor: int, chunk: bytes) -> int:
    try:
        return os.write(descriptor, chunk)
    except BrokenPipeError:  # it closed its input early: what it has to say is in its exit code
        return len(chunk)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Unless it ended by itself: kill the group while its leader is not reaped (so the number is still ours)."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()
