"""What `tests.bench.peer` measures of bootwright: a control-plane node's certificates, kubeconfigs, pods and configs.

Everything that writes such a file in the plan of a real manifest, on a sandbox root; nothing of the rest of a boot. The
authorities' keys come from a folder, where kubeadm finds its own too.
"""

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from agent.linux.clock import LinuxClock
from agent.linux.files import LinuxFiles
from pki.authority import Authority
from pki.keys import PrivateKeyPem, load_public_key
from pki.request import CertificateRequest
from tests.bench.child import order
from units.converge import converge
from units.credentials import Certificate, SecretFile
from units.facts import sample_facts
from units.files import Directory, File
from units.host import Host
from units.manifest import Manifest, decode_release
from units.memory import MemoryHost, MemorySecrets
from units.plan import Plan, plan
from units.pods import StaticPod
from units.resource import Resource

KINDS = (Directory, File, SecretFile, Certificate, StaticPod)
# What kubeadm does at another time, or not at all: kube-proxy, the issuer, containerd, the kernel, an operator's file.
_NOT_COMPARED = (
    "kube-proxy",
    "issuer",
    "/etc/containerd",
    "/etc/cni",
    "crictl",
    "modules-load",
    "sysctl",
    "extra-file",
)


class FolderSecrets:
    """Implements `units.host.Secrets` on plain key files, as kubeadm does."""

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self._manifest = manifest
        self._folder = folder
        self._authorities: dict[str, Authority] = {}

    def open(self, name: str) -> bytes:
        return (self._folder / f"{name}.key").read_bytes()

    def issue(self, request: CertificateRequest, public_key_pem: bytes) -> bytes:
        name = request.authority
        if name not in self._authorities:
            public = self._manifest.trust.authority(name)
            self._authorities[name] = Authority.load(public.signing.encode(), PrivateKeyPem(self.open(public.secret)))
        return self._authorities[name].issue(request, load_public_key(public_key_pem), datetime.now(UTC))


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace) -> int:
    here = order()
    here.watch.ends("imports")
    folder = Path(here.root)
    data = (folder / "release.json").read_bytes()
    cluster, group = (folder / "names").read_text().split()
    manifest = decode_release(data, cluster=cluster, group=group).stable
    facts = sample_facts(zone=f"{manifest.cluster.region}a", region=manifest.cluster.region)
    everything = plan(manifest, facts)
    wanted = Plan(tuple(one for one in everything.resources if _compared(one)))
    here.watch.ends("plan")
    report = converge(wanted, _host(manifest, folder))
    here.watch.ends("converge")
    failed = [outcome.key for outcome in report.outcomes if outcome.failure]
    here.tell({"exit_code": len(failed), "text": ", ".join(failed), "calls": {}, "resources": len(wanted.resources)})
    return len(failed)


def _compared(resource: Resource) -> bool:
    return isinstance(resource, KINDS) and not any(word in resource.key for word in _NOT_COMPARED)


def _host(manifest: Manifest, folder: Path) -> Host:
    """What is not asked for stands in memory."""
    memory = MemoryHost(MemorySecrets({}, {}, datetime.now(UTC))).host
    files = LinuxFiles(folder / "root", own=False)
    return replace(memory, files=files, secrets=FolderSecrets(manifest, folder), clock=LinuxClock())
