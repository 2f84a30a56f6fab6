"""What `coordinator validate` has found: nodes, faults, and the verdict that they make."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from coordinator.aws.ec2 import Machine
from coordinator.inventory import NodeRow
from coordinator.spec.groups import InstanceGroup


@dataclass(frozen=True, slots=True)
class Fault:
    """One line of VALIDATION ERRORS."""

    kind: str
    name: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of a group: as EC2 has it, as it speaks of itself, or both."""

    instance_id: str
    group: str
    role: str
    machine: Machine | None
    row: NodeRow | None
    ready: bool = False

    @property
    def name(self) -> str:
        return (
            (self.row.name if self.row else "")
            or (self.machine.private_dns if self.machine else "")
            or self.instance_id
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    cluster: str
    groups: tuple[InstanceGroup, ...]
    nodes: tuple[Node, ...]
    faults: tuple[Fault, ...]

    @property
    def ready(self) -> bool:
        return not self.faults

    @property
    def document(self) -> dict[str, Any]:
        return {
            "cluster": self.cluster,
            "ready": self.ready,
            "groups": [
                {
                    "name": group.name,
                    "role": group.role,
                    "machine_type": group.machine_type,
                    "min": group.min_size,
                    "max": group.max_size,
                    "zones": list(group.zones),
                }
                for group in self.groups
            ],
            "nodes": [
                {
                    "name": node.name,
                    "instance_id": node.instance_id,
                    "group": node.group,
                    "role": node.role,
                    "zone": node.row.zone if node.row else node.machine.zone if node.machine else "",
                    "serial": node.row.serial if node.row else None,
                    "ready": node.ready,
                }
                for node in self.nodes
            ],
            "failures": [
                {"kind": fault.kind, "name": fault.name, "message": fault.message, "remedy": fault.remedy or None}
                for fault in self.faults
            ],
        }


def span_text(span: timedelta) -> str:
    seconds = max(0, round(span.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def time_of(text: str) -> datetime | None:
    """What a node or a release says of a moment; None if it is none, or has no zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo else None
