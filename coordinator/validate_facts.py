"""What `coordinator validate` looks at: the signed state, status objects, EC2."""

from typing import TYPE_CHECKING, Final

from coordinator.inventory import LIVES, STALE
from coordinator.rollouts_report import report
from coordinator.rollouts_sight import Lookout
from coordinator.spec.cluster import ClusterSpec
from coordinator.validate import Facts, Silence

if TYPE_CHECKING:
    from coordinator.aws.ec2 import Ec2, Machine

MOST_CONSOLES: Final = 10


def gather(spec: ClusterSpec, lookout: Lookout, ec2: "Ec2 | None") -> Facts:
    """`ec2` None: the cluster's store is a directory, and its machines are whoever writes into it."""
    state = lookout.repository.read()
    rollouts = report(lookout.look(state))
    rows, now = lookout.inventory.rows(), lookout.clock()
    if ec2 is None:
        return Facts(spec, now, state, rows, rollouts)
    machines = ec2.of_cluster(spec.name)
    ended = frozenset(machine.instance_id for machine in machines if not machine.runs)
    known = {machine.instance_id for machine in machines}
    strangers = [row.instance_id for row in rows if row.instance_id not in known and now - row.modified < LIVES]
    heard = {row.instance_id for row in rows if now - row.modified <= STALE}
    silent = [machine for machine in machines if machine.runs and machine.instance_id not in heard]
    return Facts(
        spec=spec,
        now=now,
        state=state,
        rows=rows,
        rollouts=rollouts,
        machines=machines,
        gone=ended | ec2.gone(strangers),
        silences=_silences(ec2, silent),
    )


def _silences(ec2: "Ec2", silent: "list[Machine]") -> dict[str, Silence]:
    if not silent:
        return {}
    checks = ec2.checks([machine.instance_id for machine in silent])
    # The newest first: whoever launches a machine wants to know of that one.
    newest = sorted(silent, key=lambda machine: machine.launched, reverse=True)[:MOST_CONSOLES]
    shown = {machine.instance_id for machine in newest if machine.state == "running"}
    return {
        machine.instance_id: Silence(
            checks.get(machine.instance_id),
            ec2.console(machine.instance_id) if machine.instance_id in shown else (),
        )
        for machine in silent
    }
