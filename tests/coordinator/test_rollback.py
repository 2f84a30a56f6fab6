"""`rollback`: an older manifest comes back as a rollout, under a new serial, with the trust of now."""

import pytest

from coordinator.publish import PublishRequest
from coordinator.rollouts_back import RollbackRequest, prepare_rollback
from coordinator.state import Lifetimes
from tests.coordinator.fleet import FleetDouble, manifest_of, preview_double
from tests.coordinator.workshop import CLUSTER, Workshop
from units.errors import Invalid, Refused
from units.manifest import Manifest


@pytest.fixture
def fleet(workshop: Workshop) -> FleetDouble:
    """Versions 1, 2 and 3 of one group, as serials 1, 2 and 3."""
    made = FleetDouble(workshop, {"workers": "node", "others": "node"})
    made.publish()
    made.publish(workers="2")
    made.publish(workers="3")
    return made


def back(fleet: FleetDouble, *groups: str, to: int | None = None) -> tuple[str, str, str, int]:
    request = RollbackRequest(PublishRequest(CLUSTER, None, Lifetimes()), groups, to)
    publication = prepare_rollback(request, fleet.workshop.repository, preview_double, fleet.clock)
    if not publication.is_empty:
        fleet.sign(publication)
    return fleet.standing()


def test_it_returns_to_the_stable_manifest_before(fleet: FleetDouble) -> None:
    assert back(fleet, "workers") == ("2", "", "", -1)
    assert fleet.workshop.repository.read().groups["workers"].serial == 4


def test_with_live_nodes_it_is_a_rollout_with_a_canary(fleet: FleetDouble) -> None:
    ids = fleet.live(8)
    assert back(fleet, "workers") == ("3", "2", "running", 0)
    assert len(fleet.members(ids)) == 1
    assert fleet.workshop.repository.read().note.what == "rollback to the one before: workers"


def test_to_a_serial_is_what_was_stable_then(fleet: FleetDouble) -> None:
    assert back(fleet, to=1) == ("1", "", "", -1)
    assert fleet.workshop.repository.read().groups["others"].serial == 1  # it was the same then


def test_a_candidate_that_never_became_stable_is_nothing_to_return_to(fleet: FleetDouble) -> None:
    fleet.live(3)
    fleet.publish(workers="bad")
    fleet.order("abort", "workers")
    assert back(fleet, "workers") == ("3", "2", "running", 0)


def test_while_a_rollout_is_under_way_abort_is_the_way_back(fleet: FleetDouble) -> None:
    fleet.live(3)
    fleet.publish(workers="4")
    with pytest.raises(Refused) as caught:
        back(fleet, "workers")
    assert caught.value.remedy == "coordinator rollout abort workers"


def test_trust_does_not_go_back(workshop: Workshop) -> None:
    fleet = FleetDouble(workshop)
    fleet.publish()
    fleet.publish(workers="2")

    def rotated(version: str) -> Manifest:
        plain = manifest_of("workers", version=version)
        issuer = plain.trust.model_copy(update={"service_account_issuer": "https://rotated.example.com"})
        return plain.model_copy(update={"trust": issuer})

    from coordinator.publish import prepare

    request = PublishRequest(CLUSTER, None, Lifetimes())
    fleet.sign(prepare(workshop.repository, request, lambda *_: {"workers": rotated("2")}, preview_double, fleet.clock))
    assert back(fleet, "workers")[0] == "1"  # serial 2 differs from now by its trust alone: that is no way back
    assert fleet.release().stable == rotated("1")


@pytest.mark.parametrize(
    ("groups", "to", "code"),
    [
        (("nobody",), None, "group-unknown"),
        (("workers",), 99, "serial-unknown"),
        (("others",), None, "rollback-nothing"),
    ],
)
def test_what_cannot_be_is_said(fleet: FleetDouble, groups: tuple[str, ...], to: int | None, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        back(fleet, *groups, to=to)
    assert caught.value.code == code
    assert caught.value.remedy


def test_to_what_is_stable_now_is_nothing_to_do(fleet: FleetDouble) -> None:
    back(fleet, "workers", to=3)
    assert fleet.workshop.repository.read().groups["workers"].serial == 3


def test_the_release_of_an_old_serial_that_is_lost_is_named(fleet: FleetDouble) -> None:
    from coordinator.history import read_groups

    groups = [groups for note, groups in read_groups(fleet.workshop.repository, limit=9) if note.serial == 2]
    digest = groups[0]["workers"].target.hashes["sha256"]
    fleet.workshop.store.put(f"tuf/targets/groups/{digest}.workers.json", b"damaged")
    with pytest.raises(Refused, match="serial 2 cannot be read"):
        back(fleet, "workers")
    assert back(fleet, "workers", to=1) == ("1", "", "", -1)
