"""systemd through systemctl: it works on a half-booted machine and needs no D-Bus library."""

from collections.abc import Mapping
from typing import Literal, get_args

from agent.linux.run import Run, last_lines, run
from units.errors import Fatal, Retryable
from units.host import UnitState

Active = Literal["active", "activating", "inactive", "failed", "deactivating", "reloading"]

_QUERY = 30.0  # seconds; a busy PID 1 answers late, a dead one never
_JOURNAL_LINES = 8
# `static` and its kin have nothing to enable. `linked` and `enabled-runtime` are not there after a reboot.
_ENABLED = {"enabled", "static", "alias", "indirect", "generated", "transient"}
# systemd has more states than our contract: 248 knows `maintenance`, 256 `refreshing`.
_ACTIVE: Mapping[str, Active] = {
    **{state: state for state in get_args(Active)},
    "maintenance": "failed",
    "refreshing": "reloading",
}
# Nothing changes by trying again: the unit file is wrong or is not there, or its program is (exit status 203).
_BROKEN_LOADS = {"not-found", "bad-setting", "error", "masked"}
_EXEC_FAILED = "203"


class LinuxSystemd:
    """Implements `units.host.Systemd`. `patience` is how many seconds a start, restart or stop may take."""

    def __init__(self, run: Run = run, *, patience: float = 90.0) -> None:
        self._run = run
        self._patience = patience

    def state(self, unit: str) -> UnitState:
        """A unit that systemd does not know is disabled and inactive."""
        found = self._show(unit, "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")
        active = found["ActiveState"]
        if active not in _ACTIVE:
            raise Fatal("unit-state-unknown", f"systemd says {unit} is {active!r}; known are {', '.join(_ACTIVE)}")
        return UnitState(
            enabled=found["UnitFileState"] in _ENABLED,
            active=_ACTIVE[active],
            need_daemon_reload=found["NeedDaemonReload"] == "yes",
        )

    def reload_daemon(self) -> None:
        self._run(["systemctl", "daemon-reload"], timeout=self._patience)

    def enable(self, unit: str) -> None:
        self._run(["systemctl", "enable", "--quiet", "--", unit], timeout=self._patience)

    def start(self, unit: str) -> None:
        self._change("start", unit)

    def restart(self, unit: str) -> None:
        self._change("restart", unit)

    def stop(self, unit: str) -> None:
        self._change("stop", unit)

    def reboot(self) -> None:
        self._run(["systemctl", "--no-block", "--no-ask-password", "reboot"], timeout=self._patience)

    def _change(self, verb: str, unit: str) -> None:
        """Waits for the job. A unit that is ordered after the agent's own waits for us: that would be a deadlock."""
        command = ["systemctl", "--quiet", "--no-ask-password", verb, "--", unit]
        try:
            ended = self._run(command, timeout=self._patience, allowed=None)
        except Retryable as timeout:
            raise self._failure(verb, unit, f"no answer within {self._patience:.0f} s") from timeout
        if ended.exit_code != 0:
            raise self._failure(verb, unit, ended.complaint(1))

    def _failure(self, verb: str, unit: str, said: str) -> Fatal | Retryable:
        properties = ("LoadState", "LoadError", "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts")
        found = self._show(unit, *properties)
        if found["Result"] == "start-limit-hit":
            # The agent paces its own retries; systemd's limit would only make the next start fail unseen.
            self._run(["systemctl", "reset-failed", "--", unit], timeout=_QUERY, allowed=None)
        facts = ", ".join(f"{name}={value}" for name, value in found.items() if value not in ("", "0", "loaded"))
        message = f"cannot {verb} {unit}: {said or 'systemctl gave no reason'} ({facts})"
        if log := self._log(unit):
            message = f"{message}; its log ends: {log}"
        remedy = f"systemctl status {unit}; journalctl -b -u {unit}"
        if found["LoadState"] in _BROKEN_LOADS or found["ExecMainStatus"] == _EXEC_FAILED:
            return Fatal("unit-broken", message, remedy=remedy)
        return Retryable("unit-not-started" if verb != "stop" else "unit-not-stopped", message, remedy=remedy)

    def _show(self, unit: str, *properties: str) -> dict[str, str]:
        """Empty text for a property that this version or kind of unit does not have."""
        command = ["systemctl", "show", f"--property={','.join(properties)}", "--", unit]
        text = self._run(command, timeout=_QUERY).text
        found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return {name: found.get(name, "") for name in properties}

    def _log(self, unit: str) -> str:
        command = ["journalctl", "--boot", "--quiet", "--no-pager", "--output=cat"]
        command += [f"--lines={_JOURNAL_LINES}", f"--unit={unit}"]
        return last_lines(self._run(command, timeout=_QUERY, allowed=None).stdout, _JOURNAL_LINES)
