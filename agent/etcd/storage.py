"""`units.etcd_restore.EtcdStorage` of a real machine: data directories on the member's volume."""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.durable import sync_directory, sync_file
from agent.etcd.admin import EtcdClients
from agent.etcd.bucket import BackupBucket
from agent.etcd.generation_key import read_key, replace_key
from agent.etcd.relief import NOTHING, relieve
from agent.etcd.room import measure, take
from agent.etcd.snapshot import PLACES, workspace
from agent.etcd.tools import EtcdTools, MemberIdentity
from agent.etcd.trial import fetch_snapshot
from agent.linux.atomic import explained
from units.bootstrap_record import RestoreFrom
from units.errors import Fatal, Retryable
from units.etcd_restore import MARK, Identity
from units.etcd_room import SpendReserve, VolumeRoom

_RESTORED = "restored.g"
_LOG_BYTES = 256 * 1024 * 1024  # etcd allocates its log in pieces of 64 MB
_ROUGH = ".rough"


class NodeEtcdStorage:
    """Implements `units.etcd_restore.EtcdStorage`."""

    def __init__(
        self,
        bucket: Callable[[str], BackupBucket],
        clients: Callable[[Sequence[str]], EtcdClients],
        *,
        tools: EtcdTools | None = None,
        places: Sequence[Path] = PLACES,
        owner: str | None = "etcd",
    ) -> None:
        """`owner` None leaves the files to whoever runs this (a test without the account)."""
        self._bucket = bucket
        self._clients = clients
        self._tools = tools or EtcdTools()
        self._places = places
        self._owner = owner

    def make_data(
        self, etcd: str, backup: RestoreFrom, identity: Identity, token: str, *, mark: bytes, to: str
    ) -> None:
        target, rough = Path(to), Path(f"{to}{_ROUGH}")
        with explained("restore into", to, size=backup.size):
            shutil.rmtree(rough, ignore_errors=True)
            _require_room(target.parent, backup)
            with workspace(backup.size, self._places) as folder:
                path = folder / "snapshot.db"
                fetch_snapshot(self._bucket(etcd), backup.backup, backup.size, backup.sha256, path)
                names = MemberIdentity(identity.member, identity.peer_url, identity.initial_cluster, token)
                self._tools.restore(path, rough, names, bump=backup.bump)
            (rough / MARK).write_bytes(mark)
            self._settle(rough)
            rough.rename(target)
            sync_directory(target.parent)

    def rename(self, old: str, new: str) -> None:
        with explained("rename", old):
            Path(old).rename(new)
            sync_directory(Path(new).parent)

    def discard(self, path: str) -> None:
        if not Path(path).name.startswith(_RESTORED):
            raise Fatal("etcd-data-kept", f"{path} is no left-over of a restore: only those are deleted")
        with explained("delete", path):
            shutil.rmtree(path)

    def generation_key(self, etcd: str, client_urls: tuple[str, ...]) -> str | None:
        del etcd
        return read_key(self._clients(client_urls))

    def write_generation_key(self, etcd: str, client_urls: tuple[str, ...], before: str | None, token: str) -> bool:
        del etcd
        return replace_key(self._clients(client_urls), before, token)

    def room(self, path: str) -> VolumeRoom | None:
        with explained("look for room in", path):
            return measure(Path(path)) if os.path.ismount(path) else None

    def make_room(self, etcd: str, path: str) -> None:
        with explained("make room in", path):
            relieve(etcd, Path(path), NOTHING)

    def _settle(self, folder: Path) -> None:
        """Owner, mode, and on the disk: files before the directories that name them."""
        for path in sorted(folder.rglob("*"), key=lambda path: len(path.parts), reverse=True):
            self._own(path)
            if path.is_file():
                sync_file(path)
            else:
                sync_directory(path)
        self._own(folder)
        folder.chmod(0o700)
        sync_directory(folder)

    def _own(self, path: Path) -> None:
        if self._owner is not None:
            shutil.chown(path, self._owner, self._owner)


def _require_room(volume: Path, backup: RestoreFrom) -> None:
    """Of the reserve, if that is what lacks: it is for etcd, and made again when there is room beside the new data."""
    room = measure(volume)
    free, needed = room.free_bytes, backup.size + _LOG_BYTES
    if free < needed <= free + room.reserve_bytes:
        take(SpendReserve(), volume)
    elif free < needed:
        raise Retryable(
            "etcd-no-room",
            f"{volume} has {free // 1024**2} MiB free; the restored data needs {needed // 1024**2}, beside the old",
            remedy="grow the volume in EC2 (the agent grows the file system), or delete old data that was kept aside: "
            f"ls -d {volume}/data.g*",
            after=60,
        )
