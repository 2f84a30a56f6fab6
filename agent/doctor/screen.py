"""The screen of `agent doctor`."""

from collections.abc import Sequence

from agent.doctor.finding import Examined
from agent.doctor.verdict import first_cause, verdict
from agent.screen import line, new_console

_MARKS = {"ok": ("green", "ok"), "warn": ("yellow", "warn"), "fail": ("red", "FAIL"), "skipped": ("dim", "-")}


def print_diagnosis(examined: Sequence[Examined]) -> None:
    console = new_console()
    width = max(len(one.check) for one in examined)
    for one in examined:
        finding = one.finding
        colour, mark = _MARKS[finding.state]
        code = f"{finding.code}: " if finding.code and finding.state in ("fail", "warn") else ""
        found = f"{code}{finding.found}", "dim" if finding.state == "skipped" else ""
        console.print(line((f"{mark:>4}  {one.check:<{width}}  ", colour), found))
        if finding.fix and finding.state in ("fail", "warn"):
            console.print(line(f"{'':<{width + 8}}-> {finding.fix}", style="bold"))
    console.print()
    colour = "red" if first_cause(examined) else "green"
    console.print(line(verdict(examined), style=f"bold {colour}"), soft_wrap=True)  # one line, also to grep
