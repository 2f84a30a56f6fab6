"""Gather: what IMDS and the machine said, as NodeFacts."""

from typing import TYPE_CHECKING, Literal

from agent.linux.machine import MachineFacts
from units.facts import NodeFacts

if TYPE_CHECKING:
    from agent.boot import InstanceLike


def facts_of(instance: "InstanceLike", machine: MachineFacts) -> NodeFacts:
    architecture: Literal["amd64", "arm64"] = "arm64" if instance.architecture == "arm64" else "amd64"
    return NodeFacts(
        instance_id=instance.instance_id,
        region=instance.region,
        zone=instance.zone,
        machine_type=instance.machine_type,
        architecture=architecture,
        private_ip=instance.private_ip,
        private_dns_name=instance.local_hostname,
        memory_bytes=machine.memory_bytes,
        cpus=machine.cpus,
        kernel=machine.kernel,
        containerd_version=machine.containerd_version,
        etcd_version=machine.etcd_version,
        resolved_active=machine.resolved_active,
    )
