"""What a region that was killed could not end itself: its children, and machines that know nothing of it."""

from tests.lab.region.ledger import Entry, end_all
from tests.lab.region.settings import RunDirectory


def end_leftovers(run: RunDirectory) -> list[Entry]:
    """Every process of a dead region's run directory is gone afterwards. Returns those of its ledger."""
    for folder in sorted((run.path / "machines").glob("*/machine.json")):
        from tests.lab.machine import Machine  # only real machines leave one, and need what it imports

        Machine.at(folder.parent).power_cut()
    return end_all(run.processes)
