"""The life of a region's process: the host's lock, the ledger of processes, the network, the state file, the end."""

import json
import logging
import os
import signal
import threading
from contextlib import ExitStack
from typing import Any

from tests.lab.region.ledger import remember
from tests.lab.region.leftovers import end_leftovers
from tests.lab.region.settings import RegionSettings, RunDirectory

LOG = logging.getLogger(__name__)


def serve(run: RunDirectory, settings: RegionSettings) -> None:
    """Runs until SIGTERM, SIGINT or the `stop` operation; then every machine is off and every child gone."""
    logging.basicConfig(filename=run.log, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with ExitStack() as stack:
        end_leftovers(run)
        remember(run.processes, os.getpid(), "region")
        stack.callback(run.processes.unlink)
        if settings.network.bridge:
            from tests.lab.region.bridge import bridge

            stack.enter_context(bridge(run.path))
        region = _assembled(run, settings, stopped)
        stack.callback(region.end)
        _write_private(run, region.start())
        stack.callback(run.state.unlink)
        LOG.info("region is up")
        stopped.wait()
        LOG.info("region ends")


def _assembled(run: RunDirectory, settings: RegionSettings, stopped: threading.Event) -> Any:
    # moto reads these when it is imported: an unknown image or type is an error, and only ours exists.
    os.environ["MOTO_ENABLE_AMI_VALIDATION"] = "true"
    os.environ["MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION"] = "true"
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    from tests.lab.region.assembly import Region

    return Region(run, settings, stopped.set)


def _write_private(run: RunDirectory, state: dict[str, Any]) -> None:
    """Whole or not at all, and never readable by others: the operator's secret is in it."""
    fresh = run.path / "region.json.new"
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(state, file, indent=2)
    fresh.replace(run.state)
