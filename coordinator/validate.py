"""`coordinator validate`: whether the cluster is what its spec says, and if not, every reason. Pure.

As `kops validate cluster` asks, and what it never answers: why a machine has not joined; whether a node runs the
manifest that it should; etcd's quorum and backups; what expires.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from coordinator.aws.ec2 import Checks, Machine
from coordinator.console_output import remedy_of
from coordinator.health import expiry_warnings
from coordinator.inventory import LIVES, STALE, NodeRow
from coordinator.rollouts_report import GroupRollout
from coordinator.spec.cluster import ClusterSpec
from coordinator.spec.groups import InstanceGroup
from coordinator.state import PublishedGroup, State
from coordinator.validate_etcd import etcd_faults
from coordinator.validate_report import Fault, Node, Verdict, span_text, time_of

# A node looks every minute, and a whole run takes seconds.
NOTICE: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Silence:
    """What EC2 knows of a machine that has not written a status, or not for long."""

    checks: Checks | None = None
    console: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """`machines` is None where nobody can be asked for them. `gone`: ids that EC2 calls stopped or terminated."""

    spec: ClusterSpec
    now: datetime
    state: State
    rows: tuple[NodeRow, ...] = field(repr=False)
    rollouts: tuple[GroupRollout, ...] = ()
    machines: tuple[Machine, ...] | None = None
    gone: frozenset[str] = frozenset()
    silences: Mapping[str, Silence] = field(default_factory=dict)


def judge(facts: Facts) -> Verdict:
    nodes: list[Node] = []
    faults: list[Fault] = []
    for group in facts.spec.instance_groups:
        found = list(nodes_of(facts, group))
        faults += _group_faults(facts, group, found)
        for node in found:
            wrong = list(_node_faults(facts, node))
            faults += wrong
            nodes.append(Node(node.instance_id, node.group, node.role, node.machine, node.row, ready=not wrong))
    faults += _untold(facts)
    faults += _etcd_faults(facts)
    for row in facts.rollouts:
        told = f"running, wave {row.wave} of {row.waves}: " if row.state == "running" else ""
        faults.append(Fault("Rollout", row.group, f"{told}{row.gate or 'may go on'}", _onward(row)))
    faults += [Fault("Metadata", warning.split()[0], warning) for warning in expiry_warnings(facts.state, facts.now)]
    return Verdict(facts.spec.name, facts.spec.instance_groups, tuple(nodes), tuple(faults))


def nodes_of(facts: Facts, group: InstanceGroup) -> Iterator[Node]:
    """The group's machines that should be nodes. Status objects of machines that are no more are nobody's."""
    rows = {row.instance_id: row for row in facts.rows}
    known = {machine.instance_id for machine in facts.machines or ()}
    for machine in facts.machines or ():
        if machine.group == group.name and machine.state not in ("shutting-down", "terminated"):
            yield Node(machine.instance_id, group.name, group.role, machine, rows.get(machine.instance_id))
    for row in facts.rows:
        lives = facts.now - row.modified < LIVES and row.instance_id not in facts.gone
        if row.group == group.name and row.instance_id not in known and lives:
            yield Node(row.instance_id, group.name, group.role, None, row)


def _group_faults(facts: Facts, group: InstanceGroup, nodes: list[Node]) -> Iterator[Fault]:
    if group.name not in facts.state.groups:
        yield Fault(
            "InstanceGroup", group.name, f'InstanceGroup "{group.name}" is not published', "coordinator publish"
        )
    if len(nodes) < group.min_size:
        yield Fault(
            "InstanceGroup",
            group.name,
            f'InstanceGroup "{group.name}" did not have enough nodes {len(nodes)} vs {group.min_size}',
            "look at the auto scaling group's activities; its machines need the tags kubernetes.io/cluster/"
            f"{facts.spec.name} and bootwright.io/group={group.name}",
        )


def _untold(facts: Facts) -> Iterator[Fault]:
    """Machines of the cluster that are of no group of the spec."""
    names = {group.name for group in facts.spec.instance_groups}
    for machine in facts.machines or ():
        if machine.runs and machine.group not in names:
            said = (
                f"has the tag bootwright.io/group={machine.group}"
                if machine.group
                else "has no tag bootwright.io/group"
            )
            message = f'machine "{machine.instance_id}" {said}: no group of the spec'
            yield Fault("Machine", machine.instance_id, message, "correct the tag, or terminate it")


def _node_faults(facts: Facts, node: Node) -> Iterator[Fault]:
    row = node.row
    if node.machine is not None and not node.machine.runs:
        why = f": {node.machine.state_reason}" if node.machine.state_reason else ""
        yield Fault("Machine", node.instance_id, f'machine "{node.instance_id}" is {node.machine.state}{why}')
        return
    if row is None:
        yield _not_joined(facts, node)
        return
    age = facts.now - row.modified
    if row.problem:
        yield Fault("Node", node.name, f'node "{node.name}": {row.reason}')
    elif age > STALE:
        silence = facts.silences.get(node.instance_id, Silence())
        yield Fault(
            "Node",
            node.name,
            "; ".join(
                (f'node "{node.name}" was last heard of {span_text(age)} ago, as {row.stage}', *_told_of(silence))
            ),
            remedy_of(silence.console)
            or "is the machine up, and may it write its status? systemctl status bootwright-sync.timer",
        )
    elif row.group != node.group:
        yield Fault(
            "Node", node.name, f'node "{node.name}" says it is of group {row.group!r}, its tag says {node.group!r}'
        )
    else:
        yield from _word_faults(facts, node, row)


def _word_faults(facts: Facts, node: Node, row: NodeRow) -> Iterator[Fault]:
    """Of a node that speaks: what it says of itself."""
    told = f'node "{node.name}" of role "{node.role}"'
    if not row.ready:
        yield Fault(
            "Node", node.name, f"{told} is not ready: {row.stage}: {row.reason or 'no reason given'}", row.remedy
        )
    else:
        yield from (Fault("Node", node.name, f"{told}: {one.code}: {one.message}", one.remedy) for one in row.errors)
    group = facts.state.groups.get(node.group)
    if row.ready and group is not None and (behind := _behind(row, group, facts.now)):
        yield Fault("Node", node.name, f"{told} {behind}{f': {row.why}' if row.why else ''}", "agent sync, on the node")
    if row.drift:
        more = f" and {len(row.drift) - 3} more" if len(row.drift) > 3 else ""
        message = f"{told} has drifted: {', '.join(row.drift[:3])}{more}"
        yield Fault("Drift", node.name, message, "agent diff, on the node; a reboot repairs")
    for one in row.expiring:
        yield Fault("Certificate", node.name, f"{told}: {one.text}", one.remedy)


def _behind(row: NodeRow, group: PublishedGroup, now: datetime) -> str:
    if row.manifest and row.manifest not in (group.manifest_sha256, group.candidate_sha256):
        return f"runs manifest {row.manifest[:12]}; {group.manifest_sha256[:12]} is stable"
    # A step of a rollout is a new serial, too: with the right manifest a node has time to take notice.
    published = time_of(group.published)
    taken_in = row.manifest and published is not None and now - published < NOTICE
    if row.serial < group.serial and not taken_in:
        return f"is on serial {row.serial}; serial {group.serial} is published"
    return ""


def _not_joined(facts: Facts, node: Node) -> Fault:
    """The machine never got as far as the store: what EC2 knows of it."""
    assert node.machine is not None  # a node without machine has a row
    silence = facts.silences.get(node.instance_id, Silence())
    told = [f"EC2 says {node.machine.state}, launched {span_text(facts.now - node.machine.launched)} ago"]
    told += _told_of(silence)
    if not silence.console and node.machine.state == "running":
        told.append("its console shows nothing yet")
    return Fault(
        "Machine",
        node.instance_id,
        f'machine "{node.instance_id}" has not yet joined cluster: {"; ".join(told)}',
        remedy_of(silence.console)
        or f"if it stays so: is its user data that of `coordinator userdata {node.group}`, has its image the agent, "
        "and does it reach S3?",
    )


def _told_of(silence: Silence) -> Iterator[str]:
    if silence.checks is not None:
        yield f"status checks: system {silence.checks.system or '-'}, instance {silence.checks.instance or '-'}"
    if silence.console:
        yield "its console ends with:\n" + "\n".join(f"  {line}" for line in silence.console)


def _etcd_faults(facts: Facts) -> Iterator[Fault]:
    views = [
        view
        for row in facts.rows
        if row.role == "control-plane" and facts.now - row.modified < LIVES and row.instance_id not in facts.gone
        for view in row.etcd
    ]
    oldest = min((machine.launched for machine in facts.machines or ()), default=facts.now)
    for etcd in facts.spec.etcd_clusters:
        yield from etcd_faults(etcd, [view for view in views if view.name == etcd.name], facts.now, oldest)


def _onward(row: GroupRollout) -> str:
    if row.state in ("halted", "paused"):
        return f"coordinator rollout resume {row.group}, or abort"
    return "coordinator advance --watch"
