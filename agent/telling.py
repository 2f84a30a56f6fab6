"""What a run has found and done, put into the status: conditions with code and remedy, and the marker of a rollout."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent.linux.machine import MachineFacts
from agent.reporter import Reporter, format_time
from agent.rollout_store import RolloutStore
from agent.trust import VerifiedRelease
from units.applied import Applied
from units.manifest import manifest_digest
from units.names import node_name
from units.renewing import Postponed
from units.status import CertificateState

if TYPE_CHECKING:
    from agent.boot import Target

RENEWAL_FAILED = "renewal-failed"
_FIRST_PAUSE = timedelta(minutes=1)  # the timer's own
_LONGEST_PAUSE = timedelta(minutes=15)  # certificates of three days are tried for eighty times before the alarm


def tell_applied(reporter: Reporter, applied: Applied) -> int:
    """The exit code. A node that went back to what works is ready: its condition says what it would not take."""
    reporter.converged(applied.report)
    reporter.update(drift=tuple(outcome.key for outcome in applied.drift), manifest=applied.running)
    if applied.drift:
        changes = "; ".join(f"{one.key}: {one.change.summary}" for one in applied.drift[:5] if one.change)
        more = f" and {len(applied.drift) - 5} more" if len(applied.drift) > 5 else ""
        reporter.condition(
            "drifted",
            f"changed behind the agent's back: {changes}{more}",
            remedy="agent diff; a reboot repairs, or `drift: repair` in the spec",
            severity="warning",
        )
    failure = applied.failure
    if failure:
        reporter.condition(failure.code, failure.message, remedy=failure.remedy)
    if cordoned := applied.still_cordoned:
        reporter.condition(cordoned.code, cordoned.message, remedy=cordoned.remedy, severity="warning")
    if applied.end in ("failed", "rebooting"):
        return failure.exit_code if failure else 1
    return _tell_postponed(reporter, applied.postponed) or (cordoned.exit_code if cordoned else 0)


def mark_outcome(store: RolloutStore, target: "Target", applied: Applied) -> None:
    """Written again at each whole run: a marker that a power cut swallowed would leave the rollout waiting."""
    release, choice = target.release, target.choice
    if release.candidate is None or release.rollout is None:
        return
    candidate, serial = manifest_digest(release.candidate), release.rollout.serial
    if applied.digest == candidate and applied.end in ("committed", "unchanged"):
        store.mark(serial, "ok", target.facts.instance_id)
    elif choice.quarantined or (applied.digest == candidate and applied.end in ("undone", "refused")):
        store.mark(serial, "failed", target.facts.instance_id)


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


def warn_of_the_machine(reporter: Reporter, machine: MachineFacts, *, clock_right: bool) -> None:
    if not machine.cgroup_v2:
        reporter.condition(
            "cgroup-v1",
            "this machine runs on cgroup v1; kubelet 1.35 and later refuses to start on it",
            remedy="boot with systemd.unified_cgroup_hierarchy=1, or use an image of this decade",
            severity="warning",
        )
    if not clock_right:
        reporter.condition(
            "clock-not-synchronised",
            "the kernel's clock is not synchronised yet: a wrong clock breaks certificates and AWS signatures",
            remedy="chronyc tracking; 169.254.169.123 must be reachable",
            severity="warning",
        )


def tell_target(reporter: Reporter, verified: VerifiedRelease, target: "Target") -> None:
    manifest, facts, choice = target.manifest, target.facts, target.choice
    if verified.condition != "Fresh":
        reporter.condition(verified.condition, verified.details, severity="warning", remedy="coordinator refresh")
    reporter.update(
        serial=target.release.serial,
        role=manifest.group.role,
        choice=choice.decision.choice,
        why=choice.decision.reason,
        candidate_waits=choice.waits,
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
    if choice.quarantined:
        failed = choice.quarantined
        happened = "failed here" if failed.code == "manifest-undone" else "was refused before anything was changed"
        reporter.condition(
            failed.code,
            f"the manifest that this node should run {happened}, at {failed.at}: {failed.reason}",
            remedy="publish a corrected one; this node runs the one before it",
        )
