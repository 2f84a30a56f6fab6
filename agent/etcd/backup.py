"""Take a backup: a snapshot from one member, proven whole, plausible, stored, and read back from the bucket."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from agent.etcd.admin import EtcdClients
from agent.etcd.bucket import BackupBucket
from agent.etcd.gateway import Gateway
from agent.etcd.generation_key import read_key
from agent.etcd.keys import read_snapshot
from agent.etcd.maintenance import count_keys, member_status
from agent.etcd.snapshot import PLACES, prove, workspace
from agent.etcd.tools import EtcdTools
from agent.etcd.wire import parts, text
from units.bootstrap_record import BootstrapRecord
from units.etcd_backup import BackupMeta, backup_name, believable, require_generation_key

LOG = logging.getLogger("bootwright.etcd")
_MIB = 1024 * 1024
_COMPARED = 3  # with so many backups before: two machines' clocks may put the last two the wrong way round


@dataclass(frozen=True, slots=True)
class Backup:
    name: str
    meta: BackupMeta


@dataclass(frozen=True, slots=True)
class BackupTaker:
    """Everything that taking a backup of one etcd cluster needs."""

    cluster: str
    bucket: BackupBucket
    clients: EtcdClients
    now: Callable[[], datetime]
    tools: EtcdTools
    places: Sequence[Path] = PLACES

    def take(self, record: BootstrapRecord | None, reason: str) -> Backup:
        """Raises if there is any doubt about the backup. `record` is None before the cluster has one (a test)."""
        if record is not None:
            require_generation_key(self.bucket.etcd, read_key(self.clients), record)
        with self.clients.gateway() as gateway:
            status = member_status(gateway)
            # The file is the database and a page; what is written while it streams does not belong to it.
            with workspace(status.database_bytes + _MIB, self.places) as folder:
                path = folder / "snapshot.db"
                taken = self.now()
                with path.open("xb") as file:
                    read_snapshot(self.clients, file, expected_bytes=status.database_bytes)
                proof = prove(path)
                generation, token = (record.generation, record.token) if record else (1, "")
                facts = self.tools.snapshot_facts(path)
                keys = count_keys(gateway, revision=facts.revision)
                believable(facts, keys, self._previous(token), token, at_least=status.revision)
                meta = BackupMeta(
                    cluster=self.cluster,
                    etcd=self.bucket.etcd,
                    etcd_version=status.version,
                    generation=generation,
                    token=token,
                    revision=facts.revision,
                    size=proof.size,
                    sha256=proof.sha256,
                    keys=keys,
                    versions=facts.versions,
                    members=_members(gateway),
                    member=f"{status.member_id:x}",
                    taken=taken.isoformat(timespec="seconds"),
                    reason=reason,
                )
                name = backup_name(taken, facts.revision)
                self.bucket.store(name, path, meta)
        LOG.info(
            "backup %s of etcd %s: %d bytes, %s keys (%s)", name, self.bucket.etcd, meta.size, meta.keys, meta.reason
        )
        return Backup(name, meta)

    def _previous(self, token: str) -> BackupMeta | None:
        """Of this generation: the highest revision among the last few."""
        last = islice((kept for kept in self.bucket.backups() if kept.complete), _COMPARED)
        found = (self.bucket.meta(kept.name) for kept in last)
        return max((one for one in found if one and one.token == token), key=lambda one: one.revision, default=None)


def _members(gateway: Gateway) -> int:
    answer = gateway.call("/v3/cluster/member/list", {"linearizable": False})
    return sum(text(member, "name") != "" for member in parts(answer, "members"))
