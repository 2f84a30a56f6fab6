"""The story of a boot, top to bottom: who am I, what may I trust, what should I be, make it so, say how it went."""

from dataclasses import dataclass
from typing import Protocol

from agent.aws.imds import Instance
from agent.choosing import Choice, choose
from agent.gather import facts_of
from agent.linux.machine import MachineFacts
from agent.reporter import Reporter
from agent.rollout_store import RolloutStore
from agent.settings import Settings
from agent.telling import mark_outcome, tell_applied, tell_target, warn_of_the_machine, with_next_try
from agent.trust import Condition, VerifiedRelease
from pki.errors import PkiError
from units.applied import Applied
from units.converge import Observer, converge
from units.errors import BootwrightError
from units.facts import NodeFacts
from units.host import Host
from units.manifest import Manifest, Release, decode_release
from units.plan import plan
from units.report import Report
from units.resource import Resource
from units.status import CertificateState
from units.transaction import Transaction

CLOCK_SECONDS = 30.0  # chrony reaches 169.254.169.123 within a few
CLOCK_AGREES = 5.0  # seconds; `agent doctor` warns of more


class Node(Protocol):
    """Everything outside that a boot needs, each asked for when the story gets there (`agent.node` is the real one)."""

    reporter: Reporter

    def instance(self) -> Instance: ...

    def clock_ahead(self) -> float | None:
        """Seconds that the machine's clock is ahead of IMDS's; None where that tells no time."""

    def machine(self) -> MachineFacts: ...

    def enrolment(self) -> Settings: ...

    def connect(self, settings: Settings, instance: Instance) -> None:
        """From here on the store can be reached, and the status goes there too."""

    def verified_release(self) -> VerifiedRelease: ...

    def host(self, manifest: Manifest) -> Host: ...

    def rollout_store(self) -> RolloutStore: ...

    def certificates(self, jitter_key: str) -> tuple[CertificateState, ...]: ...


@dataclass(frozen=True, slots=True)
class Target:
    """What this node should be, proven: the outcome of the first half of the story."""

    release: Release
    facts: NodeFacts
    choice: Choice

    @property
    def manifest(self) -> Manifest:
        return self.choice.manifest


def boot(node: Node, *, repair: bool = True) -> int:
    """Converge this machine; the exit code. A failure is reported everywhere it can be before this returns.

    Without `repair`, what drifted is put right only if the manifest says so.
    """
    reporter = node.reporter
    reporter.begin()
    reporter.whole_run_begins()
    try:
        target = find_target(node)
        with reporter.phase("converging"):
            applied = _apply(node, target, repair=repair)
        exit_code = tell_applied(reporter, applied)
        certificates = node.certificates(target.facts.instance_id)
        if applied.end in ("failed", "rebooting"):
            reporter.update(certificates=certificates)  # one that has expired may be what it fails of
            reporter.finish(exit_code)
            return exit_code
        reporter.whole_run_done()
        reporter.update(certificates=with_next_try(certificates, reporter) if applied.postponed else certificates)
        mark_outcome(node.rollout_store(), target, applied)
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
        launched=instance.launched,
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
    warn_of_the_machine(reporter, machine, clock_right=machine.time_synchronised or _agrees_with_imds(node))
    choice = choose(release, facts, node.host, node.rollout_store(), fresh=verified.condition == Condition.FRESH)
    target = Target(release, facts, choice)
    tell_target(reporter, verified, target)
    return target


def compare_target(node: Node, target: Target) -> Report:
    """What converging would do, without doing it."""
    host = node.host(target.manifest)
    return converge(plan(target.manifest, target.facts), host, dry_run=True, observe=_progress_of(node))


def _apply(node: Node, target: Target, *, repair: bool) -> Applied:
    transaction = Transaction(node.host, target.facts, observe=_progress_of(node))
    return transaction.apply(target.manifest, repair=repair or target.manifest.drift == "repair")


def _progress_of(node: Node) -> Observer:
    def observe(resource: Resource, number: int, total: int) -> None:
        node.reporter.progress(f"{number}/{total} {resource.key}")

    return observe


def _with_right_clock(node: Node) -> MachineFacts:
    """The machine, once its clock is right; after CLOCK_SECONDS as it is, and the status warns.

    A clock that is behind accepts what has expired, one that is ahead refuses what is good (trust.md 1.3). Right is
    what chrony has set, and what agrees with IMDS: chrony takes seconds of every boot to say the same (ADR 0016).
    """
    if _agrees_with_imds(node):
        return node.machine()
    clock = node.reporter.clock
    deadline = clock.monotonic() + CLOCK_SECONDS
    while not (machine := node.machine()).time_synchronised and clock.monotonic() < deadline:
        clock.wait(1.0, "waiting for chrony to set the clock")
    return machine


def _agrees_with_imds(node: Node) -> bool:
    ahead = node.clock_ahead()
    return ahead is not None and abs(ahead) <= CLOCK_AGREES
