"""`coordinator userdata`: the line of cloud-init that tells a machine who it is and what it may trust at least."""

import hashlib
import json
from dataclasses import dataclass

from coordinator.state import State
from units.errors import Invalid

MAX_BYTES = 1024  # EC2 allows 16 kB; a line that a person can check by eye stays small


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Where the cluster lies. `store` has no cluster folder: the agent adds it."""

    store: str
    cluster: str
    region: str | None = None
    endpoint: str | None = None


def render_userdata(enrolment: Enrolment, group: str, state: State) -> str:
    """`#cloud-config` with one command. The root's hash and the versions are floors against a rollback on a fresh
    machine (trust.md 1.5); a newer state than this one is accepted.
    """
    if group not in state.groups:
        raise Invalid(
            "group-unknown",
            f"group {group!r} is not published; published are: {', '.join(state.groups) or 'none'}",
            remedy="run `coordinator publish` first, or correct the name",
        )
    settings = {
        "store": enrolment.store,
        "cluster": enrolment.cluster,
        "group": group,
        "root_version": state.root.version,
        "root_sha256": hashlib.sha256(state.root_bytes).hexdigest(),
        "targets_version": state.targets.version,
    }
    if enrolment.region:
        settings["region"] = enrolment.region
    if enrolment.endpoint:
        settings["endpoint"] = enrolment.endpoint
    # In single-quoted YAML only the quote itself is special.
    text = json.dumps(settings, separators=(",", ":")).replace("'", "''")
    userdata = f"#cloud-config\nruncmd: [[agent, enroll, '{text}']]\n"
    if len(userdata.encode()) >= MAX_BYTES:
        raise Invalid(
            "userdata-large", f"the userdata has {len(userdata.encode())} bytes; less than {MAX_BYTES} is allowed"
        )
    return userdata
