"""`agent boot`."""

import argparse
import sys
from contextlib import suppress

from agent.boot import boot
from agent.boot_timeline import record_boot
from agent.defects import told_as_defect
from agent.node import RealNode
from agent.run_state import STATUS, running_alone
from units.errors import Invalid
from units.status import NodeStatus, decode_status


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace) -> int:
    with running_alone("boot"):
        node = RealNode(_earlier_try())
        node.reporter.at_end = record_boot
        with told_as_defect(node.reporter):
            exit_code = boot(node)
    sys.stdout.write(summary(node.reporter.status) + "\n")
    return exit_code


def _earlier_try() -> NodeStatus | None:
    """What an earlier run since this machine started has left: what is wrong since then stays known as such."""
    with suppress(OSError, Invalid):
        return decode_status(STATUS.read_bytes())
    return None


def summary(status: NodeStatus) -> str:
    """The last lines of a boot: what a person reads on the console."""
    counts = dict.fromkeys(("changed", "unchanged", "failed", "skipped"), 0)
    for resource in status.resources:
        counts[resource.status] = counts.get(resource.status, 0) + 1
    if status.stage == "ready" and not counts["changed"]:
        text = f"nothing to change: {counts['unchanged']} resources are as serial {status.serial} wants them"
    elif status.stage == "ready":
        text = f"serial {status.serial} applied: {counts['changed']} changed, {counts['unchanged']} unchanged"
    else:
        done = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        text = f"{status.stage}{f': {done}' if done else ''}"
    lines = [f"agent boot: {status.group or '(not enrolled)'} on {status.instance_id or '?'}: {text}"]
    for condition in status.conditions:
        lines.append(f"  {condition.severity}: {condition.code}: {condition.message}")
        if condition.remedy:
            lines.append(f"    remedy: {condition.remedy}")
    return "\n".join(lines)
