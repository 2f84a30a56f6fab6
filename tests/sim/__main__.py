"""How a rollout behaves in fleets of 10, 1 000 and 100 000 machines: time, requests, cost, a bad manifest's harm.

python -m tests.sim                 the table (`make sim`)
python -m tests.sim --nodes 5000    another size
python -m tests.sim --write         and keep it in docs/benchmarks.md
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.sim.fleet import POLL_JITTER, POLL_SECONDS, Scenario, simulate

DOCUMENT = Path(__file__).parents[2] / "docs/benchmarks.md"
BEGIN, END = "<!-- make sim WRITE=1 writes from here -->\n", "<!-- to here: sim -->\n"
SIZES = (10, 1000, 100_000)
# us-east-1 list prices, USD per request (aws.amazon.com/s3/pricing): GET and the like, PUT and LIST.
GET_PRICE, PUT_PRICE = 0.0004 / 1000, 0.005 / 1000
HEAD = (
    "machines",
    "waves",
    "full rollout",
    "polls",
    "polls a day cost",
    "one rollout asks",
    "every apply fails",
    "1 % fail",
)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--nodes", type=int, action="append", help="a fleet's size; may be given again")
    parser.add_argument("--write", action="store_true", help="update docs/benchmarks.md")
    chosen = parser.parse_args(arguments)
    rows = []
    for nodes in chosen.nodes or SIZES:
        sys.stderr.write(f"sim: {nodes} machines\n")
        rows.append(_row(nodes))
    text = "\n".join(["", _line(HEAD), _line(["---"] * len(HEAD)), *(_line(row) for row in rows), "", ""])
    sys.stdout.write(text)
    if chosen.write:
        document = DOCUMENT.read_text()
        before, _, rest = document.partition(BEGIN)
        DOCUMENT.write_text(before + BEGIN + text + END + rest.partition(END)[2])
    return 0


def _row(nodes: int) -> list[str]:
    begun = time.process_time()
    good, bad, some = (simulate(Scenario(nodes, bad=share)) for share in (0.0, 1.0, 0.01))
    sys.stderr.write(f"sim: {time.process_time() - begun:.1f} s of CPU\n")
    polls = 2 * nodes / (POLL_SECONDS + POLL_JITTER / 2)
    sizes = "+".join(str(size) for size, _at in good.waves)
    asked = ", ".join(f"{count} {verb}" for verb, count in sorted(good.requests.items()))
    return [
        str(nodes),
        sizes,
        f"{good.seconds / 60:.0f} min" if good.finished else "never",
        f"{polls:.1f} GET/s",
        f"{polls * 86400 * GET_PRICE:.2f} USD",
        asked,
        f"{bad.touched} touched, then halted after {bad.seconds / 60:.0f} min",
        f"{some.touched} touched, {some.failed} failed, " + ("halted" if some.halted else "finished"),
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
