"""Whether what was compiled is what the sources say. Prints a line for every fault, and nothing if there is none.

    /opt/bootwright/venv/bin/python -I compiled.py

At boot nobody compares a pyc or the file of modules (agent/modules.py) with a source: what is wrong here would run.
"""

import importlib.util
import marshal
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path

from agent.make_modules import LATE, OURS
from agent.modules import LENGTH, NAME, library, stamp

UNCHECKED_HASH = b"\1\0\0\0"  # PEP 552
NOT_IN_IT = ("__main__", "make_modules")


def main() -> int:
    sys.dont_write_bytecode = True  # a look changes nothing
    for fault in (*pycs(Path(sys.prefix) / "lib"), *file_of_modules(Path(sys.prefix) / NAME)):
        sys.stdout.write(f"{fault}\n")
    return 0


def pycs(folder: Path) -> Iterator[str]:
    missing, stale = [], []
    for source in sorted(folder.rglob("*.py")):
        compiled = Path(importlib.util.cache_from_source(str(source)))
        head = compiled.read_bytes()[:16] if compiled.exists() else b""
        if head[4:8] != UNCHECKED_HASH:
            missing.append(source)
        elif head[8:] != importlib.util.source_hash(source.read_bytes()):
            stale.append(source)
    if missing:
        yield f"{len(missing)} modules are not byte-compiled (unchecked hash), {missing[0]} first: time at every boot"
    if stale:
        yield f"{len(stale)} modules are not what their byte code was made of, {stale[0]} first: the old code would run"


def file_of_modules(path: Path) -> Iterator[str]:
    if not path.exists():
        yield f"{path} is missing: a boot would open five hundred files"
        return
    data = path.read_bytes()
    begin = LENGTH + int.from_bytes(data[:LENGTH], "little")
    try:
        made_of, _, index = marshal.loads(data[LENGTH:begin])  # noqa: S302  root's own file, as for agent.modules
    except (ValueError, EOFError, TypeError):
        yield f"{path} is not what agent.make_modules writes"
        return
    if made_of != stamp():
        yield f"{path} was made of another Python, or before something was installed: it would not count"
    lacking = sorted(set(expected()) - set(index))
    if lacking:
        yield f"{path} lacks {len(lacking)} modules, {lacking[0]} first"
    if max((sum(entry[2]) for entry in index.values() if entry[2]), default=0) != len(data) - begin:
        yield f"{path} is cut short, or has more in it than its index says"
        return
    wrong = sorted(name for name, entry in index.items() if not is_current(name, entry, data[begin:]))
    if wrong:
        yield f"{path} has another {wrong[0]} than the venv, and {len(wrong) - 1} more"


def expected() -> Iterator[str]:
    """Ours, and what is imported late and installed here; the rest is what these import."""
    for package in OURS:
        for source in (site_packages() / package).rglob("*.py"):
            parts = source.relative_to(site_packages()).with_suffix("").parts
            if parts[-1] not in NOT_IN_IT:
                yield ".".join(parts).removesuffix(".__init__")
    yield from (name for name in LATE if installed(name))


def installed(name: str) -> bool:
    places = [folder / name.replace(".", "/") for folder in (site_packages(), Path(library()))]
    return any(place.with_suffix(".py").exists() or (place / "__init__.py").exists() for place in places)


def site_packages() -> Path:
    return Path(sys.prefix) / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def is_current(name: str, entry: tuple, codes: bytes) -> bool:
    where, file, code, _ = entry
    path = Path(sys.prefix if where == "v" else library()) / file
    if not path.exists() or code is None:
        return path.exists()
    try:
        held = marshal.loads(codes[code[0] : sum(code)])  # noqa: S302  as above
        return held == SourceFileLoader(name, str(path)).get_code(name)
    except (ValueError, EOFError, TypeError):
        return False


if __name__ == "__main__":
    sys.exit(main())
