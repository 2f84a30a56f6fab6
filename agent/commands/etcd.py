"""`agent etcd`."""

import argparse
import json
import sys

from agent.waits import Waits
from units.errors import BootwrightError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    status = verbs.add_parser(
        "status", help="members, leader, sizes, alarms, disk latency, last backup", allow_abbrev=False
    )
    status.add_argument("--json", action="store_true", help="everything, for scripts")
    backup = verbs.add_parser("backup", help="take a backup now", allow_abbrev=False)
    backup.add_argument("--reason", default="asked for by hand", help="kept with the backup")
    backup.add_argument(
        "--scheduled", action="store_true", help="what the timer runs: only on the leader's machine, only when due"
    )
    care = verbs.add_parser(
        "care", help="what the timer runs: defragment, clear a full database, test a backup, tell", allow_abbrev=False
    )
    for one in (status, backup, care):
        one.add_argument("--cluster", metavar="NAME", help="main or events; all of this machine if left out")
    down = verbs.add_parser("step-down", help="hand leadership on, before etcd stops", allow_abbrev=False)
    down.add_argument("--url", required=True, help="of this machine's member")


def run(arguments: argparse.Namespace) -> int:
    return {"status": _status, "backup": _backup, "care": _care, "step-down": _step_down}[arguments.verb](arguments)


def _status(arguments: argparse.Namespace) -> int:
    """0 if every cluster is ready and its last backup is known; else 1."""
    from agent.etcd.node import EtcdNode

    node = EtcdNode.open(limit=5.0)
    lives = [node.look(here) for here in node.clusters(arguments.cluster)]
    if arguments.json:
        sys.stdout.write(json.dumps([live.state.model_dump(mode="json") for live in lives], indent=1) + "\n")
    else:
        from agent.etcd.node import utc_now
        from agent.etcd.screen import print_etcd

        for live in lives:
            print_etcd(live.state, live.conditions, utc_now())
    return 0 if all(live.state.ready for live in lives) else 1


def _backup(arguments: argparse.Namespace) -> int:
    from agent.etcd.node import EtcdNode
    from agent.etcd.rounds import back_up

    node = EtcdNode.open()
    for here in node.clusters(arguments.cluster):
        said = back_up(node, here, scheduled=arguments.scheduled, reason=arguments.reason)
        sys.stdout.write(f"etcd {here.name}: {said}\n")
    return 0


def _care(arguments: argparse.Namespace) -> int:
    """The worst exit code of what went wrong."""
    from agent.etcd.node import EtcdNode
    from agent.etcd.rounds import care_and_tell

    done, failures = care_and_tell(EtcdNode.open(), arguments.cluster, Waits())
    for said in done:
        sys.stdout.write(f"{said}\n")
    for error in failures:
        sys.stderr.write(f"{error.code}: {error}\n")
    return max((error.exit_code for error in failures), default=0)


def _step_down(arguments: argparse.Namespace) -> int:
    """Always 0: it runs as etcd is being stopped, and nothing may hold that up."""
    from agent.etcd.care import step_down
    from agent.etcd.health import local_clients_at

    try:
        said = step_down(local_clients_at(arguments.url))
    except BootwrightError as error:
        said = f"leadership was not moved: {error}"
    sys.stdout.write(f"etcd: {said}\n")
    return 0
