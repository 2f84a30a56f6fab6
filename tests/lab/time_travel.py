"""Moves machines, and AWS as they see it, into the future together; the host and the operator stay where they are."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.lab.live import LiveNode

CLOCK = "/usr/local/lib/lab/clock-is-the-hosts"


@dataclass(frozen=True, slots=True)
class TimeTravel:
    """AWS judges each machine's signatures, and dates what IMDS says, by that machine's clock: no proof fails."""

    nodes: Sequence[LiveNode]

    def to(self, seconds: float) -> None:
        """So far ahead of the host from now on, also after a reboot or a power cut."""
        for node in self.nodes:
            node.scenario.client.fault_imds(node.instance_id, skew=seconds)
            node.sh(f"{CLOCK} {seconds}")
