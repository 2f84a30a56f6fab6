"""TLS from files that are renewed under a running process."""

import ssl
from collections.abc import Callable
from pathlib import Path


class Reloading:
    """An SSLContext, made anew when a file that it was made of has changed; what cannot be read changes nothing."""

    def __init__(
        self, name: str, files: tuple[str, ...], make: Callable[[], ssl.SSLContext], say: Callable[[str], None]
    ) -> None:
        self._name = name
        self._files = files
        self._make = make
        self._say = say
        self._stamp = self._look()
        self._context = make()

    def __call__(self) -> ssl.SSLContext:
        stamp = self._look()
        if stamp != self._stamp:
            try:
                self._context = self._make()
            except (OSError, ssl.SSLError) as error:
                self._say(f"{self._name}: keeps what it has: {error}")
            else:
                self._say(f"{self._name}: reloaded from disk; {', '.join(expiries(self._files))}")
            self._stamp = stamp
        return self._context

    def _look(self) -> tuple[tuple[int, int], ...]:
        found = (Path(name).stat() for name in self._files if Path(name).exists())
        return tuple((state.st_ino, state.st_mtime_ns) for state in found)


def expiries(files: tuple[str, ...]) -> list[str]:
    from cryptography import x509

    leaves = ((name, x509.load_pem_x509_certificate(Path(name).read_bytes())) for name in files)
    return [f"{name}: serial {leaf.serial_number:x} until {leaf.not_valid_after_utc:%FT%TZ}" for name, leaf in leaves]
