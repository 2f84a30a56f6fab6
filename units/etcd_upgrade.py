"""EtcdUpgrade and EtcdVersionNote: an image's etcd starts only where it may (units.etcd_versions).

The version that served a volume last is noted on it once it serves; a newer image reads that before it starts its own.
And it asks the other members what they run: a blank volume tells nothing of the cluster that it joins.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from units import paths
from units.errors import Refused
from units.etcd_on_volume import has_data
from units.etcd_versions import check_upgrade, parse
from units.host import Host
from units.resource import Change, Description

IMAGE = "/opt/bootwright/image.json"


@dataclass(frozen=True, slots=True)
class EtcdUpgrade:
    """Refused `etcd-upgrade-path` before anything of the newer etcd touches the data or the cluster."""

    etcd: str
    path: str  # the mount
    others: tuple[str, ...] = ()  # client URLs of the other members

    @property
    def key(self) -> str:
        return f"etcd-upgrade:{self.etcd}"

    def check(self, host: Host) -> Change | None:
        now, granted = version_here(host), host.files.read(self._grant)
        if now is None or (granted and granted.content == f"{now}\n".encode()):
            return None
        return Change(f"see that etcd {now} may take over what lies on the volume")

    def apply(self, host: Host) -> None:
        before, now = version_noted(host, self.path), version_here(host)
        if now is not None and has_data(host, self.path):
            if before is not None:
                check_upgrade([before], now)
            if before != now:
                check_members(host, self.etcd, self.others)
        host.files.write(self._grant, f"{now}\n".encode(), mode=0o644, owner="root", group="root")

    @property
    def _grant(self) -> str:
        """Gone with a reboot; the image, and with it the version, changes no sooner."""
        return f"{paths.RUN}/etcd-{self.etcd}.version"

    def describe(self) -> Description:
        return Description(self.key, (f"the data in {self.path} may be taken over by this machine's etcd",))


@dataclass(frozen=True, slots=True)
class EtcdVersionNote:
    """After etcd serves: from now on the data is this version's."""

    etcd: str
    path: str

    @property
    def key(self) -> str:
        return f"etcd-version-note:{self.etcd}"

    def check(self, host: Host) -> Change | None:
        now = version_here(host)
        if now is None or version_noted(host, self.path) == now:
            return None
        return Change(f"note that etcd {now} serves this volume")

    def apply(self, host: Host) -> None:
        if now := version_here(host):
            host.files.write(version_path(self.path), f"{now}\n".encode(), mode=0o644, owner="root", group="root")

    def describe(self) -> Description:
        return Description(self.key, (f"{version_path(self.path)} holds the version that serves",))


def check_members(host: Host, etcd: str, others: Sequence[str]) -> None:
    """Refused `etcd-upgrade-path` if this machine's etcd may not join the members that answer now.

    While an upgrade is under way the cluster is as old as its oldest member: members of that minor still come back,
    though others are newer already.
    """
    now = version_here(host)
    if now is None or not others:
        return
    running = host.etcd.versions(etcd, others)
    as_old = [version for version in running if parse(version)[:2] <= parse(now)[:2]]
    check_upgrade(as_old or running, now)


def version_here(host: Host) -> str | None:
    """3.5.16, of the image; None for a machine that was not baked: then nothing is checked."""
    found = host.files.read(IMAGE)
    try:
        text = str(json.loads(found.content or b"")["etcd"]) if found else ""
        return ".".join(str(part) for part in parse(text)) if text else None
    except (ValueError, KeyError, TypeError, Refused):
        return None


def version_noted(host: Host, path: str) -> str | None:
    """None without a note, as on a volume of an older agent."""
    found = host.files.read(version_path(path))
    return found.content.decode(errors="replace").strip() if found and found.content else None


def version_path(path: str) -> str:
    return f"{path}/.etcd-version"
