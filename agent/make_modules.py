"""Writes the file of modules (`agent.modules`) and the list of files that a boot reads, when an image is baked.

    /opt/bootwright/venv/bin/python -I -m agent.make_modules [--files LIST]

Everything that agent, units and pki import goes in, and the libraries that they import late. With --files, LIST gets a
line for every file that every boot then needs of this image: that one, the interpreter, the modules' shared objects.
"""

import argparse
import contextlib
import importlib
import importlib.util
import marshal
import os
import pkgutil
import sys
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING

from agent.modules import LENGTH, NAME, library, stamp

if TYPE_CHECKING:
    from agent.modules import Entry

OURS = ("pki", "units", "agent")
FIRST = ("agent.cli", "agent.commands.boot", "agent.commands.sync", "agent.linux.journal", "agent.linux.notify")
# Imported inside functions, and so by nobody who only imports: what a boot, a poll and an issuer use.
LATE = (
    "_strptime",
    "botocore.parsers",
    "botocore.regions",
    "botocore.session",
    "cryptography.hazmat.backends.openssl.backend",
    "cryptography.hazmat.primitives.asymmetric.dh",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.ciphers.algorithms",
    "cryptography.hazmat.primitives.ciphers.modes",
    "cryptography.hazmat.primitives.serialization",
    "ctypes",
    "encodings.ascii",
    "encodings.idna",
    "encodings.latin_1",
    "etcd3",
    "systemd.daemon",
    "systemd.journal",
    "tarfile",
    "tuf.api.serialization.json",
)
_NOT_OURS_TO_IMPORT = ("__main__", "make_modules")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m agent.make_modules", description=__doc__)
    parser.add_argument("--files", type=Path, metavar="LIST", help="where to write the names of the files of a boot")
    chosen = parser.parse_args()
    path = Path(sys.prefix) / NAME
    for name in FIRST:
        importlib.import_module(name)
    early = frozenset(sys.modules)
    files = [str(path), *mapped_files()]
    import_ours()
    import_late()
    count = write_modules(path, early)
    if chosen.files:
        chosen.files.write_text("".join(f"{file}\n" for file in files))
    sys.stderr.write(f"make_modules: {count} modules in {path}, {path.stat().st_size} bytes\n")
    return 0


def import_ours() -> None:
    for name in OURS:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if module.name.rpartition(".")[2] not in _NOT_OURS_TO_IMPORT:
                importlib.import_module(module.name)


def import_late() -> None:
    for name in LATE:
        with contextlib.suppress(ImportError):  # a library that this image does without
            importlib.import_module(name)


def write_modules(path: Path, early: frozenset[str] = frozenset()) -> int:
    """Of all modules that are imported now, `early` ones first; how many. In one piece or not at all."""
    index: dict[str, Entry] = {}
    codes, first = bytearray(), 0
    for name, module in sorted(sys.modules.items(), key=lambda item: item[0] not in early):
        entry = _entry(name, module, codes)
        if entry is not None:
            index[name] = entry
        if name in early:
            first = len(codes)
    head = marshal.dumps((stamp(), first, index))
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(len(head).to_bytes(LENGTH, "little") + head + codes)
    temporary.replace(path)
    return len(index)


def mapped_files() -> Iterator[str]:
    """The interpreter, and every library that this process has loaded."""
    seen = set()
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        name = line[line.find("/") :] if "/" in line else ""
        if name and name not in seen and Path(name).is_file():
            seen.add(name)
            yield name


def _entry(name: str, module: ModuleType, codes: bytearray) -> "Entry | None":
    """None for what is built in, has no file, or is not part of venv and standard library. Appends the code."""
    spec = getattr(module, "__spec__", None) or _found(name)
    loader, origin = getattr(spec, "loader", None), getattr(spec, "origin", None)
    if spec is None or spec.name != name or origin is None:
        return None
    place = _place(origin)
    if place is None:
        return None
    if isinstance(loader, ExtensionFileLoader):
        return (*place, None, False)
    if not isinstance(loader, SourceFileLoader):
        return None
    data = marshal.dumps(_code(loader, name))
    codes += data
    return (*place, (len(codes) - len(data), len(data)), spec.submodule_search_locations is not None)


def _found(name: str) -> ModuleSpec | None:
    """Of a module that put something else in its own place, as cryptography does with those that have old names."""
    parent = sys.modules.get(name.rpartition(".")[0])
    return PathFinder.find_spec(name, parent.__path__) if parent is not None and hasattr(parent, "__path__") else None


def _code(loader: SourceFileLoader, name: str) -> CodeType:
    code = loader.get_code(name)
    if code is None:
        raise ImportError(f"{name} has no code", name=name)
    return code


def _place(origin: str) -> tuple[str, str] | None:
    for kind, folder in (("v", sys.prefix), ("s", library())):
        if origin.startswith(f"{folder}{os.sep}"):
            return kind, origin[len(folder) + 1 :]
    return None


if __name__ == "__main__":
    sys.exit(main())
