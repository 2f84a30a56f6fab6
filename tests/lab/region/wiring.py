"""What the region's parts share: machines, time, faults, settings, and the one gate all changes pass."""

import threading
from dataclasses import dataclass, field

from tests.lab.region.faults import Faults
from tests.lab.region.fleet import Fleet
from tests.lab.region.settings import RegionSettings, RunDirectory
from tests.lab.region.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Wiring:
    """gate: attach is a lock, so whatever reads and then changes EC2's state holds it."""

    fleet: Fleet
    timeline: Timeline
    faults: Faults
    settings: RegionSettings
    run: RunDirectory
    gate: "threading.RLock" = field(default_factory=threading.RLock)
