"""Whether the venv has each library that requirements.txt locks, in that version, with all of its files.

    /opt/bootwright/venv/bin/python -I libraries.py REQUIREMENTS

Prints a line for every fault, and nothing if there is none. An import would find only what the agent's start needs.
"""

import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def main() -> int:
    path = Path(sys.argv[1])
    locked = LOCKED.findall(path.read_text()) if path.exists() else []
    if not locked:
        sys.stdout.write(f"{path} locks no library: nothing can be compared with it\n")
    for name, version in locked:
        for fault in faults(name, version):
            sys.stdout.write(f"{fault}\n")
    return 0


def faults(name: str, version: str) -> Iterator[str]:
    try:
        found = distribution(name)
    except PackageNotFoundError:
        yield f"{name} {version} is locked, but not in the venv"
        return
    if found.version != version:
        yield f"{name} {version} is locked, but the venv has {found.version}"
    # Byte code is compiled.py's to judge.
    lacking = [file for file in found.files or () if file.suffix != ".pyc" and not file.locate().exists()]
    if lacking:
        yield f"{name} lacks {len(lacking)} of its files, {lacking[0]} first"


if __name__ == "__main__":
    sys.exit(main())
