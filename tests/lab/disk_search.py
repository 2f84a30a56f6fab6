"""Looking for private keys in what a machine left on its disks: the raw bytes, files that are deleted included."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

_CHUNK = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Secret:
    """Pieces that only the private half has, in the forms in which a program would write it."""

    name: str
    pieces: tuple[bytes, ...]


def secret_of(name: str, pem: bytes) -> Secret:
    """Of an unencrypted PKCS#8 key: its lines of base64, and its numbers as DER holds them."""
    key = serialization.load_pem_private_key(pem, password=None)
    lines = [line for line in pem.splitlines() if not line.startswith(b"-----")]
    if isinstance(key, ec.EllipticCurvePrivateKey):
        # RFC 5915: the private number comes first; the second line holds most of it, the third the public point.
        number = key.private_numbers().private_value.to_bytes(32, "big")
        return Secret(name, (lines[1], number))
    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        primes = (number.to_bytes(key.key_size // 16, "big") for number in (numbers.p, numbers.q))
        # The modulus, which is public, fills the first quarter.
        return Secret(name, (*lines[len(lines) // 2 : -1], *primes))
    raise TypeError(f"{name}: {type(key).__name__}")


def found_in(files: Iterable[Path], secrets: Iterable[Secret]) -> Mapping[str, set[str]]:
    """Names of the secrets of which any piece occurs -> the files that hold it."""
    wanted = tuple(secrets)
    overlap = max(len(piece) for secret in wanted for piece in secret.pieces)
    found: dict[str, set[str]] = {}
    for file in files:
        for chunk in _written(file, overlap):
            for secret in wanted:
                if any(piece in chunk for piece in secret.pieces):
                    found.setdefault(secret.name, set()).add(file.name)
    return found


def _written(file: Path, overlap: int) -> Iterator[bytes]:
    """The parts of a sparse file that hold data, in overlapping chunks."""
    with file.open("rb", buffering=0) as source:
        descriptor, size = source.fileno(), file.stat().st_size
        begin = _next(descriptor, 0, os.SEEK_DATA, size)
        while begin < size:
            end = _next(descriptor, begin, os.SEEK_HOLE, size)
            for at in range(begin, end, _CHUNK):
                yield os.pread(descriptor, min(_CHUNK, end - at) + overlap, at)
            begin = _next(descriptor, end, os.SEEK_DATA, size)


def _next(descriptor: int, begin: int, kind: int, size: int) -> int:
    try:
        return os.lseek(descriptor, begin, kind)
    except OSError:  # ENXIO: nothing of that kind follows
        return size
