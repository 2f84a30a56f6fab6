"""What runs in a measured process: `boot` or `sync` on a sandbox, told apart by phases. Prints one line of JSON.

It is started as the units start the agent (the node's interpreter, isolated), with this package at the end of the path.
What only the measuring needs is timed as the phase `bench`, and left out of every total; nothing that the agent imports
too is imported before the agent does.
"""

import sys
import time

BEGUN = (time.monotonic(), time.process_time())  # what the interpreter itself has cost

Moment = tuple[float, float]  # wall and CPU, in seconds
OPENED: list[str] = []
_OURS = frozenset({"/proc/self/io", "/proc/self/status"})


class Stopwatch:
    """Marks the end of one phase and the begin of the next."""

    def __init__(self, exec_at: float) -> None:
        self._last: Moment = (exec_at, 0.0)
        self.phases: dict[str, Moment] = {}

    def ends(self, name: str, at: Moment | None = None) -> None:
        now = at or (time.monotonic(), time.process_time())
        wall, cpu = self.phases.get(name, (0.0, 0.0))
        self.phases[name] = (wall + now[0] - self._last[0], cpu + now[1] - self._last[1])
        self._last = now


def count_opens() -> None:
    """From here on, every file that Python opens: modules, settings, state. Not what the C library loads."""

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and isinstance(arguments[0], str) and arguments[0] not in _OURS:
            OPENED.append(arguments[0])

    sys.addaudithook(hook)


def boot(watch: Stopwatch, root: str, imds_url: str, *, save: bool) -> dict[str, object]:
    import agent.cli
    import agent.commands.boot
    import agent.linux.journal

    agent.linux.journal.install_handler()
    watch.ends("imports")
    from pathlib import Path

    from tests.bench.watched import WatchedNode

    node = WatchedNode(Path(root), imds_url, watch)
    watch.ends("bench")
    exit_code = agent.commands.boot.boot(node)
    text = agent.commands.boot.summary(node.reporter.status)
    watch.ends("report")
    if save:
        node.save()
    return {"exit_code": exit_code, "text": text, "calls": dict(node.calls)}


def sync(watch: Stopwatch, root: str, imds_url: str) -> dict[str, object]:
    import agent.cli
    import agent.commands.sync
    import agent.linux.journal

    agent.linux.journal.install_handler()
    watch.ends("imports")
    from pathlib import Path

    from agent import quick_poll
    from agent.aws.imds import Imds
    from agent.run_state import read_last_run, running_alone
    from agent.waits import Waits

    place = Path(root)
    watch.ends("bench")
    with running_alone("sync", place / "run/bootwright/lock"):
        waits = Waits()

        def changed_since() -> bool:
            return quick_poll.changed_since(
                Imds(imds_url, waits=waits),
                enrolment=place / "etc/bootwright/agent.json",
                state_dir=place / "var/lib/bootwright/trust",
                baked_root=place / "usr/share/bootwright/trust/root.json",
                waits=waits,
            )

        exit_code, text = agent.commands.sync.sync(
            read_last_run(place / "run/bootwright/status.json"),
            changed_since,
            _no_node,
            stamp=place / "run/bootwright/cluster-objects",
        )
    watch.ends("poll")
    return {"exit_code": exit_code, "text": text, "calls": {}}


def _no_node() -> None:
    raise AssertionError("a poll that finds nothing needs no node")


def main() -> None:
    command, root, imds_url, exec_at, *options = sys.argv[1:]
    watch = Stopwatch(float(exec_at))
    watch.ends("interpreter", BEGUN)
    if "count" in options:
        count_opens()
    watch.ends("bench")
    result = boot(watch, root, imds_url, save="save" in options) if command == "boot" else sync(watch, root, imds_url)
    import json

    # Not getrusage: its maximum is inherited over exec from whoever started this process.
    result |= {"phases": watch.phases, "peak_kib": _proc("/proc/self/status", "VmHWM")}
    if "count" in options:
        result |= {"opened": OPENED, "read_bytes": _proc("/proc/self/io", "rchar"), "modules": sorted(sys.modules)}
    sys.stdout.write(f"\n{json.dumps(result)}\n")


def _proc(path: str, field: str) -> int:
    with open(path) as lines:  # noqa: PTH123  pathlib would be an import of ours
        for line in lines:
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    raise LookupError(f"{path} has no {field}")
