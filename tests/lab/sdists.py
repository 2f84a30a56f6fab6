"""Source packages by hash, fetched without running them.

`pip download` runs a source package's setup.py to learn its name, and systemd-python's wants a compiler and libsystemd.
"""

import html
import os
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

from tests.lab.cache import sha256_of

DEFAULT_INDEX = "https://pypi.org/simple"


def fetch(name: str, hashes: frozenset[str], target: Path) -> Path:
    """The package's file in `target` whose sha256 is one of `hashes`. Raises LookupError if the index has none."""
    page = f"{_index().rstrip('/')}/{name}/"
    for link in re.findall(r'href="([^"]+)"', _read(page, accept="text/html").decode()):
        address, fragment = urldefrag(urljoin(page, html.unescape(link)))
        if fragment.removeprefix("sha256=") not in hashes or not address.endswith((".tar.gz", ".zip")):
            continue
        path = target / unquote(address.rpartition("/")[2])
        path.write_bytes(_read(address, accept="*/*"))
        if sha256_of(path) not in hashes:
            path.unlink()
            raise LookupError(f"{address} is not what the lock file says: its sha256 differs")
        return path
    raise LookupError(f"{page} has no source package of the hashes in the lock file")


def _read(address: str, *, accept: str) -> bytes:
    request = urllib.request.Request(address, headers={"Accept": accept, "User-Agent": "bootwright-lab"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def _index() -> str:
    """The index that pip uses here, from its environment or its configuration."""
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    ask = [sys.executable, "-m", "pip", "config", "get", "global.index-url"]
    done = subprocess.run(ask, check=False, capture_output=True, text=True, timeout=60)
    return done.stdout.strip() or DEFAULT_INDEX
