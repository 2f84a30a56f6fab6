"""What the agent itself has left: an apply that was cut off, manifests it will not take again, and its last words."""

from agent.doctor.case import Case
from agent.doctor.finding import Finding, fail, ok, skipped, warn
from agent.linux.files import LinuxFiles
from units.generations import Generations
from units.transaction import MOST_ATTEMPTS


def generations(case: Case) -> Finding:
    kept = Generations(LinuxFiles(case.patient.root))
    journal, quarantine = kept.journal, kept.quarantine
    if journal is not None:
        what = "undoing" if journal.phase == "undoing" else "applying"
        said = (
            f"{what} {journal.target[:12]} was begun and has not ended, attempt {journal.attempts} of {MOST_ATTEMPTS}"
        )
        because = f": {journal.reason}" if journal.reason else ""
        return warn(
            f"{said}{because}", "agent boot goes on from there; agent status says what it waits for", "apply-open"
        )
    if quarantine:
        digest, newest = max(quarantine.items(), key=lambda item: item[1].at)
        said = f"{digest[:12]} failed here at {newest.at} and was undone: {newest.reason}"
        fix = "publish a corrected manifest; coordinator rollout status shows the others"
        return warn(said, fix, "manifest-undone")
    current = kept.current
    return ok(f"runs {current.kubernetes_version}, no apply is open") if current else skipped("nothing was applied yet")


def last_run(case: Case) -> Finding:
    """Last, because it is the symptom: what a check above has found is the cause."""
    status = case.status
    if status is None:
        return warn(
            "`agent boot` has not run since this machine started",
            "systemctl status bootwright-boot; journalctl -b -u bootwright-boot",
            "not-booted",
        )
    errors = [condition for condition in status.conditions if condition.severity == "error"]
    if errors:
        first = errors[0]
        return fail(f"{status.stage} since {first.since}: {first.message}", first.remedy, first.code)
    if status.stage in ("failed", "refused", "retrying"):
        return fail(f"the last run ended as {status.stage}", "agent status", "last-run-failed")
    waiting = f", now {status.waiting_for}" if status.waiting_for else ""
    return ok(f"{status.stage}, serial {status.serial}, {status.updated}{waiting}")
