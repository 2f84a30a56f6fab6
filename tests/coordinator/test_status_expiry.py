"""Whose certificates end soon, in the table and in --json: by the operator's clock, and whatever a node writes."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from coordinator.cli import run
from coordinator.commands.status import _document
from coordinator.commands.status import _row as _row_of_status
from coordinator.directory_store import DirectoryStore
from coordinator.health import certificate_warnings
from coordinator.inventory import Inventory, row_of
from coordinator.status import SeenNode
from units.status import CertificateState, NodeStatus, encode_status

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def certificate(*, age: float, life: float, authority: bool = False, path: str = "kubelet/client.pem") -> object:
    """Of so many days, and this old."""
    begin = NOW - age * DAY
    return CertificateState(
        path=f"/etc/kubernetes/pki/{path}",
        subject="kubernetes-ca" if authority else "system:node:a",
        issuer="kubernetes-ca",
        not_before=begin.isoformat(),
        not_after=(begin + life * DAY).isoformat(),
        days_left=-7777,  # as of another time: nobody may look at it
        life_left=-7.0,
        renews="",
        authority=authority,
    )


def node(*certificates: object) -> SeenNode:
    status = NodeStatus.model_validate({"instance_id": "i-1", "group": "workers", "certificates": certificates})
    return SeenNode("i-1", NOW, status)


def _row(found: SeenNode, now: datetime) -> list[str]:
    return _row_of_status(row_of(found, now), now, {})


def test_a_node_whose_certificates_are_good_is_not_flagged() -> None:
    good = node(certificate(age=74, life=100), certificate(age=3650 - 913, life=3650, authority=True))
    assert good.expiring(NOW) == ()
    assert _row(good, NOW)[7] == "26d"
    assert _row(good, NOW)[-1] == ""
    assert _document(good, NOW)["expiring"] == []


def test_a_leaf_under_a_quarter_of_its_life_is_named_with_its_days_and_a_remedy() -> None:
    low = node(certificate(age=76, life=100), certificate(age=1, life=100, path="kubelet/server.pem"))
    row = _row(low, NOW)
    assert row[7] == "24d !"
    assert row[-1].splitlines()[0] == "kubelet/client.pem expires in 24 d"
    assert "agent sync" in row[-1]
    (found,) = _document(low, NOW)["expiring"]
    assert (found["path"], found["days_left"], found["life_left"], found["authority"]) == (
        "/etc/kubernetes/pki/kubelet/client.pem",
        24,
        0.24,
        False,
    )


def test_an_expired_leaf_is_said_to_be() -> None:
    row = _row(node(certificate(age=103, life=100)), NOW)
    assert row[7] == "-3d !"
    assert "kubelet/client.pem has expired 3 d ago" in row[-1]


@pytest.mark.parametrize(
    ("age", "life", "flagged"),
    [(3650 - 364, 3650, True), (3650 - 912, 3650, True), (3650 - 913, 3650, False), (10, 300, True), (0, 400, False)],
)
def test_an_authority_is_flagged_in_its_last_year_and_in_the_last_quarter_of_its_life(
    age: float, life: float, *, flagged: bool
) -> None:
    found = node(certificate(age=age, life=life, authority=True, path="ca/kubernetes.crt")).expiring(NOW)
    assert bool(found) is flagged
    if found:
        assert "trust rotate" in found[0].remedy
        assert "kubernetes-ca" in found[0].text


def test_a_silent_nodes_certificates_go_on_ageing() -> None:
    silent = node(certificate(age=0, life=3))
    assert silent.expiring(NOW) == ()
    assert silent.expiring(NOW + 4 * DAY)[0].left.expired


def test_of_many_the_soonest_are_named_and_the_others_counted() -> None:
    many = node(*(certificate(age=90 + n, life=100, path=f"{n}.pem") for n in range(5)))
    lines = _row(many, NOW)[-1].splitlines()
    assert lines[0].startswith("4.pem")
    assert lines[3] == "and 2 more certificates"
    assert len(_document(many, NOW)["expiring"]) == 5


@pytest.mark.parametrize(
    "times",
    [("", ""), ("yesterday", "tomorrow"), ("2026-06-01", "2026-06-02"), ("2026-06-02T00:00Z", "2026-06-01T00:00Z")],
)
def test_times_that_cannot_be_read_leave_what_the_node_says_itself(times: tuple[str, str]) -> None:
    odd = certificate(age=1, life=2).model_copy(update={"not_before": times[0], "not_after": times[1], "days_left": 9})
    assert node(odd).days_left(NOW) == 9


def test_the_fleet_is_summed_up(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for number, age in enumerate((1, 80, 90, 101)):
        status = NodeStatus.model_validate(
            {"instance_id": f"i-{number}", "certificates": [certificate(age=age, life=100)]}
        )
        store.put(f"status/i-{number}.json", encode_status(status))
    warnings = certificate_warnings(Inventory(store, lambda: NOW).rows())
    assert [warning.split(" with ")[0] for warning in warnings] == ["1 node", "2 nodes"]
    assert "expired" in warnings[0]


def test_the_command_flags_it_in_the_table_and_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = DirectoryStore(tmp_path / "prod")
    status = NodeStatus.model_validate({"instance_id": "i-1", "certificates": [certificate(age=1000, life=100)]})
    store.put("status/i-1.json", encode_status(status))
    where = ["--store", f"file://{tmp_path}", "--cluster", "prod"]
    assert run(["status", *where]) == 0
    shown = capsys.readouterr()
    assert "kubelet/client.pem has expired" in shown.out
    assert "1 node with an expired certificate" in shown.err
    assert run(["status", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["nodes"][0]["expiring"][0]["days_left"] < 0
