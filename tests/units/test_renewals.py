"""Renewal of every leaf, on machines in memory: when, which, how it is switched, and what is not restarted for it."""

import dataclasses
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from pki.certificate import Certificate as Issued
from pki.certificate import load_credential
from pki.keys import load_private_key, spki_sha256
from pki.renewal import renew_at
from pki.request import csr_public_key
from tests.units.machines import (
    FACTS,
    Killed,
    changes_of,
    empty_machine,
    facts,
    manifest,
    rebooted,
    tapped,
)
from units.converge import converge
from units.credentials import Certificate
from units.errors import BootwrightError, Refused, Retryable
from units.host import Host
from units.memory import MemoryHost
from units.node_certificates import NodeCertificates
from units.plan import Plan, plan
from units.pods import StaticPod
from units.renewing import converge_patiently, usable_life

ROLES = ("control-plane", "node")
PLANS = {role: plan(manifest(role), FACTS) for role in ROLES}
PKI = "/etc/kubernetes/pki"

# Every leaf, and why its reader needs no restart (etcd-pki.md 3.4). Whoever adds a leaf decides here.
HANDSHAKE, WATCHED, KUBECONFIG = "read at every handshake", "watched: fsnotify or a minute", "file paths: 5 minutes"
RELOADED_BY = {
    "control-plane": {
        f"{PKI}/apiserver/server.pem": ("kube-apiserver", WATCHED),
        f"{PKI}/apiserver/kubelet-client.pem": ("kube-apiserver", "ReloadTLSFiles: 5 minutes"),
        f"{PKI}/apiserver/etcd-client.pem": ("kube-apiserver", HANDSHAKE),
        f"{PKI}/apiserver/front-proxy-client.pem": ("kube-apiserver", WATCHED),
        f"{PKI}/etcd/healthcheck-client.pem": ("whoever checks, for one connection", HANDSHAKE),
        f"{PKI}/etcd/main-server.pem": ("etcd", HANDSHAKE),
        f"{PKI}/etcd/main-peer.pem": ("etcd", HANDSHAKE),
        f"{PKI}/issuer/server.pem": ("the issuer", "systemd copies it at each start, and it ends when idle"),
        f"{PKI}/kube-controller-manager/client.pem": ("kube-controller-manager", KUBECONFIG),
        f"{PKI}/kube-controller-manager/server.pem": ("kube-controller-manager", WATCHED),
        f"{PKI}/kube-proxy/client.pem": ("kube-proxy", KUBECONFIG),
        f"{PKI}/kube-scheduler/client.pem": ("kube-scheduler", KUBECONFIG),
        f"{PKI}/kube-scheduler/server.pem": ("kube-scheduler", WATCHED),
        f"{PKI}/kubelet/client.pem": ("kubelet", KUBECONFIG),
        f"{PKI}/kubelet/server.pem": ("kubelet", "ReloadKubeletServerCertificateFile, on since 1.31"),
    },
    "node": {
        f"{PKI}/kube-proxy/client.pem": ("kube-proxy", KUBECONFIG),
        f"{PKI}/kubelet/client.pem": ("kubelet", KUBECONFIG),
        f"{PKI}/kubelet/server.pem": ("kubelet", "ReloadKubeletServerCertificateFile, on since 1.31"),
    },
}
BY_ROLE = pytest.mark.parametrize("role", ROLES)


def converged(role: str, the_plan: Plan | None = None) -> MemoryHost:
    machine = empty_machine()
    assert converge(the_plan or PLANS[role], machine.host).failure is None
    machine.issuer.asked.clear()
    return machine


def leaves(machine: MemoryHost) -> dict[str, Issued]:
    """Path -> certificate; fails if one of them does not belong to the key beside it."""
    found = {}
    for path, state in machine.files.entries.items():
        if path.endswith(".pem") and state.content is not None:
            credential = load_credential(state.content)
            assert credential.key_matches, path
            found[path] = credential.leaf
    return found


def move_to(machine: MemoryHost, moment: datetime) -> MemoryHost:
    machine.secrets = dataclasses.replace(machine.secrets, now=moment)
    machine.issuer.secrets = machine.secrets
    machine.clock.at = moment
    return machine


def at_life(machine: MemoryHost, part: float) -> MemoryHost:
    """With the clock moved to this part of its leaves' life: the first one's that gets there last."""
    return move_to(machine, max(leaf.not_before + leaf.lifetime * part for leaf in leaves(machine).values()))


class SourceDouble:
    """Stands in for KMS or the issuer while it cannot be asked, or refuses."""

    def __init__(self, error: BootwrightError) -> None:
        self.error = error
        self.asked = 0

    def issue(self, *_: object) -> Mapping[str, bytes]:
        self.asked += 1
        raise self.error

    def open(self, name: str) -> bytes:
        raise AssertionError(f"a renewal opens no secret: {name}")


def without_source(machine: MemoryHost, error: BootwrightError) -> tuple[Host, SourceDouble]:
    source = SourceDouble(error)
    return dataclasses.replace(machine.host, secrets=source, issuer=source), source


UNREACHABLE = Retryable(
    "issuer-unreachable", "https://api:3988: connection refused", remedy="look at the load balancer"
)


@BY_ROLE
def test_at_61_percent_every_leaf_is_renewed_in_one_run_and_nothing_is_restarted(role: str) -> None:
    machine = at_life(converged(role), 0.61)
    before, files, running = leaves(machine), dict(machine.files.entries), dict(machine.systemd.running)
    calls = changes_of(machine.host, partial(converge, PLANS[role]))
    after = leaves(machine)
    assert {path for path in after if after[path].serial != before[path].serial} == set(RELOADED_BY[role])
    assert all(after[path].spki_sha256 != before[path].spki_sha256 for path in after), "a renewal makes a new key"
    assert {path for path, state in machine.files.entries.items() if files.get(path) != state} == set(RELOADED_BY[role])
    # One write for each leaf, one question to the issuer; systemd and kubelet's manifests are left alone.
    asked = [("issuer", "issue")] if role == "node" else []
    assert calls == asked + [("files", "write")] * len(RELOADED_BY[role])
    assert machine.systemd.restarts == []
    assert machine.systemd.running == running


@BY_ROLE
def test_every_switch_is_one_file_with_certificate_and_key_of_each_other(role: str) -> None:
    machine = at_life(converged(role), 0.61)
    written = []

    def look(_port: str, method: str, arguments: tuple[Any, ...]) -> None:
        if method == "write":
            assert load_credential(arguments[1]).key_matches
            written.append(arguments[0])

    converge(PLANS[role], tapped(machine.host, before=look))
    assert sorted(written) == sorted(RELOADED_BY[role])


@BY_ROLE
def test_a_pod_sees_the_renewed_file(role: str) -> None:
    """A rename is invisible through the mount of a file: what a pod names lies in a directory that it mounts."""
    for pod in (resource for resource in PLANS[role] if isinstance(resource, StaticPod)):
        named = {path for path in RELOADED_BY[role] if path in pod.arguments.values() or pod.name in path}
        assert named
        for path in named:
            assert path.rpartition("/")[0] in {mount.path for mount in pod.mounts}, (pod.name, path)


@BY_ROLE
@pytest.mark.parametrize("which", ["the first of a thousand", "the last of a thousand"])
def test_before_55_percent_nothing_is_renewed_and_at_60_everything(role: str, which: str) -> None:
    leaf = next(iter(leaves(converged(role)).values()))
    ordered = sorted((f"i-{n:017x}" for n in range(1000)), key=lambda node: renew_at(leaf, node))
    the_plan = plan(manifest(role), facts(instance_id=ordered[0] if "first" in which else ordered[-1]))
    machine = at_life(converged(role, the_plan), 0.549)
    assert changes_of(machine.host, partial(converge, the_plan)) == []
    machine = at_life(machine, 0.60)
    assert changes_of(machine.host, partial(converge, the_plan)).count(("files", "write")) == len(RELOADED_BY[role])


@BY_ROLE
def test_a_thousand_nodes_spread_over_the_whole_window(role: str) -> None:
    keys = {resource.jitter_key for resource in PLANS[role] if isinstance(resource, Certificate | NodeCertificates)}
    assert keys == {FACTS.instance_id}
    leaf = next(iter(leaves(converged(role)).values()))
    parts = [(renew_at(leaf, f"i-{n:017x}") - leaf.not_before) / leaf.lifetime for n in range(1000)]
    assert min(parts) >= 0.55
    assert max(parts) <= 0.60
    tenths = [sum(0.55 + n * 0.005 <= part < 0.555 + n * 0.005 for part in parts) for n in range(10)]
    assert min(tenths) > 70, tenths  # 100 each if it were perfectly even; a binomial draw is within 30 of it


def test_a_worker_renews_with_its_good_certificate_as_its_proof() -> None:
    machine = at_life(converged("node"), 0.61)
    converge(PLANS["node"], machine.host)
    assert machine.issuer.asked == [(("kubelet-client", "kubelet-server", "kube-proxy"), True)]


@BY_ROLE
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("reboots", [False, True], ids=["the same boot goes on", "the machine reboots"])
@pytest.mark.slow
def test_a_renewal_cut_at_any_call_converges_and_never_leaves_a_pair_apart(
    role: str, *, after: bool, reboots: bool
) -> None:
    total = len(changes_of(at_life(converged(role), 0.61).host, partial(converge, PLANS[role])))
    assert total >= len(RELOADED_BY[role])
    for last in range(total):
        machine = at_life(converged(role), 0.61)
        old = {path: leaf.serial for path, leaf in leaves(machine).items()}
        number = iter(range(total))

        def cut(*_: object, last: int = last, number: Any = number) -> None:
            if next(number) == last:
                raise Killed

        with pytest.raises(Killed):
            converge(PLANS[role], tapped(machine.host, **{"after" if after else "before": cut}))
        leaves(machine)  # every pair fits, at this very moment
        moment = machine.clock.at
        machine = move_to(rebooted(machine), moment) if reboots else machine
        report = converge(PLANS[role], machine.host)
        assert report.failure is None, last
        assert changes_of(machine.host, partial(converge, PLANS[role])) == [], last
        assert all(leaf.serial != old[path] for path, leaf in leaves(machine).items()), last


@BY_ROLE
def test_past_the_expiry_of_everything_a_rebooted_machine_recovers(role: str) -> None:
    machine = rebooted(at_life(converged(role), 1.01))
    old = leaves(machine)
    move_to(machine, machine.clock.at)
    assert all(leaf.not_after < machine.clock.at for leaf in old.values())
    assert converge(PLANS[role], machine.host).failure is None
    assert all(leaf.not_after > machine.clock.at for leaf in leaves(machine).values())
    assert set(leaves(machine)) == set(RELOADED_BY[role])
    assert "kubelet.service" in machine.systemd.active
    assert changes_of(machine.host, partial(converge, PLANS[role])) == []


def test_a_worker_whose_certificates_have_expired_proves_itself_with_the_key_it_had() -> None:
    machine = rebooted(at_life(converged("node"), 1.01))
    move_to(machine, machine.clock.at)
    old = leaves(machine)
    asked: list[tuple[dict[str, bytes], bytes | None]] = []

    def listen(port: str, _method: str, arguments: tuple[Any, ...]) -> None:
        if port == "issuer":
            asked.append(arguments)  # type: ignore[arg-type]

    assert converge(PLANS["node"], tapped(machine.host, before=listen)).failure is None
    ((csrs, credential),) = asked
    assert credential is None, "an expired certificate is no proof"
    keys = {profile: spki_sha256(csr_public_key(csr)) for profile, csr in csrs.items()}
    assert keys["kubelet-client"] == old[f"{PKI}/kubelet/client.pem"].spki_sha256
    assert keys["kubelet-server"] != old[f"{PKI}/kubelet/server.pem"].spki_sha256
    state = machine.files.entries[f"{PKI}/kubelet/client.pem"]
    assert state.content is not None
    key = load_credential(state.content).key
    assert spki_sha256(load_private_key(key).public_key()) == keys["kubelet-client"]


def test_a_shorter_life_in_the_manifest_renews_with_the_certificate_that_is_there() -> None:
    """Otherwise every worker of a cluster would prove itself anew, and a Ready one is refused that."""
    machine = converged("node")
    identity = manifest("node").identity
    shorter = plan(manifest("node", identity=identity.model_copy(update={"leaf_hours": 24})), FACTS)
    for path in RELOADED_BY["node"]:
        reissue(machine, path, timedelta(hours=72))
    assert converge(shorter, machine.host).failure is None
    assert machine.issuer.asked == [(("kubelet-client", "kubelet-server", "kube-proxy"), True)]


def reissue(machine: MemoryHost, path: str, lifetime: timedelta) -> None:
    """As an issuer with another lifetime would have done."""
    (resource,) = (one for one in PLANS["node"] if isinstance(one, NodeCertificates))
    (leaf,) = (leaf for leaf in resource.leaves if leaf.path == path)
    request = dataclasses.replace(leaf.request, lifetime=lifetime)
    Certificate(path, request, resource.accepted, resource.jitter_key).apply(machine.host)


@pytest.mark.parametrize("error", [UNREACHABLE, Refused("issuer-refused", "no")], ids=["unreachable", "refused"])
@pytest.mark.parametrize("reboots", [False, True], ids=["running", "rebooted"])
def test_a_worker_that_cannot_renew_keeps_running_and_starts_again_after_a_reboot(
    error: BootwrightError, *, reboots: bool
) -> None:
    machine = at_life(converged("node"), 0.61)
    machine = move_to(rebooted(machine), machine.clock.at) if reboots else machine
    before = leaves(machine)
    host, _ = without_source(machine, error)
    report, (postponed,) = converge_patiently(PLANS["node"], host)
    assert report.failure is None
    assert len(report.outcomes) == len(PLANS["node"].resources)
    assert [one.key for one in report.outcomes if one.status == "skipped"] == ["certificates:issuer"]
    assert (postponed.failure.code, postponed.alarming) == (error.code, False)
    assert 0.38 < postponed.life_left < 0.40
    assert "kubelet.service" in machine.systemd.active
    assert leaves(machine) == before


@BY_ROLE
@pytest.mark.parametrize(("part", "alarming"), [(0.89, False), (0.91, True)])
def test_under_a_tenth_of_life_it_is_an_alarm_and_the_rest_still_goes_on(
    role: str, part: float, *, alarming: bool
) -> None:
    machine = at_life(converged(role), part)
    host, _ = without_source(machine, UNREACHABLE)
    report, postponed = converge_patiently(PLANS[role], host)
    assert report.failure is None
    assert {one.alarming for one in postponed} == {alarming}


@BY_ROLE
def test_once_they_have_expired_the_failure_is_one(role: str) -> None:
    machine = rebooted(at_life(converged(role), 1.01))
    move_to(machine, machine.clock.at)
    host, _ = without_source(machine, UNREACHABLE)
    report, postponed = converge_patiently(PLANS[role], host)
    assert report.failure is not None
    assert (report.failure.code, postponed) == ("issuer-unreachable", ())
    assert "kubelet.service" not in machine.systemd.active


def test_a_control_plane_node_asks_once_for_each_authority_while_kms_is_away() -> None:
    """Fifteen certificates at a minute each would hold up everything else of the agent."""
    machine = at_life(converged("control-plane"), 0.61)
    host, source = without_source(machine, Retryable("kms-unreachable", "no answer"))
    report, postponed = converge_patiently(PLANS["control-plane"], host)
    assert report.failure is None
    assert source.asked == 4
    assert {one.key.removeprefix("certificate:") for one in postponed} == set(RELOADED_BY["control-plane"])
    assert len(report.outcomes) == len(PLANS["control-plane"].resources)


def test_one_authority_that_cannot_sign_does_not_hold_up_the_others() -> None:
    machine = at_life(converged("control-plane"), 0.61)
    before = leaves(machine)
    real = machine.secrets.issue

    def issue(request: Any, public_key: bytes) -> bytes:
        if request.authority == "etcd-peers":
            raise Retryable("kms-unreachable", "no answer")
        return real(request, public_key)

    machine.secrets.issue = issue  # type: ignore[method-assign]
    _, postponed = converge_patiently(PLANS["control-plane"], machine.host)
    renewed = {path for path, leaf in leaves(machine).items() if leaf.serial != before[path].serial}
    assert set(RELOADED_BY["control-plane"]) - renewed == {f"{PKI}/etcd/main-peer.pem"}
    assert [one.key for one in postponed] == [f"certificate:{PKI}/etcd/main-peer.pem"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-40],
        lambda content: content.replace(b"CERTIFICATE", b"CERTIFICAT3"),
        lambda content: b"",
    ],
    ids=["half a key", "no certificate", "empty"],
)
def test_what_does_not_work_cannot_wait(damage: Any) -> None:
    machine = at_life(converged("node"), 0.61)
    path = f"{PKI}/kubelet/server.pem"
    state = machine.files.entries[path]
    machine.files.entries[path] = dataclasses.replace(state, content=damage(state.content))
    host, _ = without_source(machine, UNREACHABLE)
    report, _ = converge_patiently(PLANS["node"], host)
    assert report.failure is not None
    assert report.failure.code == "issuer-unreachable"


def test_only_renewals_can_wait() -> None:
    machine = converged("control-plane")
    patient = {one.key for one in PLANS["control-plane"] if usable_life(one, machine.host) is not None}
    assert patient == {f"certificate:{path}" for path in RELOADED_BY["control-plane"]}


def test_an_answer_without_all_that_was_asked_for_writes_nothing() -> None:
    machine = at_life(converged("node"), 0.61)
    before = leaves(machine)
    real = machine.issuer.issue

    def issue(csrs: Mapping[str, bytes], credential: bytes | None) -> Mapping[str, bytes]:
        return {profile: pem for profile, pem in real(csrs, credential).items() if profile != "kubelet-client"}

    machine.issuer.issue = issue  # type: ignore[method-assign]
    _, (postponed,) = converge_patiently(PLANS["node"], machine.host)
    assert postponed.failure.code == "issuer-answer-incomplete"
    assert leaves(machine) == before


class FirstKeyWinsDouble:
    """An issuer that, as the real one, takes a proof only with the key that it saw first."""

    def __init__(self, machine: MemoryHost) -> None:
        self.machine, self.first = machine, ""

    def issue(self, csrs: Mapping[str, bytes], credential: bytes | None) -> Mapping[str, bytes]:
        key = spki_sha256(csr_public_key(csrs["kubelet-client"]))
        self.first = self.first or key
        if credential is None and key != self.first:
            raise Refused("issuer-refused", "another key than the first one")
        return self.machine.issuer.issue(csrs, credential)


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.slow
def test_a_first_boot_cut_anywhere_comes_back_with_the_key_that_the_issuer_has_seen(*, after: bool) -> None:
    total = len(changes_of(empty_machine().host, partial(converge, PLANS["node"])))
    for last in range(total):
        machine = empty_machine()
        issuer = FirstKeyWinsDouble(machine)
        number = iter(range(total))

        def cut(*_: object, last: int = last, number: Any = number) -> None:
            if next(number) == last:
                raise Killed

        host = dataclasses.replace(machine.host, issuer=issuer)
        with pytest.raises(Killed):
            converge(PLANS["node"], tapped(host, **{"after" if after else "before": cut}))
        again = dataclasses.replace(rebooted(machine).host, issuer=issuer)
        assert converge(PLANS["node"], again).failure is None, last
