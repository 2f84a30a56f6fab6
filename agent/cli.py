"""The command line of a node. A table of names: `agent --help` loads neither TUF nor X.509 nor an AWS SDK."""

import argparse
import gc
import importlib
import logging
import os
import sys
from dataclasses import dataclass
from typing import Any

from units.errors import BootwrightError, Invalid

# etcd3's generated code needs it set before any import of protobuf (DESIGN section 3).
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
# pydantic would read the entry points of every installed package to find plugins; a node has none, and wants none.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

DEBUG_VARIABLE = "BOOTWRIGHT_DEBUG"

DESCRIPTION = """\
bootwright's agent: makes this machine the node that its signed manifest says.

At 3 am, on a node that will not join:
  agent status          what this node is, what it waits for, what is wrong and what to do
  agent doctor          ordered checks from symptom to cause, each with its fix
  agent diff            what the signed manifest would change here
  journalctl -u bootwright-boot
"""

EPILOG = """\
exit codes: 0 done, 1 failed, 2 usage or invalid input, 3 refused for safety (trust, quorum, format), 4 retry later
"""


@dataclass(frozen=True, slots=True)
class Command:
    module: str
    summary: str


COMMANDS = {
    "boot": Command("agent.commands.boot", "verify the manifest and converge this machine (what the boot unit runs)"),
    "enroll": Command("agent.commands.enroll", "record which cluster and group this machine belongs to"),
    "sync": Command("agent.commands.sync", "look for a newer manifest, renew certificates (what the timer runs)"),
    "status": Command("agent.commands.status", "explain this node: resources, units, certificates, etcd, last error"),
    "doctor": Command("agent.commands.doctor", "why this node is not well: ordered checks, the first cause, the fix"),
    "diff": Command("agent.commands.diff", "what `agent boot` would change, without changing it"),
    "certs": Command("agent.commands.certs", "every certificate on this node: names, issuer, expiry, next renewal"),
    "etcd": Command("agent.commands.etcd", "etcd of this node: status, backup, care, step-down"),
    "issuer": Command("agent.commands.issuer", "sign workers' certificates (what the socket runs); reset, list"),
    "support-bundle": Command("agent.commands.support_bundle", "logs, configs and status for a report; no secrets"),
    "version": Command("agent.commands.version", "the agent's version"),
}


def main(arguments: list[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="agent",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=command.summary,
            description=command.summary,
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        # Only the chosen command's module is imported: its arguments are nobody else's business.
        if name in given[:1]:
            importlib.import_module(command.module).add_arguments(subparser)
    parsed = parser.parse_args(given)
    exit_code = _run(importlib.import_module(COMMANDS[parsed.command].module), parsed)
    # The process ends here: without this the collector walks every object once more, 60 ms of CPU after a boot.
    gc.freeze()
    return exit_code


def _run(module: Any, parsed: argparse.Namespace) -> int:
    from agent.linux.journal import install_handler

    install_handler()
    try:
        return int(module.run(parsed))
    except BootwrightError as error:
        return _failed(parsed.command, error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; running it again goes on from here\n")
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            said, what_to_do = f"{error.filename or 'this'} is for root alone", f"sudo agent {parsed.command}"
            return _failed(parsed.command, Invalid("root-needed", said, remedy=what_to_do))
        from agent.defects import defect

        logging.getLogger("bootwright").exception("an unforeseen error")
        if os.environ.get(DEBUG_VARIABLE):
            raise
        return _failed(parsed.command, defect(error))


def _failed(command: str, error: BootwrightError) -> int:
    sys.stderr.write(f"agent {command}: {error.code}: {error}\n")
    if error.remedy:
        sys.stderr.write(f"  remedy: {error.remedy}\n")
    return error.exit_code
