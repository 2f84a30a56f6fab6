"""How a machine here reaches etcd: the real client, and a double of where backups go."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from agent.etcd.admin import EtcdClients, GatewayAdmin
from agent.etcd.bucket import BackupBucket
from agent.etcd.snapshot import prove
from units.etcd_members import EtcdAdmin
from units.paths import authority_bundle, pem


def clients(urls: Sequence[str]) -> EtcdClients:
    return EtcdClients(tuple(urls), authority_bundle("etcd-clients"), pem("etcd", "healthcheck-client"))


def no_bucket(etcd: str) -> BackupBucket:
    raise AssertionError(f"nobody restores etcd {etcd} here")


class Access:
    """Implements `units.etcd_members.EtcdAccess`."""

    def __init__(self, shared: Path) -> None:
        self._backups = shared / "backups"
        self._backups.mkdir(exist_ok=True)

    @contextmanager
    def admin(self, etcd: str, client_urls: Sequence[str]) -> Iterator[EtcdAdmin]:
        assert etcd == "main"
        known = clients(client_urls)
        with known.gateway() as gateway:
            yield GatewayAdmin(known, gateway)

    def backup(self, etcd: str, client_urls: Sequence[str], reason: str) -> str:
        name = f"{time.time_ns()} {reason}"
        path = self._backups / name
        with self.admin(etcd, client_urls) as admin, path.open("xb") as file:
            admin.snapshot(file)
        prove(path)
        return name
