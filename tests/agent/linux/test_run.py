"""The only place that starts a process."""

import os
import signal
import time
from pathlib import Path

import pytest

from agent.linux import run as module
from agent.linux.run import ENVIRONMENT, STDERR_LIMIT, run, running
from units.errors import Fatal, Retryable


def python(code: str) -> list[str]:
    return ["python3", "-c", code]


def test_output_and_exit_code_come_back_whole() -> None:
    completed = run(["sh", "-c", "echo out; echo complaint >&2; exit 3"], timeout=10, allowed=(0, 3))
    assert (completed.text, completed.exit_code, completed.complaint()) == ("out\n", 3, "out | complaint")


def test_an_exit_code_that_is_not_allowed_is_fatal_with_the_last_lines() -> None:
    with pytest.raises(Fatal, match=r"ended with 4: line 3 \| line 4 \| line 5 \| line 6 \| line 7$") as failed:
        run(["sh", "-c", "for n in 1 2 3 4 5 6 7; do echo line $n >&2; done; exit 4"], timeout=10)
    assert failed.value.code == "tool-failed"


def test_only_the_last_lines_of_a_long_complaint_are_told() -> None:
    completed = run(["sh", "-c", "seq 1 1000 >&2; exit 1"], timeout=10, allowed=None)
    assert completed.complaint(3) == "998 | 999 | 1000"


def test_a_missing_tool_is_named_and_so_is_the_cure() -> None:
    with pytest.raises(Fatal, match="cannot run no-such-tool") as missing:
        run(["no-such-tool"], timeout=10)
    assert missing.value.code == "tool-missing"
    assert "image" in missing.value.remedy


def test_arguments_are_never_read_by_a_shell(tmp_path: Path) -> None:
    trap = f"$(touch {tmp_path}/trap); `touch {tmp_path}/trap` | touch {tmp_path}/trap"
    assert run(["printf", "%s", trap], timeout=10).text == trap
    assert not (tmp_path / "trap").exists()


def test_nothing_of_our_environment_reaches_a_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("LD_PRELOAD", "/nowhere.so")
    completed = run(["env"], timeout=10)
    assert dict(line.split("=", 1) for line in completed.text.splitlines()) == ENVIRONMENT


def test_more_input_than_a_pipe_holds_arrives_and_comes_back() -> None:
    content = os.urandom(1024 * 1024)
    assert run(["cat"], timeout=30, stdin=content).stdout == content


def test_a_tool_that_does_not_read_its_input_does_not_block_us() -> None:
    assert run(["true"], timeout=10, stdin=bytes(1024 * 1024)).exit_code == 0


def test_without_input_a_tool_reads_nothing() -> None:
    assert run(["cat"], timeout=10).stdout == b""


def test_endless_output_is_cut_off_and_an_error() -> None:
    with pytest.raises(Fatal, match="more than"):
        run(["head", "-c", "10000000", "/dev/zero"], timeout=30)


def test_endless_complaints_keep_their_end() -> None:
    code = "import sys; sys.stderr.write('x' * 300000 + '\\nthe reason\\n'); sys.exit(1)"
    completed = run(python(code), timeout=30, allowed=None)
    assert len(completed.stderr) == STDERR_LIMIT
    assert completed.complaint(1) == "the reason"


def test_output_is_not_printed_with_the_result() -> None:
    completed = run(["tee", "/dev/stderr"], timeout=10, stdin=b"hunter2")
    assert completed.stdout == completed.stderr == b"hunter2"
    assert "hunter2" not in repr(completed)


def test_a_tool_that_hangs_is_killed_with_its_children_and_can_be_tried_again(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(Retryable, match="did not end within 2 s") as late:
        run(["sh", "-c", f"sleep 600 & echo $! > {note}; wait"], timeout=2)
    assert late.value.code == "tool-timeout"
    assert _ends(int(note.read_text()))


def test_a_child_left_behind_that_holds_the_output_open_does_not_hold_us_for_ever(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    with pytest.raises(Retryable):
        run(["sh", "-c", f"sleep 600 & echo $! > {note}"], timeout=2)
    assert _ends(int(note.read_text()))


def test_a_tool_ended_by_a_signal_is_fatal() -> None:
    with pytest.raises(Fatal, match=f"ended with -{int(signal.SIGKILL)}"):
        run(["sh", "-c", "kill -KILL $$"], timeout=10)


def test_no_descriptor_leaks() -> None:
    run(["true"], timeout=10)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        run(["echo", "x"], timeout=10, stdin=b"y")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_subprocess_is_imported_here_and_nowhere_else_in_the_agent() -> None:
    package = Path(module.__file__).parents[1]
    importers = [path for path in package.rglob("*.py") if "import subprocess" in path.read_text()]
    assert importers == [Path(module.__file__)]


def _ends(pid: int) -> bool:
    """The process is gone, or dead and waiting for its parent; the kernel may take a moment."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_process_beside_us_ends_with_its_block_and_leaves_its_words(tmp_path) -> None:
    log = tmp_path / "log"
    with running(["sh", "-c", "echo here; sleep 600 & wait"], log=log) as ended:
        deadline = time.monotonic() + 20
        while not log.read_bytes():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert ended() is None
    assert log.read_text() == "here\n"
    assert ended() is not None
