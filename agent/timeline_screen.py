"""The screen of `agent status --timeline`: one line a phase, a bar where there is a terminal to draw it on."""

from agent.screen import Part, line, new_console, table
from units.status import BootTimeline, Span
from units.timeline import AGENT, MACHINE, STEP, UNIT, axis_of, bar

WIDTH = 40
_COLOUR = {MACHINE: "blue", UNIT: "cyan", AGENT: "green", STEP: "yellow"}


def print_timeline(timeline: BootTimeline) -> None:
    console = new_console()
    console.print(line(f"kernel started {timeline.kernel_started}; all times in seconds after it"))
    console.print(line(*_outcome(timeline)))
    console.print()
    axis = axis_of(timeline)
    columns = ("", "phase", "begins", "seconds", *(("",) if console.is_terminal else ()))
    rows = [_row(span, axis, bars=console.is_terminal) for span in timeline.spans]
    console.print(table(columns, rows))


def _outcome(timeline: BootTimeline) -> tuple[Part, ...]:
    tries = f" at try {timeline.tries}" if timeline.tries > 1 else ""
    cpu = f"the agent's last run took {timeline.cpu_seconds:.2f} s of CPU"
    if timeline.ready is None:
        return (f"not ready after {timeline.tries} {'try' if timeline.tries == 1 else 'tries'}", "yellow"), f"; {cpu}"
    return "ready ", (f"{timeline.ready:.1f} s", "bold"), f" after it{tries}; {cpu}"


def _row(span: Span, axis: tuple[float, float], *, bars: bool) -> tuple[Part, ...]:
    name = f"  {span.name}" if span.kind == STEP else span.name
    moment = span.begins == span.ends
    numbers = (f"{span.begins:8.2f}", "" if moment else f"{span.ends - span.begins:7.2f}")
    if not bars:
        return span.kind, name, *numbers
    before, cells = bar(span, axis, WIDTH)
    drawn = "|" if moment else "\u2501" * cells
    return span.kind, name, *numbers, (f"{' ' * before}{drawn}", _COLOUR.get(span.kind, "white"))
