"""`agent doctor`."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from agent.doctor.checks import diagnose
from agent.doctor.finding import Examined
from agent.doctor.patient import Patient
from agent.doctor.verdict import first_cause, verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="everything, for scripts")


def run(arguments: argparse.Namespace) -> int:
    """0 if nothing fails, else 1. Works without a network, before the first boot, and on half a machine."""
    examined = diagnose(Patient())
    if arguments.json:
        sys.stdout.write(json.dumps(document(examined), indent=1) + "\n")
    else:
        from agent.doctor.screen import print_diagnosis

        print_diagnosis(examined)
    return 1 if first_cause(examined) else 0


def document(examined: Sequence[Examined]) -> dict[str, Any]:
    cause = first_cause(examined)
    return {
        "verdict": verdict(examined),
        "cause": cause.check if cause else "",
        "code": cause.finding.code if cause else "",
        "checks": [one.as_document() for one in examined],
    }
