"""The screen of `agent doctor`. Loads rich, and only when somebody looks."""

from collections.abc import Sequence

from agent.doctor.finding import Examined
from agent.doctor.verdict import first_cause, verdict
from agent.status_screen import new_console

_MARKS = {"ok": ("green", "ok"), "warn": ("yellow", "warn"), "fail": ("red", "FAIL"), "skipped": ("dim", "-")}


def print_diagnosis(examined: Sequence[Examined]) -> None:
    from rich.text import Text

    console = new_console()
    width = max(len(one.check) for one in examined)
    for one in examined:
        finding = one.finding
        colour, mark = _MARKS[finding.state]
        line = Text(f"{mark:>4}  {one.check:<{width}}  ", style=colour)
        code = f"{finding.code}: " if finding.code and finding.state in ("fail", "warn") else ""
        console.print(line.append(f"{code}{finding.found}", style="dim" if finding.state == "skipped" else ""))
        if finding.fix and finding.state in ("fail", "warn"):
            console.print(Text(f"{'':<{width + 8}}-> {finding.fix}", style="bold"))
    console.print()
    colour = "red" if first_cause(examined) else "green"
    console.print(Text(verdict(examined), style=f"bold {colour}"), soft_wrap=True)  # one line, also to grep
