"""A renewal may fail: as long as what the machine has still works, the rest of the plan goes on without it.

Certificates are renewed when 40 % of their life is left. An issuer or a KMS that cannot be reached on that day is no
reason to leave a kubelet stopped after a reboot; it becomes one for an alarm when little is left.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from units.converge import Observer, converge, silent
from units.credentials import Certificate
from units.errors import Retryable
from units.host import Host
from units.node_certificates import NodeCertificates
from units.plan import Plan
from units.report import Failure, Outcome, Report
from units.resource import Change, Resource
from units.usable import usable_leaf

ALARM_LIFE = 0.10  # of a year 36 days, of three days seven hours: enough for a person to come


@dataclass(frozen=True, slots=True)
class Postponed:
    """A renewal that failed and can wait: `life_left` is the least part of their life that its certificates have."""

    key: str
    failure: Failure
    life_left: float

    @property
    def alarming(self) -> bool:
        return self.life_left < ALARM_LIFE


def usable_life(resource: Resource, host: Host) -> float | None:
    """The least part of life left in what `resource` would renew; None if it renews nothing, or something of it does
    not work as it is.
    """
    match resource:
        case Certificate():
            leaves = [usable_leaf(host, resource.path, resource.request, resource.bundle)]
        case NodeCertificates():
            leaves = [usable_leaf(host, leaf.path, leaf.request, resource.accepted) for leaf in resource.leaves]
        case _:
            return None
    now = host.clock.now()
    lives = [leaf.life_left(now) for leaf in leaves if leaf is not None]
    return min(lives) if len(lives) == len(leaves) else None


def converge_patiently(plan: Plan, host: Host, *, observe: Observer = silent) -> tuple[Report, tuple[Postponed, ...]]:
    """`converge`, that goes on past a failed renewal which can wait; such a one is reported as skipped, with why."""
    outcomes: list[Outcome] = []
    postponed: list[Postponed] = []
    rest = plan.resources
    while True:
        report = converge(Plan(rest), host, observe=_counting(observe, len(outcomes), len(plan.resources)))
        at = next((n for n, outcome in enumerate(report.outcomes) if outcome.failure), None)
        if at is None or (left := usable_life(rest[at], host)) is None:
            return Report((*outcomes, *report.outcomes)), tuple(postponed)
        failed = report.outcomes[at]
        assert failed.failure is not None
        waiting = {failed.key: left, **dict(_same_wait(rest[at], failed.failure, rest[at + 1 :], host))}
        postponed += [Postponed(key, failed.failure, life) for key, life in waiting.items()]
        why = Change(f"to be renewed later: {failed.failure.code}")
        outcomes += [*report.outcomes[:at], *(Outcome(key, "skipped", 0.0, why) for key in waiting)]
        rest = tuple(resource for resource in rest[at + 1 :] if resource.key not in waiting)


def _same_wait(
    failed: Resource, failure: Failure, later: Sequence[Resource], host: Host
) -> Iterator[tuple[str, float]]:
    """What is due too, can wait, and would wait for the same key once more: the limits of a KMS add up to minutes."""
    if failure.exit_code != Retryable.exit_code or not isinstance(failed, Certificate):
        return
    for resource in later:
        if isinstance(resource, Certificate) and resource.request.authority == failed.request.authority:
            left = usable_life(resource, host)
            if left is not None and resource.check(host):
                yield resource.key, left


def _counting(observe: Observer, done: int, total: int) -> Observer:
    def counted(resource: Resource, number: int, _of: int) -> None:
        observe(resource, done + number, total)

    return counted
