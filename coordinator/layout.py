"""Keys of a cluster's objects, relative to its folder in the store (DESIGN section 4). Nodes read the same names."""

from typing import Final

METADATA: Final = "tuf/metadata/"
TARGETS: Final = "tuf/targets/"
TIMESTAMP: Final = f"{METADATA}timestamp.json"
STATUS: Final = "status/"
HALT: Final = "halt/"
OUTCOME: Final = "outcome/"

# Targets: paths that are signed.
CLUSTER: Final = "cluster.json"
ASSETS: Final = "assets.json"
GROUPS: Final = "groups/"


def metadata_key(role: str, version: int) -> str:
    return f"{METADATA}{version}.{role}.json"


def group_target(group: str) -> str:
    return f"{GROUPS}{group}.json"


def halt_key(group: str) -> str:
    """Its presence stops a group's rollout. Unsigned: it can only stop."""
    return f"{HALT}{group}"


def outcome_prefix(group: str, rollout_serial: int) -> str:
    """Before `ok/INSTANCE` and `failed/INSTANCE`: zero-byte markers that nodes leave of one rollout."""
    return f"{OUTCOME}{group}/{rollout_serial}/"


def target_key(path: str, sha256: str) -> str:
    """Consistent snapshots: the hash goes in front of the file name, not of the directory."""
    directory, slash, name = path.rpartition("/")
    return f"{TARGETS}{directory}{slash}{sha256}.{name}"


def asset_key(sha256: str) -> str:
    return f"assets/sha256/{sha256[:2]}/{sha256}"
