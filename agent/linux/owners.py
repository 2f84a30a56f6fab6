"""Who owns a file: names on one side, numbers on the other."""

import grp
import os
import pwd
from pathlib import Path
from typing import Protocol

from agent.linux.atomic import Ids
from units.errors import Fatal


class Owners(Protocol):
    def claim(self, path: str, owner: str, group: str) -> Ids | None:
        """The numbers to chown to, or None if this sandbox only records the claim."""

    def names(self, path: str, found: os.stat_result) -> tuple[str, str]: ...


class RealOwners:
    """The machine's own accounts. Names that were found once are kept: they do not change under a running agent."""

    def __init__(self) -> None:
        self._users = {0: "root"}
        self._groups = {0: "root"}

    def claim(self, path: str, owner: str, group: str) -> Ids:
        return _uid(path, owner), _gid(path, group)

    def names(self, path: str, found: os.stat_result) -> tuple[str, str]:  # noqa: ARG002 (the other kind needs path)
        return self._user(found.st_uid), self._group(found.st_gid)

    def _user(self, uid: int) -> str:
        if uid not in self._users:
            try:
                self._users[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                return str(uid)
        return self._users[uid]

    def _group(self, gid: int) -> str:
        if gid not in self._groups:
            try:
                self._groups[gid] = grp.getgrgid(gid).gr_name
            except KeyError:
                return str(gid)
        return self._groups[gid]


class RecordedOwners:
    """Owners in a sandbox without privileges: written down in `ROOT/.bootwright-owners`, never applied.

    One line per claim, the last one holds. What nobody claimed is root's, as on an installed machine.
    """

    def __init__(self, root: Path) -> None:
        self._ledger = root / ".bootwright-owners"
        self._known: dict[str, tuple[str, str]] = {}
        if self._ledger.exists():
            with self._ledger.open(encoding="utf-8") as lines:
                for line in lines:
                    owner, group, path = line.rstrip("\n").split(" ", 2)
                    self._known[path] = (owner, group)

    def claim(self, path: str, owner: str, group: str) -> None:
        if self._known.get(path, ("root", "root")) != (owner, group):
            with self._ledger.open("a", encoding="utf-8") as ledger:
                ledger.write(f"{owner} {group} {path}\n")
            self._known[path] = (owner, group)

    def names(self, path: str, found: os.stat_result) -> tuple[str, str]:  # noqa: ARG002 (the other kind needs found)
        return self._known.get(path, ("root", "root"))


def _uid(path: str, owner: str) -> int:
    if owner == "root":
        return 0
    if owner.isdecimal():
        return int(owner)
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise _unknown("user", owner, path) from None


def _gid(path: str, group: str) -> int:
    if group == "root":
        return 0
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise _unknown("group", group, path) from None


def _unknown(kind: str, name: str, path: str) -> Fatal:
    return Fatal(
        "account-missing",
        f"{path} should belong to {kind} {name!r}, which this machine does not have",
        remedy=f"the plan must create the {kind} first, or the package that brings it is missing from the image",
    )
