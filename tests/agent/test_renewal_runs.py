"""A node that cannot renew: it keeps running, says so, tries again ever less often, and raises an alarm in time."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.aws.imds import Instance
from agent.boot import boot
from agent.certificates import list_certificates
from agent.run_state import LastRun
from agent.settings import Settings
from agent.sync import due, sync
from agent.telling import RENEWAL_FAILED
from pki.authority import Authority
from tests.agent.boot_double import SETTINGS, NodeDouble
from tests.units.sample import manifest
from units.errors import BootwrightError, Refused, Retryable
from units.manifest import Manifest
from units.status import CertificateState, Condition

UNREACHABLE = Retryable(
    "issuer-unreachable", "https://api:3988: connection refused", remedy="look at the load balancer"
)


@dataclass
class RenewingDouble(NodeDouble):
    """A NodeDouble whose certificates are listed as the real node lists them, and whose clock moves."""

    folder: Path = Path("/nonexistent")
    role: str = "node"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.role == "node":
            trust = self.manifest.trust
            kubernetes = tuple(one for one in trust.authorities if one.name == "kubernetes")
            self.manifest = manifest(
                "node", trust=trust.model_copy(update={"authorities": kubernetes, "service_account_keys": ()})
            )

    def enrolment(self) -> Settings:
        return replace_group(SETTINGS, self.manifest.group.name)

    def connect(self, _settings: Settings, _instance: Instance) -> None:
        self.reporter.publish = self.published.append

    def certificates(self, jitter_key: str) -> tuple[CertificateState, ...]:
        for path, state in self.memory.files.entries.items():
            if path.endswith((".pem", ".crt")) and state.content is not None:
                target = self.folder / path.removeprefix("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(state.content)
        return list_certificates(self.memory.clock.now(), jitter_key, str(self.folder))

    def age(self, part: float) -> None:
        """The clock at this part of its leaves' life."""
        first = next(one for one in self.reporter.status.certificates if one.renews)
        begin, end = datetime.fromisoformat(first.not_before), datetime.fromisoformat(first.not_after)
        self.move_to(begin + (end - begin) * part)

    def move_to(self, moment: datetime) -> None:
        self.memory.clock.at = moment
        self.memory.secrets = replace(self.memory.secrets, now=moment)
        self.memory.issuer.secrets = self.memory.secrets

    def fail_to_issue(self, error: BootwrightError | None) -> None:
        def issue(*_: object) -> Mapping[str, bytes]:
            assert error is not None
            raise error

        for port in (self.memory.issuer, self.memory.secrets):
            if error is None:
                vars(port).pop("issue", None)
            else:
                port.issue = issue  # type: ignore[method-assign,assignment]

    @property
    def condition_now(self) -> Condition:
        (condition,) = self.reporter.status.conditions
        return condition

    def next_try(self) -> timedelta:
        """From now, as the next polls see it."""
        times = [datetime.fromisoformat(renews) for _path, renews in self.last().renewals if renews]
        return min(times) - self.memory.clock.now()

    def last(self) -> LastRun:
        return LastRun.of(self.reporter.status.model_dump(mode="json"))


def replace_group(settings: Settings, group: str) -> Settings:
    return settings.model_copy(update={"group": group})


def booted(folder: Path, role: str) -> RenewingDouble:
    node = RenewingDouble(folder=folder, role=role)
    assert boot(node) == 0
    return node


BY_ROLE = pytest.mark.parametrize("role", ["control-plane", "node"])


@BY_ROLE
def test_what_is_due_is_renewed_by_the_run_that_finds_it_due(tmp_path: Path, role: str) -> None:
    node = booted(tmp_path, role)
    assert due(node.last(), node.memory.clock.now()) == ""
    node.age(0.61)
    node.reporter.update(converged=node.memory.clock.now().isoformat())  # the hour is not what makes it run
    assert "is due for renewal" in due(node.last(), node.memory.clock.now())
    assert boot(node) == 0
    assert node.reporter.status.conditions == ()
    assert due(node.last(), node.memory.clock.now()) == ""


@BY_ROLE
@pytest.mark.parametrize("error", [UNREACHABLE, Refused("issuer-refused", "no", remedy="ask")])
def test_a_failed_renewal_is_a_warning_with_the_issuers_code_and_remedy(
    tmp_path: Path, role: str, error: BootwrightError
) -> None:
    node = booted(tmp_path, role)
    node.age(0.61)
    node.fail_to_issue(error)
    assert boot(node) == 0
    status = node.reporter.status
    assert (status.stage, status.converged != "") == ("ready", True)
    found = node.condition_now
    assert (found.code, found.severity, found.remedy) == (RENEWAL_FAILED, "warning", error.remedy)
    assert error.code in found.message
    assert "39%" in found.message
    assert node.published[-1].conditions == status.conditions
    assert node.committed == node.manifest, "what is applied is applied, with older certificates"


def test_it_is_tried_again_in_a_minute_and_then_ever_less_often(tmp_path: Path) -> None:
    node = booted(tmp_path, "node")
    node.age(0.61)
    node.fail_to_issue(UNREACHABLE)
    begun, pauses = node.memory.clock.now(), []
    for _ in range(8):
        boot(node)
        pauses.append(node.next_try())
        assert due(node.last(), node.memory.clock.now() + pauses[-1] - timedelta(seconds=1)) == ""
        node.move_to(node.memory.clock.now() + pauses[-1])
        assert "due for renewal" in due(node.last(), node.memory.clock.now())
    assert [pause / timedelta(minutes=1) for pause in pauses] == [1, 1, 2, 4, 8, 15, 15, 15]
    assert datetime.fromisoformat(node.condition_now.since) == begun


@BY_ROLE
def test_under_a_tenth_of_life_it_is_an_error_and_tried_each_minute(tmp_path: Path, role: str) -> None:
    node = booted(tmp_path, role)
    node.age(0.91)
    node.fail_to_issue(UNREACHABLE)
    assert boot(node) == Retryable.exit_code
    assert node.reporter.status.stage == "retrying"
    assert (node.condition_now.code, node.condition_now.severity) == (RENEWAL_FAILED, "error")
    assert "kubelet.service" in node.memory.systemd.active
    assert "retrying" in due(node.last(), node.memory.clock.now())


@BY_ROLE
def test_once_the_cause_is_gone_so_is_the_warning(tmp_path: Path, role: str) -> None:
    node = booted(tmp_path, role)
    node.age(0.61)
    node.fail_to_issue(UNREACHABLE)
    boot(node)
    node.fail_to_issue(None)
    assert boot(node) == 0
    assert node.reporter.status.conditions == ()
    assert node.next_try() > timedelta(hours=1)


def test_a_worker_that_takes_a_rotations_phase_before_the_issuer_asks_again_in_a_minute(tmp_path: Path) -> None:
    """Its leaves are not due by their age, only by who signed them."""
    node = booted(tmp_path, "node")
    before = {one.path: one.not_before for one in node.reporter.status.certificates if one.renews}
    new = Authority.create("kubernetes", node.memory.clock.now())
    node.manifest = signed_by(new, node.manifest)
    assert boot(node) == 0
    found = node.condition_now
    assert (found.code, found.severity, "issuer-behind" in found.message) == (RENEWAL_FAILED, "warning", True)
    assert "trust status" in found.remedy
    assert node.next_try() == timedelta(minutes=1)
    assert {one.path: one.not_before for one in node.reporter.status.certificates if one.renews} == before
    node.memory.secrets.authorities["kubernetes"] = new
    node.move_to(node.memory.clock.now() + timedelta(minutes=1))
    assert "due for renewal" in due(node.last(), node.memory.clock.now())
    assert boot(node) == 0
    assert node.reporter.status.conditions == ()
    signers = {one.signer for one in node.reporter.status.certificates if one.renews}
    assert signers == {new.certificate.key_identifier[:16]}
    assert node.next_try() > timedelta(hours=1)


def signed_by(new: Authority, before: Manifest) -> Manifest:
    """Phase `sign`: both are trusted."""
    (old,) = before.trust.authorities
    both = old.model_copy(update={"bundle": new.certificate.pem.decode() + old.bundle})
    return before.model_copy(update={"trust": before.trust.model_copy(update={"authorities": (both,)})})


def test_a_node_that_never_had_a_certificate_has_the_issuers_own_code(tmp_path: Path) -> None:
    node = RenewingDouble(folder=tmp_path)
    node.fail_to_issue(UNREACHABLE)
    assert boot(node) == Retryable.exit_code
    assert (node.condition_now.code, node.condition_now.severity) == ("issuer-unreachable", "error")
    assert "kubelet.service" not in node.memory.systemd.active


def test_a_workers_sync_renews_when_the_time_has_come(tmp_path: Path) -> None:
    """Its status says when; the poll needs neither certificates nor the store to know."""
    node = booted(tmp_path, "node")
    last = replace(node.last(), converged=datetime.now(UTC).isoformat())
    assert last.renewals
    past = replace(
        last, renewals=tuple((path, "2020-01-01T00:00:00Z" if renews else "") for path, renews in last.renewals)
    )

    def store() -> bool:
        raise AssertionError("what is due is due, whatever the store says")

    exit_code, done = sync(past, store, lambda: node)  # type: ignore[arg-type,return-value]
    assert (exit_code, "due for renewal" in done) == (0, True)


def test_an_authority_is_never_due() -> None:
    authority = ("/etc/kubernetes/pki/ca/kubernetes.crt", "")
    now = datetime(2026, 6, 1, tzinfo=UTC)
    assert due(LastRun("ready", "node", "", now.isoformat(), (authority,)), now) == ""
