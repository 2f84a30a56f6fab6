"""`agent sync` on a sandbox, in a measured process: the same steps as `agent.commands.sync`."""

import argparse
from pathlib import Path

from agent import quick_poll
from agent.aws.imds import Imds
from agent.commands import sync as real
from agent.run_state import read_last_run, running_alone
from agent.waits import Waits
from tests.bench.child import order

order().watch.ends("imports")

add_arguments = real.add_arguments


def run(_arguments: argparse.Namespace) -> int:
    here = order()
    place = Path(here.root)
    here.watch.ends("bench")
    with running_alone("sync", place / "run/bootwright/lock"):
        waits = Waits()

        def changed_since() -> bool:
            return quick_poll.changed_since(Imds(here.imds_url, waits=waits), root=place, waits=waits)

        exit_code, text = real.sync(
            read_last_run(place / "run/bootwright/status.json"),
            changed_since,
            _no_node,
            volumes=lambda: real.keep_room(real.outlived, real.start, mounts=place / "var/lib/etcd"),
            stamp=place / "run/bootwright/cluster-objects",
            issued=place / "run/bootwright-issuer/issued",
        )
    here.watch.ends("poll")
    here.tell({"exit_code": exit_code, "text": text, "calls": {}})
    return exit_code


def _no_node() -> None:
    raise AssertionError("a poll that finds nothing needs no node")
