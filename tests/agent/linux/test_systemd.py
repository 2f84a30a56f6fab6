"""systemctl as recorded on Debian 13 (systemd 257); a real systemd answers in the lab."""

from collections.abc import Sequence

import pytest

from agent.linux.systemd import LinuxSystemd
from tests.agent.linux.recorded import Answer, RunDouble
from units.errors import Fatal, Retryable
from units.host import UnitState

RUNNING = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\n"


def showing(text: str) -> LinuxSystemd:
    return LinuxSystemd(RunDouble(lambda _arguments: text))


def test_a_state_is_one_question_about_several_properties() -> None:
    run = RunDouble(lambda _arguments: RUNNING)
    assert LinuxSystemd(run).state("kubelet.service") == UnitState(enabled=True, active="active")
    properties = "--property=LoadState,ActiveState,UnitFileState,NeedDaemonReload"
    assert run.asked == [("systemctl", "show", properties, "--", "kubelet.service")]


def test_an_unknown_unit_is_disabled_and_inactive() -> None:
    text = "LoadState=not-found\nActiveState=inactive\nUnitFileState=\nNeedDaemonReload=no\n"
    assert showing(text).state("none.service") == UnitState(enabled=False, active="inactive")


@pytest.mark.parametrize(
    ("said", "enabled"),
    [
        ("enabled", True),
        ("static", True),
        ("indirect", True),
        ("generated", True),
        ("disabled", False),
        ("enabled-runtime", False),
        ("linked", False),
        ("masked", False),
        ("", False),
    ],
)
def test_enabled_means_that_it_will_be_there_after_a_reboot(said: str, enabled: bool) -> None:
    assert showing(RUNNING.replace("enabled", said)).state("x.service").enabled is enabled


@pytest.mark.parametrize(
    ("said", "active"), [("failed", "failed"), ("maintenance", "failed"), ("refreshing", "reloading")]
)
def test_newer_states_are_known(said: str, active: str) -> None:
    assert showing(RUNNING.replace("=active", f"={said}")).state("x.service").active == active


def test_a_state_of_the_future_is_an_error_that_names_it() -> None:
    with pytest.raises(Fatal, match=r"x\.service is 'dreaming'"):
        showing(RUNNING.replace("=active", "=dreaming")).state("x.service")


def test_a_changed_unit_file_is_noticed() -> None:
    assert showing(RUNNING.replace("Reload=no", "Reload=yes")).state("x.service").need_daemon_reload


def test_a_value_with_equal_signs_and_an_answer_without_the_property_are_read() -> None:
    assert showing("LoadState=loaded\nActiveState=active\nOdd=a=b=c\n").state("x.service") == UnitState(
        enabled=False, active="active"
    )


FAILED = {
    "LoadState": "loaded",
    "LoadError": "",
    "ActiveState": "failed",
    "SubState": "failed",
    "Result": "exit-code",
    "ExecMainStatus": "1",
    "NRestarts": "0",
}
LOG = "\n".join(f"log line {number}" for number in range(1, 13))


def failing(found: dict[str, str], said: str = "Job for etcd.service failed.") -> RunDouble:
    def answer(arguments: Sequence[str]) -> Answer:
        if arguments[0] == "journalctl":
            assert {"--unit=etcd.service", "--boot", "--lines=8"} <= set(arguments)
            return "\n".join(LOG.splitlines()[-8:])
        if arguments[1] == "show":
            return "".join(f"{name}={value}\n" for name, value in found.items())
        return (1, "", f"{said}\n") if arguments[1] != "reset-failed" else ""

    return RunDouble(answer)


@pytest.mark.parametrize("verb", ["start", "restart", "stop"])
def test_a_unit_that_fails_says_its_result_and_its_last_lines(verb: str) -> None:
    systemd = LinuxSystemd(failing(FAILED))
    with pytest.raises(Retryable) as failed:
        getattr(systemd, verb)("etcd.service")
    assert failed.value.code == ("unit-not-stopped" if verb == "stop" else "unit-not-started")
    assert f"cannot {verb} etcd.service: Job for etcd.service failed." in str(failed.value)
    assert "ActiveState=failed" in str(failed.value)
    assert "Result=exit-code" in str(failed.value)
    assert "ExecMainStatus=1" in str(failed.value)
    assert "LoadError" not in str(failed.value)
    assert "log line 5 | log line 6" in str(failed.value)
    assert str(failed.value).endswith("log line 12")
    assert "journalctl -b -u etcd.service" in failed.value.remedy


@pytest.mark.parametrize(
    "wrong",
    [
        {"LoadState": "not-found"},
        {"LoadState": "bad-setting", "LoadError": "org.freedesktop.systemd1.BadUnitSetting"},
        {"LoadState": "masked"},
        {"ExecMainStatus": "203"},
    ],
)
def test_a_unit_that_can_never_start_is_fatal(wrong: dict[str, str]) -> None:
    with pytest.raises(Fatal) as broken:
        LinuxSystemd(failing({**FAILED, **wrong})).start("etcd.service")
    assert broken.value.code == "unit-broken"
    name, value = next(iter(wrong.items()))
    assert f"{name}={value}" in str(broken.value)


def test_systemds_own_start_limit_is_lifted_for_the_next_try() -> None:
    run = failing({**FAILED, "Result": "start-limit-hit"})
    with pytest.raises(Retryable, match="start-limit-hit"):
        LinuxSystemd(run).start("etcd.service")
    assert ("systemctl", "reset-failed", "--", "etcd.service") in run.asked


def test_a_start_that_takes_too_long_says_what_systemd_was_doing() -> None:
    def answer(arguments: Sequence[str]) -> Answer:
        if "start" in arguments:
            return Retryable("tool-timeout", "too long")
        return failing({**FAILED, "ActiveState": "activating", "SubState": "start", "Result": "success"})(
            arguments, timeout=1
        ).text

    with pytest.raises(Retryable, match=r"no answer within 7 s .*ActiveState=activating, SubState=start"):
        LinuxSystemd(RunDouble(answer), patience=7).start("etcd.service")


def test_a_unit_name_is_never_an_option() -> None:
    run = RunDouble(lambda _arguments: RUNNING)
    systemd = LinuxSystemd(run)
    for change in (systemd.start, systemd.restart, systemd.stop, systemd.enable, systemd.state):
        change("--now")
    assert all(arguments[-2:] == ("--", "--now") for arguments in run.asked)


def test_the_daemon_is_reloaded() -> None:
    run = RunDouble(lambda _arguments: "")
    LinuxSystemd(run).reload_daemon()
    assert run.asked == [("systemctl", "daemon-reload")]


def test_a_machine_without_systemd_is_explained() -> None:
    def answer(_arguments: Sequence[str]) -> Answer:
        return 1, "", "System has not been booted with systemd as init system (PID 1). Can't operate."

    with pytest.raises(Fatal, match="not been booted with systemd"):
        LinuxSystemd(RunDouble(answer)).state("x.service")
