"""`agent issuer`: serves under systemd; `reset` and `list` are for people."""

import argparse
import json
import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from units.errors import Invalid

if TYPE_CHECKING:
    from agent.issuer.operator import Place

CONFIG = Path("/etc/bootwright/issuer.json")
_INSTANCE = re.compile(r"i-[0-9a-f]{8,17}", re.ASCII)
_FIRST_DESCRIPTOR = 3  # sd_listen_fds(3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=False)
    reset = actions.add_parser(
        "reset", help="let the next key of an instance have its identity, whatever its age", allow_abbrev=False
    )
    reset.add_argument("instance", metavar="INSTANCE", help="its id, i-...")
    listing = actions.add_parser("list", help="which instance has which identity", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="for scripts")


def run(arguments: argparse.Namespace) -> int:
    if arguments.action is None:
        return _serve()
    from agent.issuer.operator import here

    if arguments.action == "reset":
        require_instance_id(arguments.instance)
        reset(here(CONFIG), arguments.instance)
    else:
        show(here(CONFIG), as_json=arguments.json)
    return 0


def _serve() -> int:
    from agent.issuer.service import serve

    sockets = _sockets()
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not sockets or not directory:
        raise Invalid(
            "issuer-without-socket",
            "`agent issuer` serves only under systemd, which hands it socket and credentials",
            remedy="systemctl start bootwright-issuer.socket; for people there are `agent issuer list` and `reset`",
        )
    serve(sockets, Path(directory))
    return 0


def _sockets() -> list[socket.socket]:
    """As sd_listen_fds(3); the variables count only if they are meant for this process."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(os.environ.get("LISTEN_FDS", "0"))
    return [socket.socket(fileno=_FIRST_DESCRIPTOR + number) for number in range(count)]


def require_instance_id(text: str) -> None:
    if not _INSTANCE.fullmatch(text):
        raise Invalid("instance-id-invalid", f"{text!r} is no instance id; allowed: i- and 8 to 17 hex digits")


def reset(place: "Place", instance: str) -> None:
    place.ledger().reset(instance)
    sys.stdout.write(f"the next key that {instance} comes with has its identity; the former one ends with that\n")


def show(place: "Place", *, as_json: bool) -> None:
    found = sorted(place.entries(), key=lambda entry: (entry.group, entry.node))
    if as_json:
        sys.stdout.write(json.dumps([entry.model_dump(mode="json") for entry in found], indent=1) + "\n")
        return
    rows = [("INSTANCE", "NODE", "GROUP", "KEYS", "")]
    rows += [
        (
            entry.instance,
            entry.node or "-",
            entry.group or "-",
            " ".join(key[:16] for key in entry.keys) or "-",
            "open to the next key" if entry.open else "",
        )
        for entry in found
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, (*widths, 0), strict=True))
        sys.stdout.write(line.rstrip() + "\n")
