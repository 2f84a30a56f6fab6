"""Whether this boot has put the cluster's first objects into its API server: asked at every poll, so without models."""

import hashlib
import json
from pathlib import Path

from units.cluster_objects import cluster_objects
from units.paths import RUN

STAMP = f"{RUN}/cluster-objects"


def wanted_stamp() -> bytes:
    return (hashlib.sha256(json.dumps(cluster_objects(), sort_keys=True).encode()).hexdigest() + "\n").encode()


def objects_pending(stamp: Path = Path(STAMP)) -> bool:
    """True until this boot has put them: every control-plane node does it once a boot, and after a change."""
    try:
        return stamp.read_bytes() != wanted_stamp()
    except FileNotFoundError:
        return True
