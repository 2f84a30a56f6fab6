"""A fleet through add, sign and retire: nothing restarts that need not, and nobody meets what he cannot verify."""

from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product

import pytest

from pki.authority import Authority
from pki.certificate import load_credential
from pki.chain import verify_chain
from pki.errors import PkiError
from pki.keys import (
    PrivateKeyPem,
    dump_private_key,
    load_private_key,
    load_public_key,
    make_key,
    public_key_pem,
    spki_sha256,
)
from pki.profiles import AUTHORITIES, AuthorityName, Usage
from tests.units import machines
from units import paths
from units.converge import converge
from units.envelope import SERVICE_ACCOUNT, authority_secret, later_secret
from units.facts import NodeFacts
from units.manifest import Authority as PublicAuthority
from units.manifest import Manifest
from units.memory import MemoryHost, MemorySecrets
from units.plan import plan
from units.report import Report
from units.services.apiserver import SERVICE_ACCOUNT_PUBLIC, SERVICE_ACCOUNT_SECRET

PHASES = ("before", "add", "sign", "retire")
ROTATED = (*AUTHORITIES, SERVICE_ACCOUNT)
KUBERNETES_RESTARTS = {
    "static-pod:kube-apiserver",
    "static-pod:kube-controller-manager",
    "static-pod:kube-scheduler",
    "static-pod:kube-proxy",
    "unit:bootwright-issuer.socket",
}

# What restarts on a control-plane node of 1.36, by who reads what only at its start (etcd-pki.md 3.4).
RESTARTS: dict[tuple[str, str], set[str]] = {
    ("kubernetes", "add"): KUBERNETES_RESTARTS,
    ("kubernetes", "sign"): {"unit:bootwright-issuer.socket"},  # systemd hands it the key when it starts
    ("kubernetes", "retire"): KUBERNETES_RESTARTS,
    ("etcd-clients", "add"): {"unit:bootwright-etcd-main.service", "static-pod:kube-apiserver"},
    ("etcd-clients", "retire"): {"unit:bootwright-etcd-main.service", "static-pod:kube-apiserver"},
    ("etcd-peers", "add"): {"unit:bootwright-etcd-main.service"},
    ("etcd-peers", "retire"): {"unit:bootwright-etcd-main.service"},
    (SERVICE_ACCOUNT, "add"): {"static-pod:kube-apiserver"},
    (SERVICE_ACCOUNT, "sign"): {"static-pod:kube-apiserver", "static-pod:kube-controller-manager"},
    (SERVICE_ACCOUNT, "retire"): {"static-pod:kube-apiserver"},
}


@cache
def successor(name: AuthorityName) -> Authority:
    return Authority.create(name, machines.NOW)


@cache
def successor_key() -> PrivateKeyPem:
    return make_key()


def in_phase(items: tuple[str, str], phase: str) -> tuple[str, ...]:
    old, new = items
    return {"before": (old,), "add": (old, new), "sign": (new, old), "retire": (new,)}[phase]


def signs_new(phase: str) -> bool:
    return phase in ("sign", "retire")


def authority_in(name: AuthorityName, phase: str) -> PublicAuthority:
    pems = (machines.authorities()[name].certificate.pem.decode(), successor(name).certificate.pem.decode())
    first = authority_secret(name)
    later = later_secret(first, successor(name).certificate.spki_sha256)
    return PublicAuthority(
        name=name, bundle="".join(in_phase(pems, phase)), secret=later if signs_new(phase) else first
    )


def manifest_in(rotated: str, phase: str, role: str, **changes: object) -> Manifest:
    manifest = machines.manifest(role, **changes)
    trust = manifest.trust
    if rotated == SERVICE_ACCOUNT and trust.service_account_keys:
        pems = tuple(public_key_pem(key).decode() for key in (machines.service_account(), successor_key()))
        name = later_secret(SERVICE_ACCOUNT, "ab" * 32) if signs_new(phase) else SERVICE_ACCOUNT
        update = {"service_account_keys": in_phase(pems, phase), "service_account_secret": name}
    else:
        update = {
            "authorities": tuple(authority_in(a.name, phase) if a.name == rotated else a for a in trust.authorities)
        }
    return manifest.model_copy(update={"trust": trust.model_copy(update=update)})


def secrets_in(rotated: str, phase: str) -> MemorySecrets:
    """Every envelope, old and new; signs with what the manifest of this phase says."""
    old = machines.secrets()
    keys = dict(old.keys) | {later_secret(SERVICE_ACCOUNT, "ab" * 32): successor_key()}
    for name in AUTHORITIES:
        key = later_secret(authority_secret(name), successor(name).certificate.spki_sha256)
        keys[key] = dump_private_key(successor(name).key)
    authorities = dict(old.authorities)
    if rotated in authorities and signs_new(phase):
        authorities[rotated] = successor(rotated)
    return MemorySecrets(authorities, keys, machines.NOW)


@dataclass
class Node:
    """One machine that lives through the phases."""

    role: str
    machine: MemoryHost
    facts: NodeFacts

    def take(self, rotated: str, phase: str, **changes: object) -> Report:
        self.machine.secrets = secrets_in(rotated, phase)
        self.machine.issuer.secrets = self.machine.secrets
        the_plan = plan(manifest_in(rotated, phase, self.role, **changes), self.facts)
        report = converge(the_plan, self.machine.host)
        assert report.failure is None, report.failure
        assert not converge(the_plan, self.machine.host).changed
        return report

    def leaves(self) -> dict[str, bytes]:
        entries = self.machine.files.entries.items()
        return {path: state.content for path, state in entries if path.endswith(".pem") and state.content}

    def content(self, path: str) -> bytes:
        state = self.machine.files.read(path)
        assert state is not None
        assert state.content is not None
        return state.content


def node(role: str) -> Node:
    return Node(role, machines.empty_machine(), machines.facts())


def restarted(report: Report) -> set[str]:
    return {outcome.key for outcome in report.changed if outcome.key.startswith(("unit:", "static-pod:"))}


def issued_by(leaf: bytes, authority: Authority) -> bool:
    return load_credential(leaf).leaf.signer_identifier == authority.certificate.key_identifier


@pytest.mark.parametrize("rotated", ROTATED)
def test_exactly_what_reads_at_its_start_restarts(rotated: str) -> None:
    control_plane = node("control-plane")
    control_plane.take(rotated, "before")
    for phase in PHASES[1:]:
        found = restarted(control_plane.take(rotated, phase))
        assert found == RESTARTS.get((rotated, phase), set()), phase


def test_before_1_36_kubelet_restarts_for_whom_it_trusts_and_not_for_who_signs() -> None:
    control_plane = node("control-plane")
    control_plane.take("kubernetes", "before", kubernetes_version="1.35.4")
    found = [restarted(control_plane.take("kubernetes", p, kubernetes_version="1.35.4")) for p in PHASES[1:]]
    assert ["unit:kubelet.service" in keys for keys in found] == [True, False, True]


@pytest.mark.parametrize("rotated", AUTHORITIES)
@pytest.mark.parametrize("role", ["control-plane", "node"])
def test_phase_sign_issues_every_leaf_of_the_authority_again_and_no_other_phase_does(rotated: str, role: str) -> None:
    machine = node(role)
    machine.take(rotated, "before")
    before = machine.leaves()
    ours = {path for path, leaf in before.items() if issued_by(leaf, machines.authorities()[rotated])}
    assert ours or role == "node"
    machine.take(rotated, "add")
    assert machine.leaves() == before
    machine.take(rotated, "sign")
    after = machine.leaves()
    assert {path for path in before if before[path] != after[path]} == ours
    assert {path for path, leaf in after.items() if issued_by(leaf, successor(rotated))} == ours
    machine.take(rotated, "retire")
    assert machine.leaves() == after


def test_a_worker_ahead_of_the_issuer_writes_nothing_and_says_what_it_waits_for() -> None:
    worker = node("node")
    worker.take("kubernetes", "before")
    worker.take("kubernetes", "add")
    before = worker.leaves()
    report = converge(plan(manifest_in("kubernetes", "sign", "node"), worker.facts), worker.machine.host)
    assert report.failure is not None
    assert (report.failure.code, report.failure.exit_code) == ("issuer-behind", 4)
    assert worker.leaves() == before
    worker.take("kubernetes", "sign")
    assert all(issued_by(leaf, successor("kubernetes")) for leaf in worker.leaves().values())


def snapshots(rotated: str) -> dict[tuple[str, str], Node]:
    """Each machine as it is in each phase."""
    taken = {}
    for role in ("control-plane", "node"):
        machine = node(role)
        for phase in PHASES:
            machine.take(rotated, phase)
            frozen = node(role)
            frozen.machine.files.entries.update(machine.machine.files.entries)
            taken[role, phase] = frozen
    return taken


def gaps(rotated: AuthorityName, presenter: Node, verifier: Node) -> list[str]:
    """Leaves of one machine that another one, at its end of a connection, would refuse."""
    path = paths.authority_bundle(rotated)
    if verifier.machine.files.read(path) is None:
        return []
    trusted = verifier.content(path)
    refused = []
    for name, leaf in presenter.leaves().items():
        credential = load_credential(leaf).leaf
        if credential.issuer != f"{rotated}-ca":
            continue
        for usage in credential.usages:
            try:
                verify_chain(credential.pem, trusted, Usage(usage), machines.NOW)
            except PkiError:
                refused.append(f"{name} as {usage}")
    return refused


@pytest.mark.parametrize("rotated", AUTHORITIES)
def test_no_mix_of_two_neighbouring_phases_has_a_gap(rotated: AuthorityName) -> None:
    """Whichever machines have taken a phase and whichever have not: every chain verifies at every other end."""
    taken = snapshots(rotated)
    looked = 0
    for neighbours in pairwise(PHASES):
        for one, other in product(product(("control-plane", "node"), neighbours), repeat=2):
            assert not gaps(rotated, taken[one], taken[other]), (one, other)
            looked += 1
    assert looked == 48


@pytest.mark.parametrize("rotated", AUTHORITIES)
def test_a_phase_left_out_has_gaps_and_this_matrix_sees_them(rotated: AuthorityName) -> None:
    taken = snapshots(rotated)
    for role_one, role_other in product(("control-plane", "node"), repeat=2):
        if rotated != "kubernetes" and "node" in (role_one, role_other):
            continue
        assert gaps(rotated, taken[role_one, "sign"], taken[role_other, "before"])  # without add
        assert gaps(rotated, taken[role_one, "add"], taken[role_other, "retire"])  # without sign


def test_every_api_server_verifies_every_other_ones_tokens_in_every_mix() -> None:
    taken = snapshots(SERVICE_ACCOUNT)

    def verifies(signer: str, verifier: str) -> bool:
        key = PrivateKeyPem(taken["control-plane", signer].content(SERVICE_ACCOUNT_SECRET))
        publics = taken["control-plane", verifier].content(SERVICE_ACCOUNT_PUBLIC).decode()
        end = "-----END PUBLIC KEY-----\n"
        known = {spki_sha256(load_public_key(f"{part}{end}".encode())) for part in publics.split(end) if part.strip()}
        return spki_sha256(load_private_key(key).public_key()) in known

    for neighbours in pairwise(PHASES):
        for signer, verifier in product(neighbours, repeat=2):
            assert verifies(signer, verifier), (signer, verifier)
    assert not verifies("sign", "before")
    assert not verifies("add", "retire")
