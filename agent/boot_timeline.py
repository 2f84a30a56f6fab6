"""The timeline of this boot, put into the status as a run of `agent boot` ends."""

import logging
import time
from datetime import datetime

from agent.linux.boot_stamps import cpu_seconds, gather_stamps, is_first_boot, kernel_started
from units.errors import BootwrightError
from units.report import Report
from units.status import NodeStatus
from units.timeline import Run, Stamps, add_run

LOG = logging.getLogger("bootwright")


def record_boot(status: NodeStatus, report: Report) -> NodeStatus:
    """`agent.reporter.Reporter.at_end` of `agent boot`. No stamp is worth a boot: without systemd's it has its own."""
    if status.timeline is not None and status.timeline.ready is not None:
        return status
    run = Run(
        phases=status.phases,
        report=report,
        at=time.monotonic(),
        ready=status.stage == "ready",
        cpu_seconds=cpu_seconds(),
        # A reboot has EC2's order of long ago.
        launched=_time(status.launched) if is_first_boot() else None,
    )
    return status.model_copy(update={"timeline": add_run(status.timeline, stamps_if_any(), run)})


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None


def stamps_if_any() -> Stamps:
    try:
        return gather_stamps()
    except BootwrightError as error:
        LOG.warning("no stamps of this boot from systemd: %s", error, extra={"code": error.code})
        return Stamps(kernel_started())
