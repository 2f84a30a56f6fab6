"""The operator at another time, or with a shaking hand: what the coordinator signs when told the wrong thing."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from coordinator.anchor import Anchor
from coordinator.draft import Draft
from coordinator.location import Cluster, Where, locate
from coordinator.repository import Repository
from tests.lab.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Operator:
    """The coordinator's own code, with a clock that can lag behind. Reads the operator's environment variables."""

    scenario: Scenario

    def refresh(self, *, days_ago: float = 0) -> None:
        """As if nobody had refreshed since; days_ago below zero: as somebody will do then."""
        self._repository(days_ago).refresh(self._cluster().signing_keys())

    def sign(self, draft: Draft) -> None:
        self._repository().commit(lambda _: draft, self._cluster().signing_keys())

    def _cluster(self) -> Cluster:
        return locate(Where(file=self.scenario.spec, keys=self.scenario.directory / "keys"))

    def _repository(self, days_ago: float = 0) -> Repository:
        here = self._cluster()
        lag = timedelta(days=days_ago)
        return Repository(here.open_store(), Anchor(here.directory), clock=lambda: datetime.now(UTC) - lag)
