"""Side by side with kubeadm: the same node's certificates, kubeconfigs, static pods and kubelet config, on one machine.

    KUBEADM=/path/to/kubeadm make bench-peer
    python -m tests.bench.peer --kubeadm PATH [--runs 9] [--write]

Both sides get the authorities' keys as files and P-256 for every key, so that neither measures RSA; each run writes
into an empty root. kubeadm runs phase by phase, as its manual has it, and as one `kubeadm init` that skips the rest.
Without a kubeadm nothing is compared, and the exit code is 0: Debian has none, and a stand-in would prove nothing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pki.authority import Authority
from pki.keys import load_private_key, make_key, public_key_pem
from pki.profiles import AUTHORITIES
from tests.bench.figures import medians
from tests.bench.measure import Sample, run_once
from tests.bench.node_venv import NodeVenv, node_venv
from tests.bench.nodes import BOOTSTRAP
from tests.bench.table import DOCUMENT, machine, markdown_table, replace_between, seconds
from tests.units.sample import manifest
from units.envelope import SERVICE_ACCOUNT, authority_secret
from units.facts import sample_facts
from units.manifest import Authority as PublicAuthority
from units.manifest import Manifest, Release, Trust, encode_release

BEGIN, END = "<!-- KUBEADM=PATH make bench-peer WRITE=1 writes from here -->\n", "<!-- to here: peer -->\n"
SKIPPED = "no kubeadm to compare with: KUBEADM=/path/to/kubeadm make bench-peer\n"

# Of `kubeadm init phase`; each is a process.
PHASES = (("certs", "all"), ("kubeconfig", "all"), ("control-plane", "all"), ("etcd", "local"), ("kubelet-start",))
_OTHERS = (
    "preflight,wait-control-plane,upload-config,upload-certs,mark-control-plane,bootstrap-token,"
    "kubelet-finalize,addon,show-join-command"
)
_CONFIG = """\
apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint: {{advertiseAddress: {address}}}
nodeRegistration: {{name: {name}, criSocket: "unix:///run/containerd/containerd.sock"}}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v{version}
encryptionAlgorithm: ECDSA-P256
controlPlaneEndpoint: {endpoint}
networking: {{serviceSubnet: {services}, podSubnet: {pods}}}
"""
# bootwright's name of an authority -> kubeadm's files of it; kubeadm has one authority for etcd, bootwright two.
_KUBEADM_AUTHORITIES = {"kubernetes": "ca", "front-proxy": "front-proxy-ca", "etcd-clients": "etcd/ca"}


class Unusable(Exception):
    """What was given as kubeadm is none."""


@dataclass(frozen=True, slots=True)
class Bench:
    """One cluster's keys, and where both sides work."""

    folder: Path
    keys: Path
    manifest: Manifest
    venv: NodeVenv

    def bootwright(self, number: int) -> tuple[Sample, ...]:
        root = self.folder / f"bootwright-{number}"
        shutil.copytree(self.keys, root)
        words = [str(self.venv.python), "-I", "-c", BOOTSTRAP, str(self.venv.harness), "peer", str(root), "", "{now}"]
        sample = run_once(words, {"PATH": "/usr/bin:/bin"})
        if sample.result["exit_code"]:
            raise RuntimeError(f"bootwright failed at {sample.result['text']}")
        return (sample,)

    def kubeadm(self, kubeadm: Path, number: int, *, at_once: bool = False) -> tuple[Sample, ...]:
        root = self.folder / f"kubeadm-{number}{'-once' if at_once else ''}"
        shutil.copytree(self.keys / "kubeadm", root / "etc/kubernetes/pki")
        (root / "var/lib/kubelet").mkdir(parents=True)
        (root / "kubeadm.yaml").write_text(_config(self.manifest))
        shutil.copy(kubeadm, root / "kubeadm")  # it changes its root to this one, and looks for itself nowhere
        common = ("--config", "/kubeadm.yaml", "--rootfs", str(root))
        if at_once:
            commands = [("init", f"--skip-phases={_OTHERS}", *common)]
        else:
            commands = [("init", "phase", *phase, *common) for phase in PHASES]
        return tuple(run_once([str(kubeadm), *command], {"PATH": "/usr/bin:/bin"}) for command in commands)


def usable(kubeadm: Path) -> str:
    """Its version; Unusable says what is wrong with it."""
    try:
        done = subprocess.run(
            [str(kubeadm), "version", "--output", "short"], check=False, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unusable(f"{kubeadm} cannot be run: {error}") from error
    version = done.stdout.strip()
    if done.returncode or not version.startswith("v1."):
        raise Unusable(f"{kubeadm} is no kubeadm: `version --output short` says {(version or done.stderr)[:200]!r}")
    return version


def prepare(folder: Path, venv: NodeVenv) -> Bench:
    """New authorities, known to both sides."""
    keys = folder / "keys"
    (keys / "kubeadm/etcd").mkdir(parents=True)
    authorities = []
    for name in AUTHORITIES:
        key = make_key()
        authority = Authority.create(name, datetime.now(UTC), key=load_private_key(key))
        authorities.append(PublicAuthority(name=name, bundle=authority.certificate.pem.decode()))
        _write(keys / f"{authority_secret(name)}.key", key.pem)
        if name in _KUBEADM_AUTHORITIES:
            _write(keys / f"kubeadm/{_KUBEADM_AUTHORITIES[name]}.key", key.pem)
            _write(keys / f"kubeadm/{_KUBEADM_AUTHORITIES[name]}.crt", authority.certificate.pem)
    service_account = make_key()
    public = public_key_pem(service_account)
    for path, content in (
        (keys / f"{SERVICE_ACCOUNT}.key", service_account.pem),
        (keys / "kubeadm/sa.key", service_account.pem),
        (keys / "kubeadm/sa.pub", public),
    ):
        _write(path, content)
    trust = Trust(
        authorities=tuple(authorities),
        service_account_keys=(public.decode(),),
        service_account_issuer="https://api.internal.prod.example.com:6443",
        secrets_key="local:0123456789abcdef",
    )
    wanted = manifest("control-plane", trust=trust)
    release = Release(serial=1, published="2026-01-01T00:00:00Z", stable=wanted)
    _write(keys / "release.json", encode_release(release))
    _write(keys / "names", f"{wanted.cluster.name} {wanted.group.name}".encode())
    return Bench(folder, keys, wanted, venv)


def compare(bench: Bench, kubeadm: Path, runs: int) -> list[tuple[str, ...]]:
    """Rows; the sides take turns, so that a machine that slows down does so for both."""
    ours, phases, once = [], [], []
    for number in range(runs + 1):
        ours.append(bench.bootwright(number))
        phases.append(bench.kubeadm(kubeadm, number))
        once.append(bench.kubeadm(kubeadm, number, at_once=True))
    # The first ones warm the page cache.
    return [
        _row("bootwright", [_whole(run) for run in ours[1:]]),
        _row("of that the work: plan and converge", [_work(run) for run in ours[1:]]),
        _row("kubeadm, a process for each phase", [_whole(run) for run in phases[1:]]),
        _row("kubeadm init, all other phases skipped", [_whole(run) for run in once[1:]]),
    ]


def _whole(run: tuple[Sample, ...]) -> tuple[float, float]:
    return sum(one.cpu for one in run), sum(one.wall for one in run)


def _work(run: tuple[Sample, ...]) -> tuple[float, float]:
    """Without the interpreter and its imports, which a boot has paid for already when it comes to this."""
    taken = [run[0].result["phases"][name] for name in ("plan", "converge")]
    return sum(cpu for _wall, cpu in taken), sum(wall for wall, _cpu in taken)


def _row(name: str, runs: Sequence[tuple[float, float]]) -> tuple[str, ...]:
    cpu, wall = medians(runs)
    return name, seconds(cpu), seconds(wall), str(len(runs))


def _config(wanted: Manifest) -> str:
    facts = sample_facts(zone=f"{wanted.cluster.region}a", region=wanted.cluster.region)
    return _CONFIG.format(
        address=facts.private_ip,
        name=facts.private_dns_name,
        version=wanted.kubernetes_version,
        endpoint=f"{wanted.api.endpoint}:{wanted.api.port}",
        services=wanted.network.service_cidr,
        pods=wanted.network.pod_cidr,
    )


def _write(path: Path, content: bytes) -> None:
    path.touch(0o600)
    path.write_bytes(content)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.peer", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kubeadm", default=os.environ.get("KUBEADM", ""), help="the binary ($KUBEADM)")
    parser.add_argument("--runs", type=int, default=9, help="of each side, after a warm-up; medians count (9)")
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    chosen = parser.parse_args(arguments)
    if not chosen.kubeadm:
        sys.stdout.write(SKIPPED)
        return 0
    if chosen.runs < 1:
        parser.error("--runs must be at least 1")
    try:
        kubeadm = Path(chosen.kubeadm).resolve()
        version = usable(kubeadm)
    except Unusable as error:
        sys.stderr.write(f"bench-peer: {error}\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="bootwright-peer-", dir="/var/tmp") as name:
        rows = compare(prepare(Path(name), node_venv()), kubeadm, chosen.runs)
    head = ("what", "CPU", "wall", "runs")
    about = {"kubeadm": version} | machine()
    text = markdown_table(head, rows) + "\n" + "".join(f"* {name}: {value}\n" for name, value in about.items())
    sys.stdout.write(text)
    if chosen.write:
        DOCUMENT.write_text(replace_between(DOCUMENT.read_text(), (BEGIN, END), text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
