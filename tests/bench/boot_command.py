"""`agent boot` on a sandbox, in a measured process: the same steps as `agent.commands.boot`."""

import argparse
from pathlib import Path

from agent.commands import boot as real
from tests.bench.child import order

order().watch.ends("imports")

from tests.bench.tools import ToolsNode
from tests.bench.watched import WatchedNode

add_arguments = real.add_arguments


def run(_arguments: argparse.Namespace) -> int:
    here = order()
    node = _node()
    here.watch.ends("bench")
    exit_code = real.boot(node)
    text = real.summary(node.reporter.status)
    here.watch.ends("report")
    if "save" in here.options:
        node.save()
    started = node.tools.started if isinstance(node, ToolsNode) else []
    here.tell({"exit_code": exit_code, "text": text, "calls": dict(node.calls), "tools": started})
    return exit_code


def _node() -> WatchedNode:
    here = order()
    place = (Path(here.root), here.imds_url, here.watch)
    if "tools" in here.options:
        return ToolsNode(*place, preloaded="preloaded" in here.options)
    return WatchedNode(*place)
