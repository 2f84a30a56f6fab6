"""`agent version`."""

import argparse
import sys


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    pass


def run(_arguments: argparse.Namespace) -> int:
    from importlib.metadata import version  # 20 ms that no other command pays

    sys.stdout.write(f"{version('bootwright')}\n")
    return 0
