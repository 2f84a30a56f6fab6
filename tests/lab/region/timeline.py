"""Steps that EC2 takes a moment over: each named, each on its own thread, none after the region has ended."""

import logging
import threading
from collections.abc import Callable

LOG = logging.getLogger(__name__)


class Timeline:
    def __init__(self) -> None:
        self._ended = threading.Event()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def after(self, seconds: float, name: str, step: Callable[[], None]) -> None:
        """Run `step` once, `seconds` from now. An error in it is logged under `name` and goes nowhere else."""

        def wait_and_run() -> None:
            if self._ended.wait(seconds):
                return
            try:
                step()
            except Exception:
                LOG.exception("step failed: %s", name)

        threading.Thread(target=wait_and_run, name=name, daemon=True).start()

    def until(self, name: str, attempt: Callable[[], bool], *, every: float = 0.05) -> None:
        """Blocks the calling step until `attempt` answers True or the region ends."""
        while not attempt():
            LOG.debug("still waiting: %s", name)
            if self._ended.wait(every):
                return

    def end(self) -> None:
        self._ended.set()
