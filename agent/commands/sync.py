"""`agent sync`."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from agent import quick_poll
from agent.aws.imds import Imds
from agent.etcd.relief import keep_room
from agent.run_state import STATUS, read_last_run, running_alone
from agent.sync import NOTHING_NEW, sync
from agent.waits import Waits

if TYPE_CHECKING:
    from agent.node import RealNode


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace) -> int:
    with running_alone("sync"):
        node = _NodeOnDemand()
        waits = Waits(progress=node.progress)
        exit_code, done = sync(
            read_last_run(),
            lambda: quick_poll.changed_since(Imds(waits=waits), waits=waits),
            node.get,
            volumes=lambda: keep_room(outlived, start),
        )
    sys.stdout.write(f"agent sync: {done}\n")
    if done != NOTHING_NEW:
        sys.stdout.write(node.summary() + "\n")
    return exit_code


def outlived(etcd: str, mount: Path) -> tuple[str, ...]:
    from agent.etcd.aside import outlived_on

    return outlived_on(etcd, mount)


def start(etcd: str) -> None:
    """As after a crash, in which systemd's own restarts have ended; one that a person stopped stays so."""
    from agent.linux.systemd import LinuxSystemd

    unit, systemd = f"bootwright-etcd-{etcd}.service", LinuxSystemd()
    if systemd.state(unit).active == "failed":
        systemd.start(unit)


class _NodeOnDemand:
    """The node, made when something is to be done or to be told, and not for a poll that finds nothing."""

    def __init__(self) -> None:
        self._node: RealNode | None = None

    def get(self) -> "RealNode":
        if self._node is None:
            from agent.node import RealNode
            from units.status import decode_status

            self._node = RealNode(decode_status(STATUS.read_bytes()))
        return self._node

    def progress(self, text: str) -> None:
        self.get().reporter.progress(text)

    def summary(self) -> str:
        from agent.commands.boot import summary

        return summary(self.get().reporter.status)
