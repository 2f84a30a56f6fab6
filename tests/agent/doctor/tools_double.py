"""The machine's tools in memory: systemctl with units that fail to start, journalctl with their logs, modprobe."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agent.linux.run import Completed
from units.errors import Fatal


@dataclass
class ToolsDouble:
    """Implements `agent.linux.run.Run`. `broken`: unit -> what its journal says when it fails to start."""

    broken: dict[str, str] = field(default_factory=dict)
    active: set[str] = field(default_factory=lambda: {"bootwright-boot.service", "bootwright-sync.timer"})
    unknown: set[str] = field(default_factory=set)  # units that are not installed
    no_modules: set[str] = field(default_factory=set)
    on_start: Callable[[str], None] = lambda _unit: None
    said: dict[str, str] = field(default_factory=dict)  # program -> what it prints

    def __call__(
        self, arguments: Sequence[str], *, timeout: float, stdin: bytes = b"", allowed: tuple[int, ...] | None = (0,)
    ) -> Completed:
        assert timeout > 0
        exit_code, out, err = self._answer(list(arguments))
        if allowed is not None and exit_code not in allowed:
            raise Fatal("tool-failed", f"`{' '.join(arguments)}` ended with {exit_code}: {err}")
        return Completed(tuple(arguments), exit_code, out.encode(), err.encode())

    def _answer(self, arguments: list[str]) -> tuple[int, str, str]:
        program, unit = arguments[0], arguments[-1]
        if program == "systemctl":
            return self._systemctl(arguments, unit)
        if program == "journalctl":
            unit = unit.removeprefix("--unit=")
            return 0, self.said.get(f"journal {unit}", self.broken.get(unit, "")), ""
        if program == "modprobe" and unit in self.no_modules:
            return 1, "", f"modprobe: FATAL: Module {unit} not found in directory /lib/modules/6.12.0"
        return 0, self.said.get(program, ""), ""

    def _systemctl(self, arguments: list[str], unit: str) -> tuple[int, str, str]:
        if "show" in arguments:
            return 0, self._show(unit), ""
        if "start" in arguments or "restart" in arguments:
            if unit in self.broken:
                return 1, "", f"Job for {unit} failed because the control process exited with error code."
            self.active.add(unit)
            self.on_start(unit)
        if "stop" in arguments:
            self.active.discard(unit)
        return 0, self.said.get("systemctl", ""), ""

    def _show(self, unit: str) -> str:
        if unit in self.unknown:
            return "LoadState=not-found\nActiveState=inactive\nSubState=dead\nUnitFileState=\nNeedDaemonReload=no\n"
        failing = unit in self.broken
        active, sub = ("activating", "auto-restart") if failing else ("active", "running")
        if not failing and unit not in self.active:
            active, sub = "inactive", "dead"
        facts = {
            "LoadState": "loaded",
            "ActiveState": active,
            "SubState": sub,
            "UnitFileState": "enabled",
            "NeedDaemonReload": "no",
            "Result": "exit-code" if failing else "success",
            "ExecMainStatus": "1" if failing else "0",
            "NRestarts": "7" if failing else "0",
        }
        return "".join(f"{name}={value}\n" for name, value in facts.items())
