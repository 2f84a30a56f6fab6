"""Extra files on nodes."""

import base64
import binascii
import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from coordinator.spec.model import SpecModel
from coordinator.spec.words import Label, Mode, Text, wrong
from units.owned import NOT_AS_EXTRA_FILE, PATHS

LARGEST_FILE = 65536  # bytes; a group's whole release document must stay under the 1 MiB a node accepts

# A file here would be fought over, or would be a way around the signature; the node refuses the same.
PROTECTED = (*PATHS, *NOT_AS_EXTRA_FILE)
_OUR_UNIT = re.compile(r"/(etc|run|usr/lib)/systemd/system/(bootwright-|kubelet\.|containerd\.|etcd).*")


def _writable_path(path: str) -> str:
    if any(part in {"", ".", ".."} for part in path.split("/")[1:]):
        raise wrong("an absolute path without //, . and ..", "write the path the file really has")
    for owned in PROTECTED:
        if path == owned or path.startswith(f"{owned}/"):
            raise wrong(f"a path outside {owned}", f"{owned} belongs to the machine or to bootwright")
    if _OUR_UNIT.fullmatch(path):
        raise wrong(
            "a path that is not one of bootwright's own units", "use components.*.extraArgs or instanceGroups[].kubelet"
        )
    return path


def _safe_mode(mode: str) -> str:
    if int(mode, 8) & 0o002:
        raise wrong("a mode that does not let everyone write", f'did you mean "0{int(mode, 8) & ~0o002:03o}"?')
    return mode


class ExtraFile(SpecModel):
    """A file to write. It lies readable in the signed manifest: no place for secrets."""

    path: Annotated[
        str, Text(r"/[^\x00-\x1f\x7f]+", "an absolute path", "/etc/motd", 1024), AfterValidator(_writable_path)
    ]
    """Absolute path. Paths that bootwright, the kubelet or the system own are refused."""
    content: Annotated[str, Field(max_length=LARGEST_FILE)] | None = None
    """The text of the file. Give either `content` or `base64`."""
    base64: Annotated[str, Field(max_length=LARGEST_FILE * 4 // 3 + 4)] | None = None
    """The bytes of the file in base64."""
    mode: Annotated[Mode, AfterValidator(_safe_mode)] = "0644"
    """File mode, in quotes. The owner is root."""
    roles: tuple[Literal["control-plane", "node"], ...] = ()
    """Only on nodes of these roles."""
    groups: tuple[Label, ...] = ()
    """Only on nodes of these instance groups. With neither roles nor groups the file goes to every node."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.content is None) == (self.base64 is None):
            raise wrong("exactly one of content and base64")
        if self.roles and self.groups:
            raise wrong("roles or groups, not both", "name the groups; their roles follow")
        if b"PRIVATE KEY-----" in self.data:
            raise wrong(
                "no private key: every node of the group can read its manifest", "keep secrets in a secret store"
            )
        return self

    def is_for(self, group: str, role: str) -> bool:
        """Whether machines of the instance group `group`, which has `role`, get the file."""
        return (not self.roles or role in self.roles) and (not self.groups or group in self.groups)

    @property
    def data(self) -> bytes:
        """The bytes of the file."""
        if self.content is not None:
            return self.content.encode()
        try:
            return base64.b64decode(self.base64 or "", validate=True)
        except (binascii.Error, ValueError):
            raise wrong("base64 text", "encode the file with: base64 -w0 FILE") from None
