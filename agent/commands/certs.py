"""`agent certs`."""

import argparse
import json
import sys
from contextlib import suppress
from datetime import UTC, datetime

from agent.certificates import Inventory, take_inventory
from agent.run_state import STATUS
from units.errors import Invalid
from units.expiry import expiring, life_left
from units.paths import KUBERNETES
from units.status import decode_status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="everything, for scripts")
    parser.add_argument("--folder", default=KUBERNETES, help=f"where to look ({KUBERNETES})")


def run(arguments: argparse.Namespace) -> int:
    """0; 1 when something has expired, or cannot be read."""
    now = datetime.now(UTC)
    inventory = take_inventory(now, _instance_id(), arguments.folder)
    if arguments.json:
        sys.stdout.write(json.dumps(document(inventory, now), indent=1) + "\n")
    else:
        from agent.certs_screen import print_certificates

        print_certificates(inventory, now)
    expired = any(life_left(one, now).expired for one in inventory.certificates)
    return 1 if expired or inventory.unreadable else 0


def document(inventory: Inventory, now: datetime) -> dict[str, object]:
    return {
        "certificates": [one.model_dump(mode="json") for one in inventory.certificates if not one.authority],
        "authorities": [one.model_dump(mode="json") for one in inventory.certificates if one.authority],
        "unreadable": [{"path": path, "problem": problem} for path, problem in inventory.unreadable],
        "expiring": [
            {"path": one.path, "subject": one.subject, "days_left": one.left.days, "remedy": one.remedy}
            for one in expiring(inventory.certificates, now)
        ],
    }


def _instance_id() -> str:
    """What spreads renewals, as the last run wrote it: IMDS is not asked, so this works without a network."""
    with suppress(OSError, Invalid):
        return decode_status(STATUS.read_bytes()).instance_id
    return ""
