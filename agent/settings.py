"""Enrolment: which store, cluster and group this machine belongs to, and the trust floors it must never go below.

It is read from /etc/bootwright/agent.json, or else from EC2 user-data (agent.user_data). Whoever writes the launch
template can raise the floors; nobody can lower them on a node that has them (trust.md 1.5).
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent.durable import read_bounded, write_durably
from units.errors import Invalid, Problem, Refused

PATH = Path("/etc/bootwright/agent.json")
MAX_BYTES = 16 * 1024  # EC2's own limit for user-data

# The same shapes as units.manifest.Name and Sha256: importing the whole manifest schema would cost a no-change poll
# 40 ms that it has no use for.
_NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
_STORE = r"^s3://[a-z0-9][-a-z0-9.]{1,61}[a-z0-9](/[A-Za-z0-9_][-A-Za-z0-9_.=]*)*$"
_REGION = r"^[a-z]{2,4}(-[a-z]{1,10}){1,3}-[0-9]{1,2}$"
_ENDPOINT = r"^https?://[-A-Za-z0-9.]{1,253}(:[0-9]{1,5})?$"


class Settings(BaseModel):
    """What `coordinator userdata` prints, field by field."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    v: Literal[1] = 1
    store: Annotated[str, Field(pattern=_STORE)]  # s3://BUCKET[/PREFIX]; the cluster's name comes after it
    cluster: Annotated[str, Field(pattern=_NAME)]
    group: Annotated[str, Field(pattern=_NAME)]
    region: Annotated[str, Field(pattern=_REGION)] | None = None  # of the bucket; None: the instance's own
    root_version: int = Field(ge=1)
    root_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of VERSION.root.json
    targets_version: int = Field(ge=1)  # the least version of targets.json that may be accepted
    endpoint: Annotated[str, Field(pattern=_ENDPOINT)] | None = None  # instead of AWS's own: a lab, a VPC endpoint

    @property
    def bucket(self) -> str:
        return self.store.removeprefix("s3://").partition("/")[0]

    @property
    def prefix(self) -> str:
        """Everything of this cluster lies under this prefix; it ends with a slash."""
        _, _, path = self.store.removeprefix("s3://").partition("/")
        return f"{path}/{self.cluster}/" if path else f"{self.cluster}/"


def decode(data: bytes, *, source: str) -> Settings:
    """Strict; `source` tells the reader of an error where the bytes came from. Raises Invalid with every problem."""
    if len(data) > MAX_BYTES:
        raise Invalid("settings-invalid", f"{source}: longer than {MAX_BYTES} bytes")
    try:
        return Settings.model_validate_json(data)
    except ValidationError as error:
        problems = tuple(
            Problem(
                path=".".join(str(part) for part in item["loc"]),
                message=f"{item['msg']} (found {str(item.get('input'))[:80]!r})",
            )
            for item in error.errors(include_url=False)
        )
        raise Invalid(
            "settings-invalid",
            f"{source}: the enrolment cannot be read",
            problems=problems,
            remedy="print it again with `coordinator userdata GROUP` and put that into the launch template unchanged",
        ) from error


def encode(settings: Settings) -> bytes:
    return (json.dumps(settings.model_dump(exclude_none=True), indent=1, sort_keys=True) + "\n").encode()


def read(path: Path = PATH) -> Settings | None:
    """The enrolment of this machine; None before it is enrolled."""
    data = read_bounded(path, limit=MAX_BYTES)
    return None if data is None else decode(data, source=str(path))


def write(settings: Settings, path: Path = PATH) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    write_durably(path, encode(settings), mode=0o600)


def merge(enrolled: Settings | None, offered: Settings) -> Settings:
    """The enrolment after `offered` came in: floors only rise, and a machine never changes sides."""
    if enrolled is None:
        return offered
    _require_same_side(enrolled, offered)
    newer = offered if offered.root_version > enrolled.root_version else enrolled
    return enrolled.model_copy(
        update={
            "root_version": newer.root_version,
            "root_sha256": newer.root_sha256,
            "targets_version": max(enrolled.targets_version, offered.targets_version),
            "region": offered.region or enrolled.region,
            "endpoint": offered.endpoint or enrolled.endpoint,
        }
    )


def _require_same_side(enrolled: Settings, offered: Settings) -> None:
    for field in ("store", "cluster", "group"):
        found, wanted = getattr(offered, field), getattr(enrolled, field)
        if found != wanted:
            raise Refused(
                "enrolment-conflict",
                f"this machine is enrolled with {field} {wanted!r}, but it is now told {field} {found!r}",
                remedy="launch a new instance for another group; a machine that held secrets does not change sides",
            )
    if offered.root_version == enrolled.root_version and offered.root_sha256 != enrolled.root_sha256:
        raise Refused(
            "enrolment-conflict",
            f"two different roots are pinned as version {enrolled.root_version}: "
            f"{enrolled.root_sha256[:16]}... is enrolled, {offered.root_sha256[:16]}... is offered",
            remedy="compare both with `coordinator trust status`; one of them was not made by your root keys",
        )


def enroll(offered: Settings, path: Path = PATH) -> Settings:
    """Write what is in force after `offered`; writes nothing when that is on the disk already."""
    enrolled = read(path)
    settings = merge(enrolled, offered)
    if settings != enrolled:
        write(settings, path)
    return settings


def find(user_data: Callable[[], bytes | None], path: Path = PATH) -> Settings:
    """The enrolment in force at boot: the file, raised by user-data; user-data alone on the first boot.

    `user_data` is asked only here, and may raise what IMDS raises: a machine that is enrolled already goes on
    without it at the caller's choice (`read`).
    """
    from agent.user_data import parse_user_data  # YAML and MIME parsers, which only an enrolment needs

    offered = parse_user_data(user_data() or b"")
    if offered is not None:
        return enroll(offered, path)
    enrolled = read(path)
    if enrolled is None:
        raise Invalid(
            "not-enrolled",
            f"this machine is not enrolled: there is no {path}, and its user-data holds no `agent enroll`",
            remedy="put the output of `coordinator userdata GROUP` into the launch template's user-data",
        )
    return enrolled
