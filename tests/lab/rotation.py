"""A rotation of the kubernetes authority, as an operator goes through it."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.lab.live import LiveNode
from tests.lab.scenario import Scenario, StepFailed

SYNC = "systemctl start bootwright-sync.service"  # waits for its end, also for one that the timer has started
_RETRY = 4
_PUBLISH_SECONDS, _CONFIRM_SECONDS = 900.0, 600.0


@dataclass(frozen=True, slots=True)
class Rotation:
    """`ignored`: instances that nobody waits for."""

    scenario: Scenario
    ignored: tuple[str, ...] = ()

    @property
    def settle(self) -> str:
        """Real client-go looks at its files every five minutes; the doubles do for every connection."""
        return "6m" if self.scenario.provided.real else "20s"

    def publish(self, phase: str) -> None:
        """Tried again for as long as the command says that nodes need to settle."""
        command = ["trust", "rotate", "ca", "kubernetes", "--phase", phase, "--settle", self.settle, "--yes", "--json"]
        command.append("--at-once")  # the nodes sync in an order that these tests choose
        command += [word for instance in self.ignored for word in ("--ignore-node", instance)]
        deadline = time.monotonic() + _PUBLISH_SECONDS
        while (done := self.scenario.ask_coordinator(*command)).returncode == _RETRY:
            assert "rotation-settling" in done.stderr, done.stderr
            assert time.monotonic() < deadline, done.stderr
            time.sleep(5)
        if done.returncode:
            raise StepFailed(done.stdout + done.stderr)
        assert json.loads(done.stdout)["published"] is True

    def confirm(self, nodes: Sequence[LiveNode]) -> None:
        """They sync in this order, as their timers have them do within the minute, until the operator sees that nobody
        is missing.
        """
        deadline = time.monotonic() + _CONFIRM_SECONDS
        while waiting := self.unconfirmed():
            assert time.monotonic() < deadline, waiting
            for node in nodes:
                node.try_sh(SYNC, timeout=300)

    def unconfirmed(self) -> list[str]:
        shown = json.loads(self.scenario.coordinator("trust", "status", "--json", capture=True))
        (ring,) = [one for one in shown["authorities"] if one["name"] == "kubernetes"]
        waiting = [one for one in ring["unconfirmed"] if one["instance_id"] not in self.ignored]
        return [f"{one['instance_id']}: {one['reason']}" for one in waiting]
