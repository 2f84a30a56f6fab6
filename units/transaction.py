"""Transaction: a machine goes from one manifest to another whole, or stays on the one that it had.

Intent is written first. After a power cut the next run goes on, and after too many attempts it goes back. A manifest
with which the machine does not come up well is undone and never tried again on this machine.
"""

from collections.abc import Callable
from dataclasses import replace

from units.actions import Action, Disruption
from units.applied import Applied, End
from units.converge import NOT_CONVERGED, Observer, silent
from units.disturbing import (
    ask_reboot,
    disturbance,
    drained,
    forget_resource_assignments,
    needs,
    rebooted,
    uncordon,
)
from units.drift import drifted, may_drift
from units.errors import BootwrightError, Invalid, Retryable
from units.facts import NodeFacts
from units.generations import Generations, Journal
from units.health import Check, Illness, LeaseCheck, health_checks, pod_checks, well
from units.host import Host
from units.manifest import Manifest, manifest_digest
from units.names import node_name
from units.plan import Plan, plan
from units.removal import Leftover, leftovers
from units.renewing import Postponed, converge_patiently
from units.report import Failure, Outcome, Report
from units.resource import Change
from units.services.kubelet import server_url
from units.window import wait_until_well

MOST_ATTEMPTS = 3
NOTHING = Report(())

HostFor = Callable[[Manifest], Host]
"""The machine's ports for one manifest: what it may open, and whom it asks, depends on what was signed."""


class Transaction:
    """One machine, one run. Every path ends with the machine on `target`, on what it ran before, or with a journal."""

    def __init__(self, host_for: HostFor, facts: NodeFacts, *, observe: Observer = silent) -> None:
        self._host_for = host_for
        self._facts = facts
        self._observe = observe
        self._postponed: tuple[Postponed, ...] = ()
        self._plans: dict[str, Plan] = {}  # a plan takes tens of milliseconds to make

    def apply(self, target: Manifest, *, repair: bool = True) -> Applied:
        """With `repair`, what drifted from the manifest that runs already is put right; else it is only told."""
        self._host = self._host_for(target)
        self._kept = Generations(self._host.files)
        applied = self._apply(target, repair=repair)
        if self._kept.journal is not None:
            return applied  # it goes on, and what was cordoned for it stays so
        return replace(applied, still_cordoned=uncordon(node_name(target, self._facts), self._kept, self._host))

    def _apply(self, target: Manifest, *, repair: bool) -> Applied:
        journal = self._kept.journal
        if journal is not None and journal.phase == "undoing" and journal.previous is not None:
            undone = self._undo(journal)
            if undone.end != "undone" or journal.target == manifest_digest(target):
                return undone
            self._host, journal = self._host_for(target), None  # what was undone is not what is asked for now
        return self._take(target, journal, repair=repair)

    def _take(self, target: Manifest, journal: Journal | None, *, repair: bool) -> Applied:
        digest, current = manifest_digest(target), self._kept.current
        is_current = digest == self._kept.current_digest
        is_new = not is_current and (journal is None or journal.target != digest)
        if current is not None and is_new and (mistake := self._mistake(target)):
            return self._refuse(digest, mistake, current, journal)
        the_plan = self._plan(target)
        if is_current and journal is None:
            return self._converged_again(the_plan, digest, repair=repair)
        return self._switch(target, the_plan, self._begin(digest, target, current, journal))

    def _mistake(self, target: Manifest) -> Failure | None:
        """What is wrong with it, before anything is touched; the machine has something else to go on with."""
        from units.validation import complaints  # only a run that changes something pays for its modules

        try:
            found = tuple(complaints(self._plan(target), target.minor, self._host))
        except Invalid as error:
            return Failure(error.code, str(error), error.remedy, 1)
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        return replace(found[0], message="; ".join(one.message for one in found[:5]) + more) if found else None

    def _refuse(self, digest: str, mistake: Failure, current: Manifest, journal: Journal | None) -> Applied:
        self._condemn(digest, mistake.message, mistake.code)
        if journal is None:
            return Applied("refused", digest, NOTHING, self._kept.current_digest, mistake)
        # The machine is in the middle of a third one: it goes back to what it ran before that.
        back = self._switch(
            current, self._plan(current), self._begin(self._kept.current_digest, current, current, journal)
        )
        return replace(back, end="refused", digest=digest, failure=mistake) if back.end == "committed" else back

    def _plan(self, manifest: Manifest) -> Plan:
        digest = manifest_digest(manifest)
        if digest not in self._plans:
            self._plans[digest] = plan(manifest, self._facts)
        return self._plans[digest]

    def _converged_again(self, the_plan: Plan, digest: str, *, repair: bool) -> Applied:
        drift = () if repair else drifted(the_plan, self._host)
        wanted = the_plan if repair else Plan(tuple(one for one in the_plan if not may_drift(one)))
        report, postponed = converge_patiently(wanted, self._host, observe=self._observe)
        end: End = "failed" if report.failure else "unchanged"
        return Applied(end, digest, report, digest, report.failure, drift, postponed)

    def _begin(self, digest: str, target: Manifest, current: Manifest | None, journal: Journal | None) -> Journal:
        """Intent, durable before the first change; another attempt if this very target was begun before."""
        self._kept.keep(target)
        if journal is not None and journal.target == digest:
            again = journal.model_copy(update={"attempts": journal.attempts + 1})
            self._kept.write_journal(again)
            return again
        previous = self._kept.current_digest or None
        previous = None if previous == digest else previous  # on the way back to it there is nothing to fall back on
        if journal is not None:  # cut off in the middle of another target: what was well before that one counts
            others = tuple(sorted({*journal.others, journal.target}))
            begun = Journal(target=digest, previous=previous, well_before=journal.well_before, others=others)
        else:
            before = () if current is None else self._well_now(current)
            begun = Journal(target=digest, previous=previous, well_before=before)
        self._kept.write_journal(begun)
        return begun

    def _switch(self, target: Manifest, the_plan: Plan, journal: Journal) -> Applied:
        if journal.attempts > MOST_ATTEMPTS and journal.previous is not None:
            return self._undo(_because(journal, f"{MOST_ATTEMPTS} attempts to apply it were cut off or had to wait"))
        disturbing = disturbance(self._here(), the_plan)
        must_reboot = needs(disturbing, Disruption.REBOOT) and not (journal.reboot == "there" and rebooted(self._host))
        try:
            journal = self._made_room(target, disturbing, journal, must_reboot=must_reboot)
        except BootwrightError as error:  # nothing is switched yet: the next run tries again
            return self._failed(journal, NOTHING, Failure(error.code, str(error), error.remedy, error.exit_code))
        report = self._converge(the_plan)
        if report.failure:
            return self._not_converged(journal, report, report.failure)
        if must_reboot:
            return self._reboot(journal.model_copy(update={"reboot": "there"}), report)
        if journal.previous is not None and (ill := self._wait_until_well(target, journal)):
            return self._undo(_because(journal, _told(ill)), report)
        self._kept.commit(journal.target)
        self._kept.close_journal()
        return Applied("committed", journal.target, report, journal.target, postponed=self._postponed)

    def _made_room(
        self, target: Manifest, disturbing: tuple[Action, ...], journal: Journal, *, must_reboot: bool
    ) -> Journal:
        """What must be over before anything is switched: pods that the change would harm, and what ties kubelet."""
        reassigns = needs(disturbing, Disruption.DRAIN)
        if reassigns or must_reboot:
            journal = drained(journal, node_name(target, self._facts), self._kept, self._host)
        if reassigns and journal.reboot == "none":
            forget_resource_assignments(self._host)
        return journal

    def _not_converged(self, journal: Journal, report: Report, failure: Failure) -> Applied:
        if journal.previous is None or _is_the_worlds(failure):
            return self._failed(journal, report, failure)  # the next run tries again
        return self._undo(_because(journal, failure.message), report)

    def _reboot(self, journal: Journal, report: Report) -> Applied:
        ask_reboot(journal.model_copy(update={"attempts": journal.attempts - 1}), self._kept, self._host)
        said = f"the way {'to' if journal.phase == 'applying' else 'back from'} {journal.target[:12]} needs a reboot"
        failure = Failure("reboot-needed", said, "wait: the next boot goes on", Retryable.exit_code)
        return Applied("rebooting", journal.target, report, self._kept.current_digest, failure)

    def _undo(self, journal: Journal, tried: Report = NOTHING) -> Applied:
        previous = self._kept.manifest(journal.previous)
        reason = journal.reason or "it was being undone when the power went"
        if previous is None:
            said = f"{reason}; and the manifest before it, {journal.previous}, is not on this machine any more"
            failure = Failure("previous-manifest-lost", said, "publish a manifest that works: this machine takes it", 1)
            self._kept.close_journal()
            return self._failed(journal, tried, failure)
        journal = journal.model_copy(update={"phase": "undoing", "reason": reason})
        self._kept.write_journal(journal)
        self._host = self._host_for(previous)
        report = self._back_to(self._plan(previous))
        if report.failure:
            failure = report.failure
            said = f"undoing {journal.target[:12]} ({reason}) does not end: {failure.message}"
            return self._failed(journal, report, Failure("undo-failed", said, failure.remedy, failure.exit_code))
        if journal.reboot == "there" or (journal.reboot == "back" and not rebooted(self._host)):
            return self._reboot(journal.model_copy(update={"reboot": "back"}), report)
        ill = self._wait_until_well(previous, journal)
        self._condemn(journal.target, reason, "manifest-undone")
        self._kept.commit(manifest_digest(previous))
        self._kept.close_journal()
        return self._undone(journal, previous, report, ill)

    def _back_to(self, the_plan: Plan) -> Report:
        """Nothing is drained on the way back: what must go for this change went before it, or the change never began.
        A reboot ends in order what runs (kubelet's shutdownGracePeriod).
        """
        if needs(disturbance(self._here(), the_plan), Disruption.DRAIN):
            forget_resource_assignments(self._host)
        return self._converge(the_plan)

    def _undone(self, journal: Journal, previous: Manifest, report: Report, ill: tuple[Illness, ...]) -> Applied:
        told = f"{journal.target[:12]} was undone"
        if ill:
            said = f"{told} ({journal.reason}), but this machine is still not well: {_told(ill)}"
            return self._failed(journal, report, Failure("undo-unwell", said, "agent doctor", 1))
        failure = Failure(
            "manifest-undone",
            f"{told}: {journal.reason}",
            "this machine runs the manifest before it; publish a corrected one",
            1,
        )
        return Applied("undone", journal.target, report, manifest_digest(previous), failure)

    def _condemn(self, digest: str, reason: str, code: str) -> None:
        self._kept.condemn(digest, at=f"{self._host.clock.now():%Y-%m-%dT%H:%M:%SZ}", reason=reason, code=code)

    def _failed(self, journal: Journal, report: Report, failure: Failure) -> Applied:
        return Applied("failed", journal.target, report, self._kept.current_digest, failure)

    def _converge(self, the_plan: Plan) -> Report:
        """To the plan, and without what other manifests on this machine wanted and it does not."""
        report, self._postponed = converge_patiently(the_plan, self._host, observe=self._observe)
        if report.failure:
            return report
        removed = tuple(self._removed(leftover) for leftover in self._leftovers(the_plan))
        return Report((*report.outcomes, *removed))

    def _removed(self, leftover: Leftover) -> Outcome:
        key = leftover.resource.key
        if not leftover.is_there(self._host):
            leftover.sweep(self._host)
            return Outcome(key, "unchanged", 0.0)
        begun = self._host.clock.monotonic()
        leftover.remove(self._host)
        return Outcome(key, "changed", self._host.clock.monotonic() - begun, Change("remove"))

    def _leftovers(self, the_plan: Plan) -> tuple[Leftover, ...]:
        found = (leftovers(a_plan, the_plan) for a_plan in self._here())
        return tuple({one.resource.key: one for some in found for one in some}.values())

    def _here(self) -> tuple[Plan, ...]:
        """Of every manifest that may have left something here: the current one, and all that were begun."""
        journal = self._kept.journal
        begun = () if journal is None else (journal.target, *journal.others)
        manifests = (self._kept.current, *(self._kept.manifest(digest) for digest in begun))
        return tuple(self._plan(manifest) for manifest in manifests if manifest is not None)

    def _checks(self, manifest: Manifest, lease: LeaseCheck) -> tuple[Check, ...]:
        return (*health_checks(manifest, self._facts), *pod_checks(self._plan(manifest)), lease)

    def _well_now(self, manifest: Manifest) -> tuple[str, ...]:
        # A lease that could not be read is none that was well: nobody must answer for it after the change.
        lease = LeaseCheck(node_name(manifest, self._facts), silence_is_illness=True)
        return tuple(sorted(well(self._checks(manifest, lease), self._host)))

    def _wait_until_well(self, manifest: Manifest, journal: Journal) -> tuple[Illness, ...]:
        current = self._kept.current
        moved = current is not None and server_url(current, self._facts) != server_url(manifest, self._facts)
        now = self._host.clock.now()
        lease = LeaseCheck(node_name(manifest, self._facts), since=now, silence_is_illness=moved)
        return wait_until_well(self._checks(manifest, lease), journal.well_before, self._host, _told)


def _is_the_worlds(failure: Failure) -> bool:
    """Whether waiting may help: a store or an issuer that does not answer.

    A unit that does not come up, or is gone a moment after it came, is the manifest's own doing, although its start
    may be tried again.
    """
    own = failure.code.startswith("unit-") or failure.code == NOT_CONVERGED
    return failure.exit_code == Retryable.exit_code and not own


def _because(journal: Journal, reason: str) -> Journal:
    return journal.model_copy(update={"reason": reason[:1000]})


def _told(ill: tuple[Illness, ...]) -> str:
    return "; ".join(f"{illness.name}: {illness.said}" for illness in ill)
