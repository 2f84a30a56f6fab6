"""Runtime: what the container runtime itself says it runs, without kubelet or the API server in between."""

from collections.abc import Mapping
from typing import Protocol


class Runtime(Protocol):
    def complaint(self) -> str:
        """Why it does not answer; empty if it does."""

    def static_pods(self) -> Mapping[str, frozenset[str]]:
        """Of every static pod whose containers run: its name, and the digests (`units.pods`) of what runs under it.

        Retryable `containerd-unreachable` if it does not answer.
        """


class NoRuntime:
    """Nothing to ask."""

    def complaint(self) -> str:
        return ""

    def static_pods(self) -> Mapping[str, frozenset[str]]:
        return {}
