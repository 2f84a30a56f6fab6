"""The story of a boot, top to bottom: who am I, what may I trust, what should I be, make it so, say how it went."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from agent.aws.imds import Instance
from agent.gather import facts_of
from agent.linux.machine import MachineFacts
from agent.reporter import Reporter, format_time
from agent.settings import Settings
from agent.trust import VerifiedRelease
from pki.errors import PkiError
from units.converge import Observer, converge
from units.errors import BootwrightError
from units.facts import NodeFacts
from units.host import Host
from units.manifest import Manifest, Release, decode_release
from units.names import node_name
from units.plan import plan
from units.renewing import Postponed, converge_patiently
from units.report import Report
from units.resource import Resource
from units.status import CertificateState

CLOCK_SECONDS = 30.0  # chrony reaches 169.254.169.123 within a few
RENEWAL_FAILED = "renewal-failed"
_FIRST_PAUSE = timedelta(minutes=1)  # the timer's own
_LONGEST_PAUSE = timedelta(minutes=15)  # certificates of three days are tried for eighty times before the alarm


class Node(Protocol):
    """Everything outside that a boot needs, each asked for when the story gets there (`agent.node` is the real one)."""

    reporter: Reporter

    def instance(self) -> Instance: ...

    def machine(self) -> MachineFacts: ...

    def enrolment(self) -> Settings: ...

    def connect(self, settings: Settings, instance: Instance) -> None:
        """From here on the store can be reached, and the status goes there too."""

    def verified_release(self) -> VerifiedRelease: ...

    def host(self, manifest: Manifest) -> Host: ...

    def certificates(self, jitter_key: str) -> tuple[CertificateState, ...]: ...

    def remember(self, release: Release) -> None:
        """What was applied, for a boot without the store."""


@dataclass(frozen=True, slots=True)
class Target:
    """What this node should be, proven: the outcome of the first half of the story."""

    release: Release
    facts: NodeFacts

    @property
    def manifest(self) -> Manifest:
        return self.release.stable


def boot(node: Node) -> int:
    """Converge this machine; the exit code. A failure is reported everywhere it can be before this returns."""
    reporter = node.reporter
    reporter.begin()
    reporter.whole_run_begins()
    try:
        target = find_target(node)
        with reporter.phase("converging"):
            report, postponed = _converge(node, target)
        reporter.converged(report)
        if report.failure:
            failure = report.failure
            reporter.condition(failure.code, failure.message, remedy=failure.remedy)
            reporter.finish(failure.exit_code)
            return failure.exit_code
        exit_code = _tell_postponed(reporter, postponed)
        node.remember(target.release)
        reporter.whole_run_done()
        certificates = node.certificates(target.facts.instance_id)
        reporter.update(certificates=with_next_try(certificates, reporter) if postponed else certificates)
    except (BootwrightError, PkiError) as error:
        return reporter.failed(error)
    reporter.finish(exit_code)
    return exit_code


def find_target(node: Node) -> Target:
    reporter = node.reporter
    with reporter.phase("asking IMDS who this machine is"):
        instance = node.instance()
    with reporter.phase("waiting for the clock"):
        machine = _with_right_clock(node)
    reporter.update(
        instance_id=instance.instance_id,
        zone=instance.zone,
        private_ip=instance.private_ip,
        machine_type=instance.machine_type,
    )
    with reporter.phase("finding the enrolment"):
        settings = node.enrolment()
        reporter.update(cluster=settings.cluster, group=settings.group)
        node.connect(settings, instance)
        reporter.update(force=True)
    with reporter.phase("verifying the manifest"):
        verified = node.verified_release()
        release = decode_release(verified.release, cluster=settings.cluster, group=settings.group)
    facts = facts_of(instance, machine)
    _warn_of_the_machine(reporter, machine)
    _tell(reporter, verified, release, facts)
    return Target(release, facts)


def compare_target(node: Node, target: Target) -> Report:
    """What converging would do, without doing it."""
    host = node.host(target.manifest)
    return converge(plan(target.manifest, target.facts), host, dry_run=True, observe=_progress_of(node))


def _converge(node: Node, target: Target) -> tuple[Report, tuple[Postponed, ...]]:
    host = node.host(target.manifest)
    return converge_patiently(plan(target.manifest, target.facts), host, observe=_progress_of(node))


def _progress_of(node: Node) -> Observer:
    def observe(resource: Resource, number: int, total: int) -> None:
        node.reporter.progress(f"{number}/{total} {resource.key}")

    return observe


def _tell_postponed(reporter: Reporter, postponed: tuple[Postponed, ...]) -> int:
    """The exit code: 0 while the certificates that could not be renewed are good for long enough."""
    if not postponed:
        return 0
    worst = min(postponed, key=lambda one: one.life_left)
    failure = worst.failure
    reporter.condition(
        RENEWAL_FAILED,
        f"{failure.code}: {failure.message}; what it has is good for another {worst.life_left:.0%} of its life",
        remedy=failure.remedy,
        severity="error" if worst.alarming else "warning",
    )
    return failure.exit_code if worst.alarming else 0


def with_next_try(certificates: tuple[CertificateState, ...], reporter: Reporter) -> tuple[CertificateState, ...]:
    """What is due renews at the next try: as long again as it has failed already, but within the quarter of an hour."""
    now = reporter.clock.now()
    pause = min(max(now - reporter.since(RENEWAL_FAILED), _FIRST_PAUSE), _LONGEST_PAUSE)
    at = format_time(now + pause)
    return tuple(
        one.model_copy(update={"renews": at}) if one.renews and datetime.fromisoformat(one.renews) <= now else one
        for one in certificates
    )


def _with_right_clock(node: Node) -> MachineFacts:
    """The machine, once its clock is synchronised; after CLOCK_SECONDS as it is, and the status warns.

    A clock that is behind accepts what has expired, one that is ahead refuses what is good (trust.md 1.3).
    """
    clock = node.reporter.clock
    deadline = clock.monotonic() + CLOCK_SECONDS
    while not (machine := node.machine()).time_synchronised and clock.monotonic() < deadline:
        clock.wait(1.0, "waiting for chrony to set the clock")
    return machine


def _warn_of_the_machine(reporter: Reporter, machine: MachineFacts) -> None:
    if not machine.cgroup_v2:
        reporter.condition(
            "cgroup-v1",
            "this machine runs on cgroup v1; kubelet 1.35 and later refuses to start on it",
            remedy="boot with systemd.unified_cgroup_hierarchy=1, or use an image of this decade",
            severity="warning",
        )
    if not machine.time_synchronised:
        reporter.condition(
            "clock-not-synchronised",
            "the kernel's clock is not synchronised yet: a wrong clock breaks certificates and AWS signatures",
            remedy="chronyc tracking; 169.254.169.123 must be reachable",
            severity="warning",
        )


def _tell(reporter: Reporter, verified: VerifiedRelease, release: Release, facts: NodeFacts) -> None:
    manifest = release.stable
    if verified.condition != "Fresh":
        reporter.condition(verified.condition, verified.details, severity="warning", remedy="coordinator refresh")
    reporter.update(
        serial=release.serial,
        role=manifest.group.role,
        node_name=node_name(manifest, facts),
        trust=verified.condition,
        metadata=verified.versions,
        versions={
            "kubernetes": manifest.kubernetes_version,
            "containerd": ".".join(str(part) for part in facts.containerd_version),
            "etcd": ".".join(str(part) for part in facts.etcd_version),
            "kernel": facts.kernel,
        },
        force=True,
    )
