"""Rows of `agent boot` and `agent sync`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from tests.bench.cloud import Cloud
from tests.bench.figures import Phase, Row, Target, medians, phases, without_bench
from tests.bench.fleet import Published
from tests.bench.issuer_double import IssuerDouble
from tests.bench.measure import Sample
from tests.bench.node_venv import NodeVenv
from tests.bench.nodes import WORKERS, Counts, Node, bake_node, first_boot

BOOT = (Target("cpu", 1.0), Target("peak_mib", 100.0))
WORKER = (*BOOT, Target("opened", 251))
POLL = (Target("cpu", 0.150),)
_FIRST_BOOTS = 3  # each bakes a root of 80 MB
Result = TypeVar("Result")


def measure_first_boots(folder: Path, published: Published, cloud: Cloud, venv: NodeVenv) -> tuple[Row, Node]:
    """Machines as they come out of the image, and the last of them, up and with everything present."""
    samples = []
    for number in range(_FIRST_BOOTS):
        node, sample = first_boot(folder / f"node-{number}", published, cloud, venv)
        samples.append(sample)
    fresh = bake_node(folder / "node-counted", published, cloud, venv)
    return _row("agent boot, first boot", samples, fresh.counted("boot"), BOOT), node


def measure_workers(folder: Path, published: Published, cloud: Cloud, venv: NodeVenv) -> Row:
    """First boots of a worker, whose certificates a double of the issuer signs."""
    folder.mkdir()
    issuer = IssuerDouble(folder, published.manifest(WORKERS), cloud)
    try:
        samples = [
            bake_node(folder / f"node-{number}", published, cloud, venv, WORKERS).run("boot")
            for number in range(_FIRST_BOOTS)
        ]
        counts = bake_node(folder / "node-counted", published, cloud, venv, WORKERS).counted("boot")
    finally:
        issuer.close()
    return _row("agent boot, a worker's first boot", samples, counts, WORKER)


def measure_boots(node: Node, runs: int) -> tuple[Row, tuple[Phase, ...]]:
    """The row of the target: everything is present and nothing changes."""
    node.run("boot")
    samples = [node.run("boot") for _ in range(runs)]
    return _row("agent boot, everything present", samples, node.counted("boot"), BOOT), phases(samples)


def measure_reboots(node: Node, runs: int) -> Row:
    """/run is empty and no service runs: secrets are opened again, units started by their doubles."""
    samples = [_after(node.reboot, lambda: node.run("boot")) for _ in range(runs)]
    counts = _after(node.reboot, lambda: node.counted("boot"))
    node.run("boot", "save")
    return _row("agent boot, after a reboot", samples, counts, BOOT)


def measure_polls(node: Node, runs: int) -> tuple[Row, tuple[Phase, ...]]:
    node.run("sync")
    samples = [node.run("sync") for _ in range(runs)]
    return _row("agent sync, nothing new", samples, node.counted("sync"), POLL), phases(samples)


def _after(first: Callable[[], object], then: Callable[[], Result]) -> Result:
    first()
    return then()


def _row(name: str, samples: Sequence[Sample], counts: Counts, targets: tuple[Target, ...]) -> Row:
    cpu, wall = medians(without_bench(sample) for sample in samples)
    return Row(
        name=name,
        cpu=cpu,
        wall=wall,
        runs=len(samples),
        peak_mib=max(sample.result["peak_kib"] for sample in samples) / 1024,
        opened=len(counts.opened),
        state_files=len(counts.state_files),
        read_bytes=counts.read_bytes,
        requests=counts.requests,
        targets=targets,
    )
