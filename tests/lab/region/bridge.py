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
        network.down()
        network.up()
        try:
            yield
        finally:
            network.down()
