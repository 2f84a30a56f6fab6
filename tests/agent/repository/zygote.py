"""Runs refreshes in forked children that die: by their own hand before the n-th file operation, or by SIGKILL.

One line of orders in, one word out. Forking needs a process without threads, which a test run is not.
"""

import json
import os
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

import agent.aws.fetch
from agent.aws.credentials import Credentials
from agent.aws.s3 import S3, Bucket
from agent.repository import Repository
from agent.settings import Settings
from units.errors import BootwrightError

FILE_OPERATIONS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.symlink", "os.rmdir", "os.chmod"})


class Clock:
    def __init__(self, now: str) -> None:
        self._now = datetime.fromisoformat(now)

    def now(self) -> datetime:
        return self._now


def die_at(number: int) -> None:
    left = number

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event not in FILE_OPERATIONS:
            return
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            return  # reading leaves no trace
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    sys.addaudithook(hook)


def child(place: dict[str, str], order: dict[str, object]) -> int:
    s3 = S3(Bucket("demo-bucket", "eu-west-1", place["url"]), lambda: Credentials("AKID", "s"))
    node = Repository(
        Settings.model_validate(order["settings"]),
        s3,
        clock=Clock(place["now"]),
        state_dir=Path(place["state"]),
        baked_root=Path("/nonexistent"),
    )
    if isinstance(order["die_at"], int):
        die_at(order["die_at"])
    try:
        node.refresh()
    except BootwrightError as error:
        print("raised", error.code, error.message, file=sys.stderr)
        return 1
    return 0


def main() -> None:
    assert agent.aws.fetch  # imported before the first fork
    for line in sys.stdin:
        place, order = (json.loads(part) for part in line.split("\t"))
        pid = os.fork()
        if pid == 0:
            os._exit(child(place, order))
        if order["kill_after"] is not None:
            time.sleep(order["kill_after"])
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        print("died" if os.WIFSIGNALED(status) else "done" if os.WEXITSTATUS(status) == 0 else "raised", flush=True)


main()
