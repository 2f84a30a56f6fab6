"""`coordinator validate`."""

from typing import TYPE_CHECKING, Annotated

import typer

from coordinator.commands.options import ClusterName, EndpointUrl, File, Json, Keys, Region, StoreUrl
from coordinator.console import note, print_json, say, show_table, warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordinator.validate_report import Verdict

NOT_READY = 1
_MOST_NODES = 200

HELP = """Say whether the cluster is what its spec says; exit code 0 only if all of it is.

Every group has its machines; every machine has joined, is ready, runs the manifest it should, and has not drifted; no
rollout is under way; etcd has its quorum and fresh backups; nothing expires soon. For a machine that has not joined it
says why: in the machine's own words, or, if it never got as far as the store, from EC2's checks and its console.

\b
Examples:
  coordinator validate -f cluster.yaml
  coordinator validate -f cluster.yaml --wait 15m
  coordinator validate -f cluster.yaml --json | jq '.failures[]'
"""


def register(app: typer.Typer) -> None:
    app.command(help=HELP, short_help="Say whether the cluster is what its spec says.")(validate)


def validate(
    *,
    wait: Annotated[
        str | None, typer.Option("--wait", help="Look again until all is well, for at most so long.", metavar="TIME")
    ] = None,
    interval: Annotated[str, typer.Option("--interval", help="With --wait.", metavar="TIME")] = "10s",
    json: Json = False,
    file: File = None,
    store: StoreUrl = None,
    cluster: ClusterName = None,
    region: Region = None,
    endpoint_url: EndpointUrl = None,
    keys: Keys = None,
) -> None:
    from coordinator.aws.ec2 import Ec2
    from coordinator.location import Where, locate
    from coordinator.rollouts_sight import lookout_of
    from coordinator.validate import judge
    from coordinator.validate_facts import gather
    from units.errors import Invalid

    here = locate(Where(file, store, cluster, region, endpoint_url, keys))
    spec = here.spec
    if spec is None:
        raise Invalid("spec-missing", "validate needs a spec", remedy="coordinator validate -f cluster.yaml")
    lookout, ec2 = lookout_of(here), Ec2(here.aws) if here.bucket is not None else None
    verdict = _patiently(lambda: judge(gather(spec, lookout, ec2)), wait, interval)
    if json:
        print_json(verdict.document)
    else:
        show(verdict)
    if not verdict.ready:
        raise typer.Exit(NOT_READY)


def _patiently(look: "Callable[[], Verdict]", wait: str | None, interval: str) -> "Verdict":
    """The verdict that is good, or the last one before the time is up. Weather is waited out, too."""
    import time

    from coordinator.commands.durations import duration
    from units.errors import Retryable

    pause = max(1.0, duration("--interval", interval).total_seconds())
    end = time.monotonic() + (duration("--wait", wait).total_seconds() if wait else 0.0)
    while True:
        try:
            verdict = look()
        except Retryable as error:
            if time.monotonic() + pause > end:
                raise
            warn(f"{error.message}; tried again in {round(pause)} s")
        else:
            if verdict.ready or time.monotonic() + pause > end:
                return verdict
            first = verdict.faults[0].message.splitlines()[0]
            note(f"not yet: {len(verdict.faults)} errors; the first: {first}")
        time.sleep(pause)


def show(verdict: "Verdict") -> None:
    """The three tables, as people know them from kops."""
    rows = [
        [group.name, group.role, group.machine_type, str(group.min_size), str(group.max_size), ",".join(group.zones)]
        for group in verdict.groups
    ]
    show_table(["NAME", "ROLE", "MACHINETYPE", "MIN", "MAX", "SUBNETS"], rows, title="INSTANCE GROUPS")
    shown = sorted(verdict.nodes, key=lambda node: node.ready)[:_MOST_NODES]
    nodes = [[node.name, node.role, str(node.ready)] for node in shown]
    if len(verdict.nodes) > len(shown):
        nodes.append([f"and {len(verdict.nodes) - len(shown)} more", "", ""])
    show_table(["NAME", "ROLE", "READY"], nodes, title="NODE STATUS")
    if verdict.faults:
        faults = [
            [fault.kind, fault.name, fault.message + (f"\nwhat to do: {fault.remedy}" if fault.remedy else "")]
            for fault in verdict.faults[:_MOST_NODES]
        ]
        show_table(["KIND", "NAME", "MESSAGE"], faults, title="VALIDATION ERRORS")
        warn(f"validation of {verdict.cluster} failed: {len(verdict.faults)} errors")
    else:
        say(f"Your cluster {verdict.cluster} is ready")
