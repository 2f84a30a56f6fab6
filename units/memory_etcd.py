"""A member's data and keys in memory: they lie on its volume, as the real ones do."""

from dataclasses import dataclass, field

from units.bootstrap_record import RestoreFrom
from units.errors import Retryable
from units.etcd_restore import DATA, MARK, Identity
from units.etcd_room import MIB, RESERVE, Delete, MakeReserve, SpendReserve, VolumeRoom, next_step
from units.memory_files import MemoryFiles

_KEY = "member/.memory-key"  # what /bootwright/cluster holds


@dataclass
class MemoryEtcdStorage:
    files: MemoryFiles
    unreserved_bytes: int = field(default=15 * 1024 * MIB, kw_only=True)  # free, or in reserve; on every volume

    def make_data(
        self, etcd: str, backup: RestoreFrom, identity: Identity, token: str, *, mark: bytes, to: str
    ) -> None:
        del identity, token
        rough = f"{to}.rough"
        self.files.remove_tree(rough)
        for name, content in (("member/wal/0-0.wal", b""), (MARK, mark), (_KEY, f"of {backup.backup}".encode())):
            self.files.write(f"{rough}/{name}", content, mode=0o600, owner="etcd", group="etcd")
        self.files.make_directory(rough, mode=0o700, owner="etcd", group="etcd")
        self.files.remove_tree(to)
        self.files.move(rough, to)
        del etcd

    def rename(self, old: str, new: str) -> None:
        self.files.move(old, new)

    def discard(self, path: str) -> None:
        self.files.remove_tree(path)

    def generation_key(self, etcd: str, client_urls: tuple[str, ...]) -> str | None:
        del client_urls
        if not self.files.list(f"/var/lib/etcd/{etcd}/{DATA}/member/wal"):
            raise Retryable("etcd-unreachable", f"etcd {etcd!r} does not run")
        found = self.files.read(self._path(etcd))
        return found.content.decode() if found and found.content else None

    def write_generation_key(self, etcd: str, client_urls: tuple[str, ...], before: str | None, token: str) -> bool:
        if self.generation_key(etcd, client_urls) != before:
            return False
        self.files.write(self._path(etcd), token.encode(), mode=0o600, owner="etcd", group="etcd")
        return True

    def room(self, path: str) -> VolumeRoom | None:
        if path not in self.files.mounted:
            return None
        found = self.files.read(f"{path}/{RESERVE}")
        reserve = int(found.content) if found and found.content else 0
        free = self.unreserved_bytes - reserve
        return VolumeRoom(20 * 1024 * MIB, free, reserve, frozenset(self.files.list(path)))

    def make_room(self, etcd: str, path: str) -> None:
        del etcd
        while (room := self.room(path)) and (step := next_step(room)):
            match step:
                case Delete():
                    self.files.remove_tree(f"{path}/{step.name}")
                case SpendReserve():
                    self.files.remove(f"{path}/{RESERVE}")
                case MakeReserve():
                    content = f"{step.bytes}".encode()
                    self.files.write(f"{path}/{RESERVE}", content, mode=0o600, owner="root", group="root")

    def _path(self, etcd: str) -> str:
        return f"/var/lib/etcd/{etcd}/{DATA}/{_KEY}"
