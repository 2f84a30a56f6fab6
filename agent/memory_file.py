"""A secret that a library wants as a path, and that shall lie on no disk."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def in_memory(secret: bytes) -> Iterator[str]:
    """A path of a file in memory, for this process only; it is gone with the `with`."""
    descriptor = os.memfd_create("bootwright-credential", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(secret)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
