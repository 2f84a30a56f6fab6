"""Private keys under a passphrase: PKCS#8 with PBES2, scrypt and AES-256-CBC (RFC 8018, RFC 7914).

cryptography's own writer stretches the passphrase with 2048 rounds of PBKDF2 only (measured, version 50): minutes for
a guesser. These files are read by cryptography and by `openssl pkey` alike.
"""

import base64
import hashlib
import secrets
from typing import Final

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

# OWASP's row with the least memory: openssl 3 refuses scrypt above 32 MiB. About 0.17 s on one core.
_N: Final = 2**14
_R: Final = 8
_P: Final = 5
_MEMORY: Final = 64 * 1024 * 1024

_LABEL: Final = "ENCRYPTED PRIVATE KEY"
_PBES2: Final = bytes.fromhex("2a864886f70d01050d")  # 1.2.840.113549.1.5.13
_SCRYPT: Final = bytes.fromhex("2b06010401da47040b")  # 1.3.6.1.4.1.11591.4.11
_AES256_CBC: Final = bytes.fromhex("60864801650304012a")  # 2.16.840.1.101.3.4.1.42


def encrypt_pkcs8(der: bytes, passphrase: bytes) -> bytes:
    """PEM `ENCRYPTED PRIVATE KEY` around an unencrypted PKCS#8 DER."""
    salt, vector = secrets.token_bytes(16), secrets.token_bytes(16)
    key = hashlib.scrypt(passphrase, salt=salt, n=_N, r=_R, p=_P, dklen=32, maxmem=_MEMORY)
    pad = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).encryptor()
    content = encryptor.update(pad.update(der) + pad.finalize()) + encryptor.finalize()
    stretch = _sequence(_oid(_SCRYPT), _sequence(_octets(salt), _integer(_N), _integer(_R), _integer(_P)))
    cipher = _sequence(_oid(_AES256_CBC), _octets(vector))
    body = _sequence(_sequence(_oid(_PBES2), _sequence(stretch, cipher)), _octets(content))
    text = base64.b64encode(body).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    return "\n".join([f"-----BEGIN {_LABEL}-----", *lines, f"-----END {_LABEL}-----", ""]).encode()


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def _sequence(*parts: bytes) -> bytes:
    return _element(0x30, b"".join(parts))


def _octets(content: bytes) -> bytes:
    return _element(0x04, content)


def _oid(content: bytes) -> bytes:
    return _element(0x06, content)


def _integer(value: int) -> bytes:
    return _element(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))
