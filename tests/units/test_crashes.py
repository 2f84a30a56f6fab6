"""Power loss at any instant: whatever call of a boot was the last one, the next boot converges and does no harm."""

import dataclasses
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, get_type_hints

import pytest

from tests.units.machines import (
    CHANGING,
    FACTS,
    LOOKING,
    Killed,
    changes_of,
    empty_machine,
    manifest,
    rebooted,
    relaunched,
    tapped,
)
from units.bootstrap_record import decode_record
from units.converge import converge
from units.host import Host
from units.memory import MemoryHost
from units.plan import Plan, plan

pytestmark = pytest.mark.slow  # every crash point, thousands of runs

ROLES = ("control-plane", "node")
PLANS = {role: plan(manifest(role), FACTS) for role in ROLES}
CALLS = {role: changes_of(empty_machine().host, partial(converge, PLANS[role])) for role in ROLES}
ENVIRONMENT = "/run/bootwright/etcd-main.env"
RECORD = "etcd/main/cluster.json"


def test_every_port_method_is_classified_as_changing_or_looking() -> None:
    for name, port in get_type_hints(Host).items():
        methods = {method for method, _ in inspect.getmembers(port, inspect.isfunction) if not method.startswith("_")}
        assert methods == CHANGING[name] | LOOKING[name], name


def test_the_sweep_meets_every_kind_of_change_that_a_first_boot_makes() -> None:
    met = set(CALLS["control-plane"])
    assert {("volumes", "format"), ("mounts", "mount"), ("records", "create"), ("records", "replace")} <= met
    assert {("files", "write"), ("systemd", "start"), ("images", "load"), ("files", "install")} <= met


class Wire:
    """Ends the run before or after one changing call, and watches that no `new` is granted to an established etcd."""

    def __init__(self, machine: MemoryHost, *, last: int, after: bool) -> None:
        self.machine, self.last, self.cut_after, self.number = machine, last, after, -1

    @property
    def host(self) -> Host:
        return tapped(self.machine.host, before=self.before, after=self.after)

    def before(self, port: str, method: str, arguments: tuple[Any, ...]) -> None:
        self.number += 1
        if self.number == self.last and not self.cut_after:
            if (port, method) == ("volumes", "format"):
                self.machine.volumes.torn.add(arguments[0].volume_id)  # mkfs had begun
            raise Killed
        if (port, method) == ("files", "write") and arguments[0] == ENVIRONMENT and b"new" in arguments[1]:
            assert not established(self.machine), "`new` was granted under an established record"

    def after(self, _port: str, _method: str, _arguments: tuple[Any, ...]) -> None:
        if self.number == self.last and self.cut_after:
            raise Killed


def established(machine: MemoryHost) -> bool:
    found = machine.records.get(RECORD)
    return found is not None and decode_record(found.content, RECORD).state == "established"


def cut(the_plan: Plan, *, last: int, after: bool) -> MemoryHost:
    machine = empty_machine()
    with pytest.raises(Killed):
        converge(the_plan, Wire(machine, last=last, after=after).host)
    return machine


def settle(the_plan: Plan, machine: MemoryHost) -> None:
    """Converge again, and once more: the second run finds nothing to do."""
    again = converge(the_plan, Wire(machine, last=-1, after=False).host)
    assert again.failure is None
    settled = converge(the_plan, machine.host)
    assert [outcome.key for outcome in settled.outcomes if outcome.status != "unchanged"] == []


NEXT: dict[str, Callable[[MemoryHost], MemoryHost]] = {
    "the same boot goes on": lambda machine: machine,
    "the machine reboots": rebooted,
    "another machine takes over": relaunched,
}


# After a call the state is that before the next one, so what differs is only how the run unwinds.
@pytest.mark.parametrize(
    ("after", "what_comes_next"),
    [(False, what) for what in NEXT] + [(True, "the same boot goes on")],
    ids=lambda value: value if isinstance(value, str) else "after the call" if value else "before the call",
)
@pytest.mark.parametrize("role", ROLES)
def test_a_run_cut_at_any_call_converges_on_the_next_one(role: str, after: bool, what_comes_next: str) -> None:
    the_plan = PLANS[role]
    for last, call in enumerate(CALLS[role]):
        machine = NEXT[what_comes_next](cut(the_plan, last=last, after=after))
        try:
            settle(the_plan, machine)
        except AssertionError as error:
            raise AssertionError(f"cut {'after' if after else 'before'} call {last}, {'.'.join(call)}") from error
        if role == "control-plane":
            assert len(machine.volumes.formats) == 1, f"mkfs ran again, cut at call {last}"
            assert established(machine)
            assert machine.files.entries[ENVIRONMENT].content == b"INITIAL_CLUSTER_STATE=existing\n"


@pytest.mark.parametrize("role", ROLES)
def test_a_reboot_of_a_converged_machine_starts_everything_again_and_formats_nothing(role: str) -> None:
    machine = empty_machine()
    assert converge(PLANS[role], machine.host).failure is None
    before = dict(machine.systemd.running)
    formats = list(machine.volumes.formats)
    machine = rebooted(machine)
    settle(PLANS[role], machine)
    assert machine.systemd.running == before
    assert machine.volumes.formats == formats


def test_another_machine_takes_over_volume_member_and_data() -> None:
    first = empty_machine()
    assert converge(PLANS["control-plane"], first.host).failure is None
    data = first.volumes.contents
    (volume_id,) = data
    data[volume_id]["/data/member/snap/db"] = data[volume_id]["/data/member/wal/0-0.wal"]
    before = dict(data[volume_id])
    record = first.records.get(RECORD)
    second = relaunched(first)
    settle(PLANS["control-plane"], second)
    assert second.volumes.attached["main"].volume_id == volume_id
    assert data[volume_id] == before
    assert second.records.get(RECORD) == record


def test_a_volume_that_came_attached_and_formatted_is_mounted_on_a_protected_mount_point() -> None:
    first = empty_machine()
    assert converge(PLANS["control-plane"], first.host).failure is None
    second = relaunched(first)
    second.volumes.attached.update(first.volumes.attached)
    settle(PLANS["control-plane"], second)
    assert second.files.protected == {"/var/lib/etcd/main"}


def test_killed_is_seen_by_nobody_on_the_way() -> None:
    """The sweep above proves nothing if converge swallowed the double and went on."""
    machine = empty_machine()
    wire = Wire(machine, last=3, after=True)
    with pytest.raises(Killed):
        converge(PLANS["node"], wire.host)
    assert wire.number == 3
    assert dataclasses.is_dataclass(machine)
