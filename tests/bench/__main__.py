"""Speed and memory of boot, poll, publish and issuer, each in fresh processes, with targets and verdicts.

    python -m tests.bench                     everything, some five minutes
    python -m tests.bench --only poll         one part: boot, poll, publish, issuer or fleet
    python -m tests.bench --write             and keep the results in docs/benchmarks.md

Exit code 1 if a target was missed: figures are judged by people, on a machine that does nothing else meanwhile.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench import agents, issuer, large_fleet, publish, table
from tests.bench.cloud import Cloud, running_cloud
from tests.bench.figures import Phase, Row
from tests.bench.fleet import found_cluster
from tests.bench.node_venv import node_venv

PARTS = ("boot", "poll", "publish", "issuer", "fleet")
LARGE = 10_000
BOOT, SYNC = "agent boot", "agent sync"


def main(arguments: Sequence[str]) -> int:
    chosen = _parser().parse_args(arguments)
    parts = tuple(chosen.only.split(","))
    if unknown := set(parts) - set(PARTS):
        _parser().error(f"--only {','.join(sorted(unknown))}: allowed are {', '.join(PARTS)}")
    sizes = tuple(int(size) for size in chosen.groups.split(","))
    with tempfile.TemporaryDirectory(prefix="bootwright-bench-") as name, running_cloud(Path(name)) as cloud:
        results = measure(Path(name), cloud, parts, sizes, chosen.runs)
    if chosen.write:
        table.write_document(results)
    if chosen.json:
        sys.stdout.write(json.dumps(table.document(results), indent=1) + "\n")
    else:
        table.print_results(results)
    return 0 if results.met else 1


def measure(folder: Path, cloud: Cloud, parts: Sequence[str], sizes: Sequence[int], runs: int) -> table.Results:
    rows: list[Row] = []
    phases: dict[str, tuple[Phase, ...]] = {}
    calls: dict[str, int] = {}
    _say("a cluster: coordinator init, assets add")
    published = found_cluster(folder / "operator", cloud)
    if "publish" in parts:
        for size in sizes:
            _say(f"coordinator publish of {size} groups")
            rows += publish.measure_publish(published, size, min(runs, 3))
    if "issuer" in parts:
        _say("agent issuer")
        rows.append(issuer.measure_issuer(min(runs, 3)))
    if "fleet" in parts:
        _say(f"coordinator status and advance over {LARGE} nodes")
        rows += large_fleet.measure_fleet(folder / "fleet", LARGE, min(runs, 3))
    if set(parts) - {"publish", "issuer", "fleet"}:
        _say("a node's environment (cached), and its first boots")
        published.operator.run("publish", "--yes")
        first, node = agents.measure_first_boots(folder, published, cloud, node_venv())
        if "boot" in parts:
            _say("agent boot")
            second, phases[BOOT] = agents.measure_boots(node, runs)
            calls = node.counted("boot").calls
            worker = agents.measure_workers(folder / "workers", published, cloud, node_venv())
            rows = [second, agents.measure_reboots(node, runs), first, worker, *rows]
        if "poll" in parts:
            _say("agent sync")
            poll, phases[SYNC] = agents.measure_polls(node, runs)
            rows.insert(0, poll)
    return table.Results(tuple(rows), phases, calls)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=9, help="measured processes of each kind, after a warm-up (9)")
    parser.add_argument("--groups", default="5,50,500", help="sizes of publish (5,50,500)")
    parser.add_argument("--only", default=",".join(PARTS), help="some of boot,poll,publish,issuer")
    parser.add_argument("--json", action="store_true", help="everything that was measured, for scripts")
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    return parser


def _say(what: str) -> None:
    sys.stderr.write(f"bench: {what}\n")


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main(sys.argv[1:]))
