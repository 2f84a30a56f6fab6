"""Prove a backup by restoring it: fetched from the bucket, restored into a member of its own, started, counted.

The member listens on loopback only, with the real member's certificates: whoever asks must show a client certificate
of the cluster, as with the real one.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from agent.etcd.admin import EtcdClients
from agent.etcd.bucket import BackupBucket
from agent.etcd.gateway_errors import EtcdRefusal, Unreachable
from agent.etcd.maintenance import count_keys, member_status
from agent.etcd.snapshot import PLACES, prove, workspace
from agent.etcd.tools import EtcdTools, MemberIdentity
from agent.linux.run import running
from agent.waits import Waits
from units.bootstrap_record import REVISIONS
from units.errors import BootwrightError, Fatal, Retryable
from units.etcd_backup import BackupMeta, BackupTest, snapshot_key

START_SECONDS = 120.0  # and what reading the database takes
_SLOWEST = 20_000_000  # bytes per second: etcd goes through all of it at its start, here with the least priority
_SIZES = 3  # the snapshot, the database made of it, the log and what etcd writes at its start


@dataclass(frozen=True, slots=True)
class RestoreTester:
    bucket: BackupBucket
    clients: EtcdClients  # whom the scratch member trusts, and who asks it
    server: str  # PEM file of the member's own certificate and key
    instance_id: str
    now: Callable[[], datetime]
    tools: EtcdTools
    waits: Waits
    places: Sequence[Path] = PLACES

    def test(self, name: str, meta: BackupMeta) -> BackupTest:
        """Never raises what the backup is to blame for: that is the outcome, and it is stored beside the backup.

        Raises Retryable for what says nothing about the backup: no room, no bucket.
        """
        begun = time.monotonic()
        try:
            found = self._restored(name, meta)
        except Retryable:
            raise
        except BootwrightError as error:
            found = BackupTest(ok=False, at="", by=self.instance_id, problem=f"{error.code}: {error}")
        seconds = round(time.monotonic() - begun, 1)
        at = self.now().isoformat(timespec="seconds")
        outcome = found.model_copy(update={"at": at, "seconds": seconds})
        self.bucket.store_test(name, outcome)
        return outcome

    def _restored(self, name: str, meta: BackupMeta) -> BackupTest:
        with workspace(_SIZES * meta.size, self.places) as folder:
            fetch_snapshot(self.bucket, name, meta.size, meta.sha256, folder / "snapshot.db")
            client_port, peer_port = _free_ports(2)
            peer_url, data = f"https://127.0.0.1:{peer_port}", folder / "data"
            identity = MemberIdentity("scratch", peer_url, f"scratch={peer_url}", f"test-of-{name}")
            self.tools.restore(folder / "snapshot.db", data, identity)
            (folder / "snapshot.db").unlink()
            url = f"https://127.0.0.1:{client_port}"
            command = [self.tools.server, *self._flags(identity, data, url)]
            with running(command, log=folder / "log", niceness=19) as ended:
                return self._examined(url, meta, ended, folder / "log")

    def _examined(self, url: str, meta: BackupMeta, ended: Callable[[], int | None], log: Path) -> BackupTest:
        def ask() -> BackupTest:
            if ended() is not None:
                raise Fatal("etcd-backup-unusable", f"etcd does not start with it: {_last_words(log)}")
            status = member_status(gateway)
            keys = count_keys(gateway)
            return self._judged(meta, status.version, status.revision, keys)

        with self.clients.at(url).gateway() as gateway:
            try:
                limit = START_SECONDS + meta.size / _SLOWEST
                return self.waits.until("the restored member", ask, limit=limit, on=Retryable)
            except (Unreachable, EtcdRefusal) as error:
                raise Fatal(
                    "etcd-backup-unusable", f"the restored member does not serve: {error}; {_last_words(log)}"
                ) from error

    def _judged(self, meta: BackupMeta, version: str, revision: int, keys: int | None) -> BackupTest:
        problems = []
        if revision < meta.revision + REVISIONS:
            problems.append(f"its revision is {revision}, below {meta.revision} and {REVISIONS} more")
        if meta.keys is not None and keys != meta.keys:
            problems.append(f"it holds {keys} keys, but there were {meta.keys} when it was taken")
        if not keys:
            problems.append("it holds no keys")
        return BackupTest(
            ok=not problems,
            at="",
            by=self.instance_id,
            etcd_version=version,
            revision=revision,
            keys=keys,
            problem="; ".join(problems),
        )

    def _flags(self, identity: MemberIdentity, data: Path, url: str) -> tuple[str, ...]:
        authorities, server = self.clients.authorities, self.server
        return (
            f"--name={identity.name}",
            f"--data-dir={data}",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={identity.peer_url}",
            f"--initial-advertise-peer-urls={identity.peer_url}",
            f"--initial-cluster={identity.initial_cluster}",
            f"--cert-file={server}",
            f"--key-file={server}",
            f"--trusted-ca-file={authorities}",
            "--client-cert-auth=true",
            f"--peer-cert-file={server}",
            f"--peer-key-file={server}",
            f"--peer-trusted-ca-file={authorities}",
            "--peer-client-cert-auth=true",
            "--unsafe-no-fsync=true",  # it is thrown away in a moment: the disk is the real member's
        )


def fetch_snapshot(bucket: BackupBucket, name: str, size: int, sha256: str, path: Path) -> None:
    """Into a new file, on the disk, with the digest that was promised and etcd's own. Fatal for anything else."""
    with path.open("x+b") as file:
        found = bucket.fetch(name, file, size=size)
        file.flush()
        os.fsync(file.fileno())
    if found != sha256:
        raise Fatal(
            "etcd-backup-damaged",
            f"{snapshot_key(bucket.etcd, name)} has sha256 {found}, but {sha256} is on record",
            remedy="take another backup (`coordinator etcd backups`); the bucket keeps older versions of the object",
        )
    prove(path)


def _free_ports(count: int) -> tuple[int, ...]:
    """Free a moment ago; should somebody take one meanwhile, the test fails and is made again."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)


def _last_words(log: Path) -> str:
    """What the log complains of: one JSON object a line, and the bare lines of a panic."""
    lines = log.read_text(errors="replace").splitlines()
    said = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            said.append(line)
            continue
        if entry.get("level") in ("error", "fatal", "panic"):
            said.append(f"{entry.get('msg')} {entry.get('error', '')}".strip())
    return " | ".join(said[-3:])[:500] or "it said nothing"
