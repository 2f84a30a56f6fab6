"""Verifier: the port to the programs that judge a file before it is theirs. Nothing of the machine changes."""

from collections.abc import Mapping
from typing import Protocol


class Verifier(Protocol):
    """Complaints are lines as the program wrote them, without the path of whatever copy it was shown."""

    def containerd_config(self, text: str) -> tuple[str, ...]:
        """What containerd itself says against this config.toml; empty if it takes it, every key of it."""

    def units(self, texts: Mapping[str, str]) -> tuple[str, ...]:
        """What systemd says against these unit files, by their names; empty if it would load all of them."""


class NoVerifier:
    """Nobody to ask: a machine in memory."""

    def containerd_config(self, text: str) -> tuple[str, ...]:
        del text
        return ()

    def units(self, texts: Mapping[str, str]) -> tuple[str, ...]:
        del texts
        return ()
