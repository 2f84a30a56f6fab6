"""`agent enroll`: what cloud-init's one line runs."""

import argparse
import sys

from agent import settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("settings", metavar="JSON", help="one line of JSON, as `coordinator userdata GROUP` prints it")


def run(arguments: argparse.Namespace) -> int:
    offered = settings.decode(arguments.settings.encode(), source="the command line")
    before = settings.read()
    after = settings.enroll(offered)
    if after == before:
        sys.stdout.write(f"already enrolled in cluster {after.cluster}, group {after.group}: nothing changed\n")
    else:
        sys.stdout.write(f"enrolled in cluster {after.cluster}, group {after.group}: {settings.PATH}\n")
    return 0
