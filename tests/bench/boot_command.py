"""`agent boot` on a sandbox, in a measured process: the same steps as `agent.commands.boot`."""

import argparse
from pathlib import Path

from agent.commands import boot as real
from tests.bench.child import order

order().watch.ends("imports")

from tests.bench.watched import WatchedNode

add_arguments = real.add_arguments


def run(_arguments: argparse.Namespace) -> int:
    here = order()
    node = WatchedNode(Path(here.root), here.imds_url, here.watch)
    here.watch.ends("bench")
    exit_code = real.boot(node)
    text = real.summary(node.reporter.status)
    here.watch.ends("report")
    if "save" in here.options:
        node.save()
    here.tell({"exit_code": exit_code, "text": text, "calls": dict(node.calls)})
    return exit_code
