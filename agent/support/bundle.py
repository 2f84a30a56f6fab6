"""The archive: every source scrubbed, and the whole of it readable by root alone from its first byte on."""

import gzip
import io
import tarfile
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from agent.linux.atomic import replacing
from agent.support.scrub import scrub
from agent.support.sources import Source
from pki.errors import PkiError
from units.errors import BootwrightError, Fatal


def write_bundle(
    path: Path, sources: Iterable[Source], *, now: datetime, progress: Callable[[str], None] = lambda _name: None
) -> int:
    """How many files are in it. Whole or not at all at `path`, mode 0600. Fatal `bundle-not-written`."""
    folder = f"bootwright-support-{now:%Y%m%dT%H%M%SZ}"
    count = 0
    try:
        with (
            replacing(path, mode=0o600, ids=None) as file,
            gzip.GzipFile(fileobj=file, mode="wb", mtime=int(now.timestamp())) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
        ):
            for source in sources:
                progress(source.name)
                _add(archive, f"{folder}/{source.name}", scrub(_gathered(source)).encode(), now)
                count += 1
    except OSError as error:
        raise Fatal(
            "bundle-not-written", f"{path} cannot be written: {error}", remedy="agent support-bundle --output FILE"
        ) from error
    return count


def _gathered(source: Source) -> str:
    try:
        return source.gather()
    except (BootwrightError, PkiError, OSError, ValueError) as error:
        return f"(not gathered: {error})\n"


def _add(archive: tarfile.TarFile, name: str, content: bytes, now: datetime) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(now.timestamp())
    archive.addfile(entry, io.BytesIO(content))
