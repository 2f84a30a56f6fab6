"""What runs in a measured process: `agent boot` or `agent sync` on a sandbox, told apart by phases.

It is started as the units start the agent (the node's interpreter, isolated), with this package at the end of the path,
and runs the agent's own command line, in which two commands are replaced by `tests.bench.commands`. What only the
measuring needs is timed as the phase `bench`, and left out of every total; nothing that the agent imports too is
imported before the agent does. The last line of the output is JSON.
"""

import sys
import time

BEGUN = (time.monotonic(), time.process_time())  # what the interpreter itself has cost

Moment = tuple[float, float]  # wall and CPU, in seconds
_OURS = frozenset({"/proc/self/io", "/proc/self/status"})


class Stopwatch:
    """Marks the end of one phase and the begin of the next."""

    def __init__(self, exec_at: float) -> None:
        """`exec_at`: the monotonic time at which the process was started."""
        self._last: Moment = (exec_at, 0.0)
        self.phases: dict[str, Moment] = {}

    def ends(self, name: str, at: Moment | None = None) -> None:
        now = at or (time.monotonic(), time.process_time())
        wall, cpu = self.phases.get(name, (0.0, 0.0))
        self.phases[name] = (wall + now[0] - self._last[0], cpu + now[1] - self._last[1])
        self._last = now


class Order:
    """What this process is to do, and what it counts meanwhile."""

    def __init__(self, words: list[str]) -> None:
        self.command, self.root, self.imds_url, exec_at, *self.options = words
        self.watch = Stopwatch(float(exec_at))
        self.opened: list[str] = []
        self.listed: list[str] = []
        self.started: list[list[str]] = []

    def count_opens(self) -> None:
        """From here on, every file that Python opens, every folder that it lists and every process that it starts. Not
        what the C library loads.
        """

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event == "open" and isinstance(arguments[0], str) and arguments[0] not in _OURS:
                self.opened.append(arguments[0])
            if event == "os.listdir":
                self.listed.append(str(arguments[0]))
            if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"):
                self.started.append([str(word) for word in _words(arguments)])

        sys.addaudithook(hook)

    def tell(self, result: dict[str, object]) -> None:
        """The last thing before the agent's way out, which is the phase that nobody marks."""
        import json

        # Not getrusage: its maximum is inherited over exec from whoever started this process.
        result |= {"phases": self.watch.phases, "peak_kib": _proc("/proc/self/status", "VmHWM")}
        if "count" in self.options:
            result |= {"opened": self.opened, "listed": self.listed, "read_bytes": _proc("/proc/self/io", "rchar")}
            result |= {"modules": sorted(sys.modules), "started": self.started}
        sys.stdout.write(f"\n{json.dumps(result)}\n")


_ORDERS: list[Order] = []


def order() -> Order:
    """What this process was started for."""
    return _ORDERS[0]


def main() -> int:
    _ORDERS.append(Order(sys.argv[1:]))
    here = order()
    here.watch.ends("interpreter", BEGUN)
    if "count" in here.options:
        here.count_opens()
    here.watch.ends("bench")
    from agent.modules import use_modules

    use_modules()  # as agent.__main__ does
    import agent.cli

    agent.cli.COMMANDS[here.command] = agent.cli.Command(f"tests.bench.{here.command}_command", "measured")
    return agent.cli.main([here.command])


def _words(arguments: tuple[object, ...]) -> tuple[object, ...]:
    """Of an audit event: (executable, its arguments, ...) or one command."""
    return tuple(arguments[1]) if len(arguments) > 1 and isinstance(arguments[1], list | tuple) else arguments[:1]


def _proc(path: str, field: str) -> int:
    with open(path) as lines:  # noqa: PTH123  pathlib would be an import of ours
        for line in lines:
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    raise LookupError(f"{path} has no {field}")
