"""etcdutl: what only etcd's own tools do to a file. Before 3.5 the same commands are etcdctl's."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.linux.run import Run, run
from units.bootstrap_record import REVISIONS
from units.errors import Fatal
from units.etcd_backup import SnapshotFacts

_FOLDERS = ("/usr/local/bin", "/usr/bin")
_SLOWEST = 5_000_000  # bytes per second


@dataclass(frozen=True, slots=True)
class MemberIdentity:
    """What a restored data directory is told about the cluster it belongs to."""

    name: str
    peer_url: str
    initial_cluster: str
    token: str


class EtcdTools:
    def __init__(self, run: Run = run, *, folders: Sequence[str] = _FOLDERS) -> None:
        self._run = run
        self._folders = folders

    @property
    def server(self) -> str:
        return self._find("etcd")

    def snapshot_facts(self, path: Path) -> SnapshotFacts:
        """It verifies nothing, not even the hash (measured): `agent.etcd.snapshot` does. Fatal for no database."""
        timeout = 60 + path.stat().st_size / _SLOWEST
        done = self._run([self._offline, "snapshot", "status", str(path), "--write-out=json"], timeout=timeout)
        try:
            found = json.loads(done.stdout)
            return SnapshotFacts(int(found["revision"]), int(found["totalKey"]), int(found["hash"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Fatal("tool-failed", f"`{done.arguments[0]} snapshot status` printed {done.text[:200]!r}") from error

    def restore(self, snapshot: Path, data: Path, identity: MemberIdentity, *, bump: int = REVISIONS) -> None:
        """Into a directory that does not exist yet. Checks the snapshot's sha256 trailer itself.

        bump: by so much the revisions move up; what lies before is compacted, so that watches begin anew (0: neither).
        """
        command = [
            self._offline,
            "snapshot",
            "restore",
            str(snapshot),
            f"--data-dir={data}",
            f"--name={identity.name}",
            f"--initial-advertise-peer-urls={identity.peer_url}",
            f"--initial-cluster={identity.initial_cluster}",
            f"--initial-cluster-token={identity.token}",
            *((f"--bump-revision={bump}", "--mark-compacted") if bump else ()),
        ]
        self._run(command, timeout=120 + snapshot.stat().st_size / _SLOWEST)

    @property
    def _offline(self) -> str:
        found = self._which("etcdutl") or self._which("etcdctl")
        if found is None:
            raise _missing("etcdutl", self._folders)
        return found

    def _find(self, name: str) -> str:
        found = self._which(name)
        if found is None:
            raise _missing(name, self._folders)
        return found

    def _which(self, name: str) -> str | None:
        return shutil.which(name, path=":".join(self._folders))


def _missing(name: str, folders: Sequence[str]) -> Fatal:
    return Fatal(
        "tool-missing",
        f"there is no {name} in {', '.join(folders)}",
        remedy="the image lacks etcd's tools: bake it again with packer/install.sh",
    )
