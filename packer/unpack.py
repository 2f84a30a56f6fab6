"""Unpacks a release archive into a folder: regular files and folders, and nothing that could lie anywhere else.

unpack.py ARCHIVE FOLDER      exit code 1 and a line on stderr for an archive that has anything else in it

Whose archive it is, its sha256 has said; this is for what a publisher's build may have put into it. Owners, times and
special modes are not taken over: an archive that unpacks over /usr must not give /usr/bin its own.
"""

import shutil
import sys
import tarfile
import zlib
from pathlib import Path, PurePosixPath

MOST_BYTES = 2 << 30


class Unsafe(Exception):
    pass


def main() -> int:
    archive, folder = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        with tarfile.open(archive, mode="r:gz") as opened:
            members = opened.getmembers()
            check(members)  # all of them before the first is written
            for member in members:
                write(opened, member, folder)
    except Unsafe as error:
        return refuse(f"{archive.name}: {error}")
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        return refuse(f"{archive.name} cannot be unpacked: {error}")
    return 0


def check(members: "list[tarfile.TarInfo]") -> None:
    for member in members:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise Unsafe(f"{member.name!r} would lie outside of the folder")
        if not member.isreg() and not member.isdir():
            raise Unsafe(f"{member.name!r} is neither a file nor a folder")
    total = sum(member.size for member in members)
    if total > MOST_BYTES:
        raise Unsafe(f"{total} bytes in it, and at most {MOST_BYTES} are allowed")


def write(opened: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    target = folder / member.name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = opened.extractfile(member)
    if source is None:
        raise Unsafe(f"{member.name!r} has no content")
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
    target.chmod(0o755 if member.mode & 0o100 else 0o644)


def refuse(why: str) -> int:
    sys.stderr.write(f"unpack.py: {why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
