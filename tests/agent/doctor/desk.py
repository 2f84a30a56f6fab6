"""The operator's desk: what `coordinator validate` says of a machine, from all of it that reached AWS.

That is the machine's status object; or, if none came, what EC2 keeps of its console.
"""

import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.commands.boot import summary
from coordinator.aws.ec2 import Checks, Machine
from coordinator.console_output import agents_words
from coordinator.directory_store import DirectoryStore
from coordinator.inventory import Inventory
from coordinator.layout import GROUPS, STATUS
from coordinator.spec import load_spec
from coordinator.state import NOTE_FIELD, PublishedGroup, State
from coordinator.validate import Facts, Silence, judge
from coordinator.validate_report import Fault
from tests.agent.doctor.imds import INSTANCE
from tests.agent.repository.conftest import Publisher
from units.manifest import Manifest, manifest_digest
from units.status import NodeStatus

# What else prints on a console: the journal puts the unit's name before the agent's lines.
_BEFORE = "[    2.031441] EXT4-fs (nvme0n1p1): mounted filesystem\r\ncloud-init[417]: Cloud-init v. 25.1.4 running\r\n"
SPEC = """\
apiVersion: bootwright.io/v1
kind: Cluster
metadata:
  name: demo
kubernetesVersion: 1.36.2
region: eu-west-1
store: s3://bucket
network:
  vpc: vpc-0a1b2c3d4e5f60718
  cidr: 10.98.0.0/20
  subnets:
    - zone: eu-west-1a
      id: subnet-0a1b2c3d4e5f60718
api:
  endpoint: api.demo
instanceGroups:
  - name: control-plane
    role: control-plane
    machineType: m7g.large
    image: ami-0a1b2c3d4e5f60718
  - name: node
    role: node
    machineType: m7g.large
    image: ami-0a1b2c3d4e5f60718
"""


@dataclass(frozen=True)
class Desk:
    """`stable`: what the machine should run."""

    publisher: Publisher
    stable: Manifest
    folder: Path

    def validate(self, status: NodeStatus, sent: bytes | None) -> list[Fault]:
        """What validate has to say of the one machine. `sent`: the status object that it wrote, if it could."""
        now, store, group = datetime.now(UTC), DirectoryStore(self.folder), self.stable.group.name
        if sent is not None:
            store.put(f"{STATUS}{INSTANCE}.json", sent)
        machine = Machine(INSTANCE, group, "running", "m7g.large", "eu-west-1a", "", now - timedelta(minutes=5))
        silence = Silence(Checks("ok", "ok"), agents_words(_console(status)))
        facts = Facts(
            spec=load_spec(SPEC),
            now=now,
            state=self._state(),
            rows=Inventory(store, lambda: now).rows(),
            machines=(machine,),
            silences={} if sent is not None else {INSTANCE: silence},
        )
        return [fault for fault in judge(facts).faults if fault.kind not in ("InstanceGroup", "Metadata", "Etcd")]

    def _state(self) -> State:
        """As the coordinator reads it; the publisher of these tests signs neither notes nor digests."""
        publisher, path = self.publisher, f"{GROUPS}{self.stable.group.name}.json"
        targets = copy.deepcopy(publisher.targets)
        targets.unrecognized_fields = {NOTE_FIELD: {"at": "2026-06-01T00:00:00Z", "by": "tests", "what": "publish"}}
        custom = PublishedGroup.custom(7, manifest_digest(self.stable), "2026-06-01T00:00:00Z")
        targets.targets[path].unrecognized_fields = {"custom": custom}
        return State(
            root=publisher.root,
            root_bytes=b"",
            timestamp=publisher.timestamp,
            timestamp_etag="",
            snapshot=publisher.snapshot,
            targets=targets,
            targets_sha256="",
        )


def _console(status: NodeStatus) -> str:
    lines = summary(status).splitlines()
    return _BEFORE + "".join(f"[   16.541002] bootwright[578]: {line}\r\n" for line in lines) + _BEFORE
