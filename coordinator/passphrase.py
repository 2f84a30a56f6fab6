"""The passphrase of the key files: from the environment, from a file, or from a person."""

import os
import sys
from getpass import getpass
from pathlib import Path
from typing import Final

from units.errors import Invalid

VARIABLE: Final = "BOOTWRIGHT_PASSPHRASE"
FILE_VARIABLE: Final = "BOOTWRIGHT_PASSPHRASE_FILE"
SHORTEST: Final = 12  # of a new one: an offline guesser has all the time in the world
LONGEST: Final = 1024


class Passphrase:
    """Asked for when it is first needed, and once per run. Never printed, never written."""

    def __init__(self, known: str | None = None) -> None:
        self._known = known

    def __repr__(self) -> str:
        return "Passphrase(...)"

    def get(self) -> bytes:
        """To open existing keys."""
        if self._known is None:
            self._known = _from_environment() or _ask(f"Passphrase of the signing keys ({VARIABLE}): ")
        return self._known.encode()

    def choose(self) -> bytes:
        """To protect new keys: long enough, and a person types it twice."""
        if self._known is None:
            self._known = _from_environment()
        if self._known is None:
            first = _ask(f"New passphrase for the key files, at least {SHORTEST} characters: ")
            if first != _ask("The same again: "):
                raise Invalid("passphrase-differs", "the two passphrases differ", remedy="run the command again")
            self._known = first
        if len(self._known) < SHORTEST:
            raise Invalid(
                "passphrase-short",
                f"the passphrase has {len(self._known)} characters; at least {SHORTEST} are needed",
                remedy="use a few random words",
            )
        return self._known.encode()


def _from_environment() -> str | None:
    direct, file = os.environ.get(VARIABLE), os.environ.get(FILE_VARIABLE)
    if direct and file:
        raise Invalid("passphrase-twice", f"{VARIABLE} and {FILE_VARIABLE} are both set; set one of them")
    if direct:
        return direct
    if not file:
        return None
    try:
        with Path(file).open("rb") as stream:
            text = stream.read(LONGEST + 1).decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("passphrase-file", f"{FILE_VARIABLE}={file}: {error}") from error
    if not 0 < len(text) <= LONGEST:
        raise Invalid("passphrase-file", f"{FILE_VARIABLE}={file}: holds no passphrase of 1 to {LONGEST} characters")
    return text


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise Invalid(
            "passphrase-missing",
            "a passphrase is needed and there is no terminal to ask for it",
            remedy=f"set {FILE_VARIABLE} to a file that holds it, or {VARIABLE}",
        )
    answer = getpass(prompt)
    if not answer:
        raise Invalid("passphrase-empty", "the passphrase is empty")
    return answer
