"""All of the agent's modules in one file, read once: a boot imports five hundred, and each is a file of its own.

On an EBS volume that was just made of a snapshot, the first read of every file is a round trip to S3 (peers.md 4.3);
and on any machine a module costs ten system calls. `agent.make_modules` writes the file when the image is baked. This
module is imported before anything else, so it imports nothing but what the interpreter has in it.

The file counts only for the very interpreter and packages that it was made of: a Python that was upgraded, or a
package that was installed since, and the modules come from their own files, as if it were not there. Like the image's
unchecked pycs it does not look at the sources: who edits one on a node for a try deletes this file first.
"""

import _frozen_importlib_external as external
import marshal
import os
import sys

TYPE_CHECKING = False  # typing itself is a file, and seventeen more
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType

    # Where a module's own file lies, seen from the prefix of the venv ("v") or the standard library ("s"); where in
    # this file its code lies, None for a shared object; whether it is a package.
    Entry = tuple[str, str, tuple[int, int] | None, bool]
    Index = Mapping[str, Entry]

NAME = "agent.modules"
LENGTH = 8  # bytes of the length of the index, little-endian, at the beginning
_MOST_INDEX = 4 * 1024 * 1024


def stamp() -> tuple[str, int, int]:
    """What it must have been made of: the build of Python, and when a file was last added to or replaced in the
    standard library and the venv (dpkg and pip replace files by renames, which the folder's time tells).
    """
    return sys.version, os.stat(library()).st_mtime_ns, os.stat(_site()).st_mtime_ns  # noqa: PTH116  no import of ours


def use_modules(path: str = "") -> bool:
    """Whether there is one that counts. From here on modules in it come from there; all others as always."""
    try:
        descriptor = os.open(path or f"{sys.prefix}/{NAME}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        size = int.from_bytes(os.pread(descriptor, LENGTH, 0), "little")
        head = os.pread(descriptor, min(size, _MOST_INDEX), LENGTH)
        made_of, first, index = marshal.loads(head)  # noqa: S302  root's own file, like a pyc
        if len(head) == size and made_of == stamp():
            # What every boot imports, while the first of it is executed: one large read instead of many small ones.
            os.posix_fadvise(descriptor, LENGTH + size, first, os.POSIX_FADV_WILLNEED)
            sys.meta_path.insert(_place(), Modules(descriptor, LENGTH + size, index))
            return True
    except (OSError, ValueError, EOFError, TypeError):  # cut short, or of another format: the files are there
        pass
    os.close(descriptor)
    return False


class Modules:
    """A finder of modules (importlib.abc.MetaPathFinder), and the open file."""

    def __init__(self, descriptor: int, begin: int, index: "Index") -> None:
        self._descriptor = descriptor
        self._begin = begin
        self._index = index

    def find_spec(
        self, fullname: str, _path: "Sequence[str] | None" = None, _target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        entry = self._index.get(fullname)
        if entry is None:
            return None
        where, name, code, package = entry
        file = f"{sys.prefix if where == 'v' else library()}/{name}"
        folders = [file.rpartition("/")[0]] if package else None
        loader = external.ExtensionFileLoader(fullname, file) if code is None else _Loader(fullname, file, self)
        return external.spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=folders)

    def code(self, fullname: str) -> "CodeType | None":
        """None if the file has lost its end since: what lies beside it is whole."""
        entry = self._index[fullname]
        assert entry[2] is not None
        offset, size = entry[2]
        found = os.pread(self._descriptor, size, self._begin + offset)
        if len(found) != size:
            return None
        code: CodeType = marshal.loads(found)  # noqa: S302  as above
        return code


class _Loader(external.SourceFileLoader):
    """Of a module whose own file is there too: tracebacks, templates and data beside it are found as ever."""

    def __init__(self, fullname: str, path: str, modules: Modules) -> None:
        super().__init__(fullname, path)
        self._modules = modules

    def get_code(self, fullname: str) -> "CodeType | None":
        return self._modules.code(fullname) or super().get_code(fullname)


def library() -> str:
    return os.__file__.rpartition("/")[0]


def _site() -> str:
    return f"{sys.prefix}/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"


def _place() -> int:
    """Before the finder that looks along sys.path."""
    return next((i for i, one in enumerate(sys.meta_path) if one is external.PathFinder), len(sys.meta_path))
