"""Converge: check, apply, check again, in the plan's order; stop at the first failure. The only engine there is.

A dry run is the same without `apply`; renewal and drift repair are the same run again.
"""

from collections.abc import Callable
from dataclasses import replace

from pki.errors import PkiError
from units.errors import BootwrightError
from units.host import Host
from units.plan import Plan
from units.report import Failure, Outcome, Report
from units.resource import Resource

NOT_CONVERGED = "not-converged"
Observer = Callable[[Resource, int, int], None]  # resource about to be looked at, its number, of how many


def silent(_resource: Resource, _number: int, _of: int) -> None:
    pass


def converge(plan: Plan, host: Host, *, dry_run: bool = False, observe: Observer = silent) -> Report:
    """A failed resource stops the run, because later ones build on it; the next run goes on from what was done."""
    outcomes: list[Outcome] = []
    total = len(plan.resources)
    for number, resource in enumerate(plan, 1):
        observe(resource, number, total)
        begun = host.clock.monotonic()
        outcome = replace(_one(resource, host, dry_run=dry_run), begun=begun)
        outcomes.append(outcome)
        if outcome.status == "failed" and not dry_run:
            outcomes += [Outcome(rest.key, "skipped", 0.0) for rest in plan.resources[number:]]
            break
    return Report(tuple(outcomes))


def _one(resource: Resource, host: Host, *, dry_run: bool) -> Outcome:
    begun = host.clock.monotonic()

    def seconds() -> float:
        return host.clock.monotonic() - begun

    change = None
    try:
        change = resource.check(host)
        if change is None:
            return Outcome(resource.key, "unchanged", seconds())
        if dry_run:
            return Outcome(resource.key, "would-change", seconds(), change)
        resource.apply(host)
        left = resource.check(host)
    except (BootwrightError, PkiError) as error:
        exit_code = error.exit_code if isinstance(error, BootwrightError) else 1
        failure = Failure(error.code, f"{resource.key}: {error}", error.remedy, exit_code)
        return Outcome(resource.key, "failed", seconds(), change, failure)
    if left is not None:
        message = f"{resource.key}: applied, and still: {left.summary}"
        remedy = "something else keeps changing it: look for a second manager of this node"
        return Outcome(resource.key, "failed", seconds(), change, Failure(NOT_CONVERGED, message, remedy, 4))
    return Outcome(resource.key, "changed", seconds(), change)
