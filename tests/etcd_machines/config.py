"""What one machine is told at its start, and the manifest and facts that follow from it."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pki.authority import Authority
from pki.certificate import load_certificate
from pki.keys import PrivateKeyPem, load_private_key
from tests.units.sample import manifest as sample_manifest
from units.facts import NodeFacts, sample_facts
from units.manifest import Authority as PublicAuthority
from units.manifest import EtcdCluster, EtcdMember, Group, Manifest

ZONE = "eu-west-1a"
AUTHORITIES = ("etcd-clients", "etcd-peers")


@dataclass(frozen=True)
class Config:
    shared: str
    member: str
    members: list[str]
    instance: str
    address: str
    binaries: str  # folder with etcd, etcdctl, etcdutl
    rounds: float = 0.0  # seconds between the rounds of backup and care; 0 for none (a node makes them every 5 min)
    care: bool = True  # else rounds only look, until a test says otherwise
    quota: int = 8 * 1024**3
    room: bool = False  # its volumes have an end, and room on them is looked after
    flags: dict[str, str] = field(default_factory=dict)  # of etcd

    @classmethod
    def read(cls, path: str) -> "Config":
        return cls(**json.loads(Path(path).read_text()))

    @property
    def manifest(self) -> Manifest:
        groups = {name: f"cp-{name}" for name in self.members}
        sample = sample_manifest("control-plane")
        bundles = {name: (Path(self.shared) / f"{name}.crt").read_text() for name in AUTHORITIES}
        authorities = tuple(
            PublicAuthority(name=a.name, bundle=bundles.get(a.name, a.bundle)) for a in sample.trust.authorities
        )
        members = tuple(EtcdMember(name=name, zone=ZONE, group=groups[name]) for name in self.members)
        main = EtcdCluster(name="main", members=members, quota_bytes=self.quota, extra_args=self.flags)
        return sample.model_copy(
            update={
                "group": Group(name=groups[self.member], role="control-plane", zones=(ZONE,)),
                "etcd": (main,),
                "trust": sample.trust.model_copy(update={"authorities": authorities}),
            }
        )

    @property
    def facts(self) -> NodeFacts:
        return dataclasses.replace(
            sample_facts(zone=ZONE, region="eu-west-1"),
            instance_id=self.instance,
            private_ip=self.address,
            etcd_version=(3, 5),
        )

    @property
    def authorities(self) -> dict[Any, Authority]:
        """With their keys: a control-plane node issues its own certificates."""
        shared = Path(self.shared)
        return {
            name: Authority(
                load_certificate((shared / f"{name}.crt").read_bytes()),
                load_private_key(PrivateKeyPem((shared / f"{name}.key").read_bytes())),
            )
            for name in AUTHORITIES
        }
