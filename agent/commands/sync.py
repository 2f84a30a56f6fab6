"""`agent sync`."""

import argparse
import sys

from agent.commands.boot import summary
from agent.node import STATUS, RealNode, running_alone
from agent.sync import NOTHING_NEW, sync
from units.errors import Retryable
from units.status import decode_status


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace) -> int:
    with running_alone("sync"):
        if not STATUS.exists():
            raise Retryable("not-booted", "`agent boot` has not run since this machine started")
        status = decode_status(STATUS.read_bytes())
        node = RealNode(status)
        exit_code, done = sync(node, status)
    sys.stdout.write(f"agent sync: {done}\n")
    if done != NOTHING_NEW:
        sys.stdout.write(summary(node.reporter.status) + "\n")
    return exit_code
