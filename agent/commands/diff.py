"""`agent diff`: the plan of the signed manifest against this machine, without touching it."""

import argparse
import sys

from agent.boot import compare_target, find_target
from agent.node import RealNode
from agent.run_state import running_alone
from units.report import Report

CHANGES_PENDING = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--detailed-exitcode", action="store_true", help=f"exit {CHANGES_PENDING} if there is something to change"
    )


def run(arguments: argparse.Namespace) -> int:
    with running_alone("diff"):
        node = RealNode(quiet=True)
        report = compare_target(node, find_target(node))
    sys.stdout.write(text(report))
    return CHANGES_PENDING if report.changed and arguments.detailed_exitcode else 0


def text(report: Report) -> str:
    lines = []
    for outcome in report.outcomes:
        if outcome.change:
            lines.append(f"~ {outcome.key}: {outcome.change.summary}")
            lines += [f"    {line}" for line in outcome.change.diff.splitlines()]
        if outcome.failure:
            # In a dry run later resources look at what earlier ones would have made: not an error of this machine.
            lines.append(f"? {outcome.key}: cannot be told before the changes above: {outcome.failure.message}")
    same = sum(outcome.status == "unchanged" for outcome in report.outcomes)
    lines.append(f"{len(report.changed)} to change, {same} unchanged; nothing was changed")
    return "\n".join(lines) + "\n"
