"""Who is at the keyboard, for the signed history."""

import getpass
import os
import socket


def operator_name() -> str:
    """`user@host`, or BOOTWRIGHT_OPERATOR; it is a note for people, nothing trusts it."""
    if named := os.environ.get("BOOTWRIGHT_OPERATOR"):
        return named[:100]
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"[:100]
