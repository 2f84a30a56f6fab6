"""EC2 as the coordinator asks it: which machines a cluster has, which are gone, and what a silent one printed."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from coordinator.aws.session import Aws, error_code, translated
from coordinator.console_output import agents_words
from units.errors import BootwrightError

GROUP_TAG: Final = "bootwright.io/group"
ENDED: Final = frozenset({"shutting-down", "terminated", "stopping", "stopped"})
FILTER_VALUES: Final = 200  # EC2's own limit
_CONSOLE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Machine:
    """An instance that EC2 knows. `group` is empty if its tag is missing."""

    instance_id: str
    group: str
    state: str
    machine_type: str
    zone: str
    private_dns: str
    launched: datetime
    state_reason: str = ""

    @property
    def runs(self) -> bool:
        return self.state not in ENDED


@dataclass(frozen=True, slots=True)
class Checks:
    """EC2's two status checks: ok, impaired, initializing, insufficient-data."""

    system: str
    instance: str


class Ec2:
    """Reads only. Safe to share among threads."""

    def __init__(self, aws: Aws) -> None:
        self._client = aws.client("ec2")

    def of_cluster(self, cluster: str) -> tuple[Machine, ...]:
        """Every instance with the cluster's tag, the ended ones too as long as EC2 remembers them (an hour)."""
        return tuple(self._described([{"Name": "tag-key", "Values": [f"kubernetes.io/cluster/{cluster}"]}]))

    def gone(self, instance_ids: Collection[str]) -> frozenset[str]:
        """Those that are stopped or terminated. Nobody, if EC2 cannot be asked or knows none of them: another account
        or region would else look like a dead fleet.
        """
        asked = sorted(instance_ids)
        found: dict[str, Machine] = {}
        try:
            for start in range(0, len(asked), FILTER_VALUES):
                chosen = [{"Name": "instance-id", "Values": asked[start : start + FILTER_VALUES]}]
                found |= {machine.instance_id: machine for machine in self._described(chosen)}
        except BootwrightError:
            return frozenset()
        if not found:
            return frozenset()
        return frozenset(one for one in asked if one not in found or not found[one].runs)

    def checks(self, instance_ids: Collection[str]) -> dict[str, Checks]:
        asked, found = sorted(instance_ids), {}
        for start in range(0, len(asked), 100):
            with translated("ec2:DescribeInstanceStatus", "*"):
                answer = self._client.describe_instance_status(
                    InstanceIds=asked[start : start + 100], IncludeAllInstances=True
                )
            for one in answer.get("InstanceStatuses", ()):
                checks = Checks(
                    one.get("SystemStatus", {}).get("Status", ""), one.get("InstanceStatus", {}).get("Status", "")
                )
                found[str(one["InstanceId"])] = checks
        return found

    def console(self, instance_id: str) -> tuple[str, ...]:
        """What the agent said last on the machine's console; if it said nothing, the last lines of all."""
        from botocore.exceptions import ClientError

        with translated("ec2:GetConsoleOutput", instance_id):
            try:
                answer = self._client.get_console_output(InstanceId=instance_id, Latest=True)
            except ClientError as error:
                if error_code(error) != "UnsupportedOperation":  # only machines on Nitro have a latest
                    raise
                answer = self._client.get_console_output(InstanceId=instance_id)
        return agents_words(str(answer.get("Output", ""))[-_CONSOLE_BYTES:])

    def _described(self, filters: list[dict[str, Any]]) -> Iterator[Machine]:
        with translated("ec2:DescribeInstances", "*"):
            for page in self._client.get_paginator("describe_instances").paginate(Filters=filters):
                for reservation in page.get("Reservations", ()):
                    yield from (_machine(instance) for instance in reservation.get("Instances", ()))


def _machine(found: dict[str, Any]) -> Machine:
    tags = {str(tag["Key"]): str(tag["Value"]) for tag in found.get("Tags", ())}
    return Machine(
        instance_id=str(found["InstanceId"]),
        group=tags.get(GROUP_TAG, ""),
        state=str(found.get("State", {}).get("Name", "")),
        machine_type=str(found.get("InstanceType", "")),
        zone=str(found.get("Placement", {}).get("AvailabilityZone", "")),
        private_dns=str(found.get("PrivateDnsName", "")),
        launched=found["LaunchTime"],
        state_reason=str(found.get("StateReason", {}).get("Message", "")),
    )
