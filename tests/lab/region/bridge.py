"""The region on the lab's bridge: what a killed lab left there goes first, and the bridge goes last."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import network
from tests.lab.region import ledger
from tests.lab.region.leftovers import end_leftovers
from tests.lab.region.settings import RunDirectory


@contextmanager
def bridge(run_directory: Path) -> Iterator[None]:
    """Raises ledger.LabBusy when another lab has it."""
    with ledger.only_lab_on_this_host(run_directory) as died:
        if died:
            end_leftovers(RunDirectory(died))
        network.up()
        try:
            yield
        finally:
            # Someone may have machines on it that are none of ours: a test of the machines themselves.
            if not any(Path(f"/sys/class/net/{network.LAB.name}/brif").glob("*")):
                network.down()
