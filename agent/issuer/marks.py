"""Who got a certificate, told to the root agent next door: it sets the labels that a kubelet may not set itself.

One small file for each node, in the service's runtime directory: `issued/NODE`, with the group's name in it.
"""

from pathlib import Path

from agent.durable import keep_durably

DIRECTORY = Path("/run/bootwright-issuer/issued")


def mark_issued(node: str, group: str, directory: Path = DIRECTORY) -> None:
    """`node` has been through pki.names: letters, digits, hyphens and dots, never a slash."""
    directory.mkdir(mode=0o755, exist_ok=True)
    keep_durably(directory / node, f"{group}\n".encode(), mode=0o644)
