"""`coordinator userdata`: the line of cloud-init that tells a machine who it is and what it may trust at least.

An image of ours needs that line alone: its agent reads it from IMDS as data. For an image that was not baked, commands
around it install the agent first, by digest; an image of ours runs none of them.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, Literal

from coordinator.documents import AgentBundle
from coordinator.state import State
from units.errors import Invalid

Format = Literal["cloud-config", "shell", "mime"]

MAX_LINE: Final = 1024  # a line that a person can check by eye stays small
MAX_BYTES: Final = 16 * 1024  # EC2's limit, before base64

# --no-block: cloud-init must not wait for the node, which may wait for etcd's volume.
_START: Final = ("systemctl", "start", "--no-block", "bootwright-boot.service", "bootwright-sync.timer")


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Where the cluster lies. `store` has no cluster folder: the agent adds it."""

    store: str
    cluster: str
    region: str | None = None
    endpoint: str | None = None


def render_userdata(
    enrolment: Enrolment,
    group: str,
    state: State,
    *,
    form: Format = "cloud-config",
    bundles: Sequence[AgentBundle] = (),
) -> str:
    """User-data for a launch template. With `bundles` it also installs the agent where there is none.

    The root's hash and the versions are floors against a rollback on a fresh machine (trust.md 1.5); a newer state than
    this one is accepted. Invalid for a group that is not published, and for what EC2 would not take.
    """
    line = _enrolment_line(enrolment, group, state)
    install = _installation(enrolment, bundles) if bundles else None
    text = _shell(line, install) if form == "shell" else _cloud_config(line, install)
    if form == "mime":
        text = _mime(text)
    most = MAX_BYTES if install else 2 * MAX_LINE
    if len(text.encode()) > most:
        raise Invalid("userdata-large", f"the userdata has {len(text.encode())} bytes; at most {most} are allowed")
    return text


def _enrolment_line(enrolment: Enrolment, group: str, state: State) -> str:
    """The JSON that `agent enroll` takes."""
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
    text = json.dumps(settings, separators=(",", ":"))
    if len(text.encode()) >= MAX_LINE:
        raise Invalid(
            "userdata-large", f"the enrolment has {len(text.encode())} bytes; less than {MAX_LINE} is allowed"
        )
    return text


@dataclass(frozen=True, slots=True)
class _Installation:
    """`program` is Python; `asked` its argument (see coordinator.on_stock_image)."""

    program: str
    asked: str


def _installation(enrolment: Enrolment, bundles: Sequence[AgentBundle]) -> _Installation:
    if not enrolment.store.startswith("s3://"):
        raise Invalid("store-not-s3", f"a machine cannot fetch the agent from {enrolment.store}; only from s3://")
    bucket, _, prefix = enrolment.store.removeprefix("s3://").strip("/").partition("/")
    asked = {
        "bucket": bucket,
        "prefix": f"{prefix}/{enrolment.cluster}/" if prefix else f"{enrolment.cluster}/",
        "region": enrolment.region,
        "endpoint": enrolment.endpoint,
        "bundles": {bundle.platform: [bundle.sha256, bundle.size] for bundle in bundles},
    }
    program = files("coordinator").joinpath("on_stock_image.py").read_text(encoding="utf-8")
    return _Installation(program, json.dumps(asked, separators=(",", ":")))


def _cloud_config(line: str, install: _Installation | None) -> str:
    if install is None:
        return f"#cloud-config\nruncmd: [[agent, enroll, {_quoted(line)}]]\n"
    program = "".join(f"    {text}" if text.strip() else text for text in install.program.splitlines(keepends=True))
    commands = [("agent", "enroll", line), _START]
    listed = "".join(f"- [{', '.join(map(_quoted, command))}]\n" for command in commands)
    return f"#cloud-config\nruncmd:\n- - python3\n  - -Ic\n  - |\n{program}  - {_quoted(install.asked)}\n{listed}"


def _quoted(text: str) -> str:
    """In single-quoted YAML only the quote itself is special; words need none."""
    return text if re.fullmatch(r"[-/.\w]+", text) else "'" + text.replace("'", "''") + "'"


def _shell(line: str, install: _Installation | None) -> str:
    enroll = f"agent enroll {shlex.quote(line)}\n"
    if install is None:
        return f"#!/bin/sh\n{enroll}"
    # As an argument, not on stdin: the program keeps itself for the next boot.
    program = f"\"$(cat << 'END_OF_PROGRAM'\n{install.program}END_OF_PROGRAM\n)\""
    run = f"python3 -Ic {program} {shlex.quote(install.asked)}\n"
    return f"#!/bin/sh\nset -eu\n{run}{enroll}{shlex.join(_START)}\n"


def _mime(cloud_config: str) -> str:
    """One part, to put others beside: its commands come after those of the parts before it (cloud-init, "Merging")."""
    boundary = f"bootwright-{hashlib.sha256(cloud_config.encode()).hexdigest()[:24]}"
    return (
        f'Content-Type: multipart/mixed; boundary="{boundary}"\nMIME-Version: 1.0\n\n--{boundary}\n'
        'Content-Type: text/cloud-config; charset="utf-8"\nContent-Transfer-Encoding: 8bit\n'
        'Content-Disposition: attachment; filename="bootwright.yaml"\n'
        f"Merge-Type: list(append)+dict(recurse_list)+str()\n\n{cloud_config}\n--{boundary}--\n"
    )
