"""`agent doctor` as a whole: on half a machine, without a network, and without touching what it looks at."""

import json
from pathlib import Path

import pytest

from agent.commands.doctor import document
from agent.doctor.checks import CHECKS, diagnose
from agent.doctor.listeners import Listener
from agent.doctor.machine import Port, Space, judge_ports, judge_space
from agent.doctor.patient import Patient
from agent.doctor.screen import print_diagnosis
from tests.agent.doctor.tools_double import ToolsDouble
from tests.agent.doctor.ward import ProbesDouble, Ward, free_port


def before_first_boot(root: Path) -> Patient:
    """An image, and nothing that a boot would have made; no network either."""
    tools = ToolsDouble(unknown={"kubelet.service", "bootwright-etcd-main.service"})
    return Patient(
        root=root,
        imds_url=f"http://127.0.0.1:{free_port()}",
        run=tools,
        probes=ProbesDouble(lambda _url: None),
        synchronised=lambda: False,
        listeners=lambda: (),
    )


def test_an_empty_machine_without_a_network_gets_an_answer_from_every_check(tmp_path: Path) -> None:
    examined = diagnose(before_first_boot(tmp_path))
    assert [one.check for one in examined] == [check.name for check in CHECKS]
    assert not [one for one in examined if one.finding.code in ("doctor-check-broken", "doctor-no-answer")]
    found = document(examined)
    assert (found["cause"], found["code"]) == ("imds", "imds-unreachable")
    assert json.loads(json.dumps(found)) == found


def test_every_failure_and_warning_comes_with_a_fix(tmp_path: Path) -> None:
    for one in diagnose(before_first_boot(tmp_path)):
        if one.finding.state in ("fail", "warn"):
            assert one.finding.fix, one


def test_needs_name_checks_that_stand_before_them() -> None:
    """Else the order would not be one of causes, or a check would never start."""
    seen: set[str] = set()
    for check in CHECKS:
        assert {*check.needs, *check.after} <= seen, check.name
        seen.add(check.name)


def test_the_longest_row_of_checks_that_wait_for_each_other_ends_in_time() -> None:
    """Each that answers just within its deadline: 25 s end the rest, and the command stays under 30."""
    longest: dict[str, float] = {}
    for check in CHECKS:
        before = max((longest[name] for name in check.needs), default=0.0)
        longest[check.name] = before + check.seconds
    assert max(longest.values()) < 30


def test_the_doctor_changes_nothing(worker: Ward) -> None:
    worker.boot()
    before = {path: path.read_bytes() for path in worker.root.rglob("*") if path.is_file()}
    worker.bench.publisher.publish()
    worker.diagnose()
    assert {path: path.read_bytes() for path in worker.root.rglob("*") if path.is_file()} == before


def test_the_screen_names_code_fix_and_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_diagnosis(diagnose(before_first_boot(tmp_path)))
    out = capsys.readouterr().out
    assert "FAIL  imds" in out
    assert "imds-unreachable: " in out
    assert "-> " in out
    assert out.rstrip().splitlines()[-1].startswith("first cause: imds")


GIB = 1024**3


@pytest.mark.parametrize(
    ("space", "state", "code"),
    [
        (Space("/", 50 * GIB, 100 * GIB, 10**6, 10**7), "ok", ""),
        (Space("/", 9 * GIB, 100 * GIB, 10**6, 10**7), "warn", "disk-low"),
        (Space("/", 50 * GIB, 100 * GIB, 10**5, 10**7), "warn", "disk-low"),
        (Space("/", 0, 100 * GIB, 10**6, 10**7), "fail", "disk-full"),
        (Space("/", 50 * GIB, 100 * GIB, 0, 10**7), "fail", "disk-full"),
        (Space("/", 50 * GIB, 100 * GIB, 0, 0), "ok", ""),
        (Space("/", 50 * GIB, 100 * GIB, 10**6, 10**7, read_only=True), "fail", "disk-read-only"),
    ],
)
def test_space_and_inodes(space: Space, state: str, code: str) -> None:
    found = judge_space(space)
    assert (found.state, found.code) == (state, code)


def test_a_program_on_its_own_port_is_no_stranger_and_a_nameless_one_is_not_accused() -> None:
    ports = (Port(10257, ("kube-controller",)), Port(2379, ("etcd",)))
    own = (Listener("::", 10257, "kube-controller", 7), Listener("127.0.0.1", 2379, "", 0))
    assert judge_ports(ports, own).state == "ok"
    taken = judge_ports(ports, (*own, Listener("0.0.0.0", 2379, "nginx", 9)))
    assert (taken.state, taken.code) == ("fail", "port-taken")
    assert "nginx (pid 9)" in taken.found
