"""Gather: what IMDS and the machine said, as NodeFacts."""

from agent.aws.imds import Instance
from agent.linux.machine import MachineFacts
from units.facts import NodeFacts


def facts_of(instance: Instance, machine: MachineFacts) -> NodeFacts:
    return NodeFacts(
        instance_id=instance.instance_id,
        account_id=instance.account_id,
        region=instance.region,
        zone=instance.zone,
        machine_type=instance.machine_type,
        architecture=instance.architecture,
        private_ip=instance.private_ip,
        private_dns_name=instance.local_hostname,
        memory_bytes=machine.memory_bytes,
        cpus=machine.cpus,
        kernel=machine.kernel,
        containerd_version=machine.containerd_version,
        etcd_version=machine.etcd_version,
        resolved_active=machine.resolved_active,
    )
