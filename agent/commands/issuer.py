"""`agent issuer`: serves under systemd; `reset` and `list` are for people."""

import argparse
import json
import os
import re
import socket
import sys
from pathlib import Path

from units.errors import Invalid

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
    if arguments.action == "reset":
        return _reset(arguments.instance)
    if arguments.action == "list":
        return _list(as_json=arguments.json)
    return _serve()


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


def _reset(instance: str) -> int:
    from agent.issuer.operator import open_ledger

    if not _INSTANCE.fullmatch(instance):
        raise Invalid("instance-id-invalid", f"{instance!r} is no instance id; allowed: i- and 8 to 17 hex digits")
    open_ledger(CONFIG).reset(instance)
    sys.stdout.write(f"the next key that {instance} comes with has its identity; the former one ends with that\n")
    return 0


def _list(*, as_json: bool) -> int:
    from agent.issuer.operator import entries

    found = sorted(entries(CONFIG), key=lambda entry: (entry.group, entry.node))
    if as_json:
        sys.stdout.write(json.dumps([entry.model_dump(mode="json") for entry in found], indent=1) + "\n")
        return 0
    rows = [("INSTANCE", "NODE", "GROUP", "KEY", "")]
    rows += [
        (entry.instance, entry.node or "-", entry.group or "-", " ".join(key[:16] for key in entry.keys) or "-", state)
        for entry in found
        for state in ("open to the next key" if entry.open else "",)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, (*widths, 0), strict=True))
        sys.stdout.write(line.rstrip() + "\n")
    return 0
