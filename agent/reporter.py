"""Tells what the agent is doing, as it does it: /run/bootwright/status.json, S3, sd_notify and the journal."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from agent.soon import Soon
from pki.errors import PkiError
from units.errors import BootwrightError
from units.etcd_conditions import CARE_CODES, NO_QUORUM
from units.host import Clock
from units.report import Outcome, Report
from units.status import STAGE_OF_EXIT, Condition, NodeStatus, Phase, ResourceState

LOG = logging.getLogger("bootwright")
PUBLISH_PAUSE = 2.0  # seconds between two uploads while things move fast; the last one is always sent


@dataclass
class Reporter:
    """Holds the one mutable value of a run: the status so far.

    `write_local` and `publish` take the status; neither may stop a boot, so `publish` failures become a log line.
    """

    status: NodeStatus
    clock: Clock
    write_local: Callable[[NodeStatus], None]
    notify: Callable[[str], None] = lambda _text: None
    publish: Callable[[NodeStatus], None] | None = None
    at_end: Callable[[NodeStatus, Report], NodeStatus] | None = None  # what else a run tells when it ends
    _report: Report = field(default=Report(()), init=False)
    _published: float = field(default=float("-inf"), init=False)
    _since: dict[str, str] = field(default_factory=dict, init=False)
    _seen: set[str] = field(default_factory=set, init=False)  # codes of conditions that this run has met itself
    _local: Soon = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._local = Soon(lambda: self.write_local(self.status))

    def begin(self) -> None:
        """A new run. What the last one said stands until `conclude`: a node that tries again all the time must not
        look, to whoever asks meanwhile, like one that nothing is wrong with.
        """
        self._since = {condition.code: condition.since for condition in self.status.conditions}
        self._seen.clear()
        stage = "ready" if self.status.stage == "ready" else "booting"
        self.status = self.status.model_copy(update={"stage": stage, "phases": ()})

    def update(self, *, force: bool = False, **fields: Any) -> None:
        """Change fields of the status and let everybody see; `force` uploads even if the last upload was just now."""
        self._change(fields)
        self._local.now()
        self._upload(force=force)

    def progress(self, text: str) -> None:
        """The wait or step under way, in words. It may stand in the status half a second later."""
        self.notify(text)
        LOG.info("%s", text, extra={"wait": text})
        self._change({"waiting_for": text})
        self._local.soon()
        self._upload(force=False)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begun = self.clock.monotonic()
        self.progress(name)
        try:
            yield
        finally:
            phase = Phase(name=name, seconds=round(self.clock.monotonic() - begun, 3), begins=round(begun, 3))
            self.status = self.status.model_copy(update={"phases": (*self.status.phases, phase)})

    def condition(self, code: str, message: str, *, remedy: str = "", severity: str = "error") -> None:
        """Add or refresh a condition; the first time it was seen stays."""
        known = {condition.code: condition for condition in self.status.conditions}
        since = self._since.get(code) or (known[code].since if code in known else format_time(self.clock.now()))
        self._since[code] = since
        self._seen.add(code)
        known[code] = Condition.model_validate(
            {"code": code, "message": message, "remedy": remedy, "since": since, "severity": severity}
        )
        self.status = self.status.model_copy(update={"conditions": tuple(known.values())})

    def warn(self, error: BootwrightError) -> None:
        """Of a poll: what the last whole run found still holds, what an earlier poll could not do gives way to this."""
        self.status = self.status.model_copy(
            update={
                "conditions": tuple(
                    condition
                    for condition in self.status.conditions
                    if condition.since <= self.status.converged or condition.code in {error.code, *CARE_CODES}
                )
            }
        )
        self.condition(error.code, str(error), remedy=error.remedy, severity="warning")
        self.update(force=True)

    def since(self, code: str) -> datetime:
        """When a condition was first seen; now, if it was not."""
        text = self._since.get(code)
        return datetime.fromisoformat(text) if text else self.clock.now()

    def whole_run_begins(self) -> None:
        """Until it is done, this node may be half of one release and half of another, however ready it looks: whoever
        kills the agent now must not leave a status that lets the next poll find nothing to do.
        """
        self.status = self.status.model_copy(update={"converged": ""})

    def whole_run_done(self) -> None:
        """The plan was checked to its end. A warning later must not look like one: the hourly run counts from here."""
        self.status = self.status.model_copy(update={"converged": format_time(self.clock.now())})

    def converged(self, report: Report) -> None:
        """Take over a report; the outcome of each resource goes to the journal with structured fields."""
        self._report = report
        for outcome in report.outcomes:
            level = logging.ERROR if outcome.failure else logging.INFO if outcome.change else logging.DEBUG
            text = f"{outcome.status} {outcome.key}: {_summary(outcome)}".rstrip(": ")
            fields = {"resource": outcome.key, "outcome": outcome.status, "seconds": f"{outcome.seconds:.3f}"}
            LOG.log(level, "%s", text, extra=fields)
        self.status = self.status.model_copy(
            update={
                "resources": tuple(
                    ResourceState(
                        key=outcome.key,
                        status=outcome.status,
                        seconds=round(outcome.seconds, 3),
                        summary=_summary(outcome),
                    )
                    for outcome in report.outcomes
                )
            }
        )

    def conclude(self, over: Collection[str] = ()) -> None:
        """The run has seen all it will see: conditions of runs before it are over. What `agent etcd` found stays
        its to take back, behind this run's own, but for codes that are `over`: it has seen the contrary.
        """
        known, theirs = self.status.conditions, CARE_CODES.difference(self._seen, over)
        own = tuple(condition for condition in known if condition.code in self._seen)
        kept = tuple(condition for condition in known if condition.code in theirs)
        self.status = self.status.model_copy(update={"conditions": (*own, *kept)})

    def finish(self, exit_code: int) -> None:
        # A run that came to its end has read a key of every etcd here with a quorum behind it (EtcdGeneration).
        self.conclude(over=() if exit_code else (NO_QUORUM,))
        self.status = self.status.model_copy(update={"stage": STAGE_OF_EXIT[exit_code], "waiting_for": ""})
        if self.at_end is not None:
            self.status = self.at_end(self.status, self._report)
        self.update(force=True)
        self.notify(f"{self.status.stage}: serial {self.status.serial}")

    def failed(self, error: BootwrightError | PkiError) -> int:
        """Record an error that ended the run; returns its exit code."""
        exit_code = error.exit_code if isinstance(error, BootwrightError) else 1
        LOG.error("%s", error, extra={"code": error.code, "remedy": error.remedy})
        self.condition(error.code, str(error), remedy=error.remedy)
        self.finish(exit_code)
        return exit_code

    def _change(self, fields: Mapping[str, Any]) -> None:
        self.status = self.status.model_copy(update={**fields, "updated": format_time(self.clock.now())})

    def _upload(self, *, force: bool) -> None:
        if self.publish is None:
            return
        now = self.clock.monotonic()
        if not force and now - self._published < PUBLISH_PAUSE:
            return
        self._published = now
        try:
            self.publish(self.status)
        except BootwrightError as error:
            # Off-node truth is worth much, a booting node more: the local status has it all.
            LOG.warning("status not published: %s", error, extra={"code": error.code})


def _summary(outcome: Outcome) -> str:
    if outcome.failure:
        return outcome.failure.message.removeprefix(f"{outcome.key}: ")
    return outcome.change.summary if outcome.change else ""


def format_time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
