"""`agent support-bundle`."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from agent.doctor.patient import Patient
from agent.support.bundle import write_bundle
from agent.support.sources import sources


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", metavar="FILE", help="where to (./bootwright-support-TIME.tar.gz)")


def run(arguments: argparse.Namespace) -> int:
    now = datetime.now(UTC)
    path = Path(arguments.output or f"bootwright-support-{now:%Y%m%dT%H%M%SZ}.tar.gz").absolute()
    count = write_bundle(path, sources(Patient()), now=now, progress=_show)
    sys.stdout.write(f"{path}: {count} files, {path.stat().st_size // 1024} KiB, readable by root alone\n")
    sys.stdout.write("private keys, tokens and user-data are left out; still, look through it before you send it\n")
    return 0


def _show(name: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{name}")
