"""`units.etcd_members.EtcdAccess` of a real machine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta

from agent.aws.s3 import S3
from agent.etcd.admin import EtcdClients, GatewayAdmin, versions_at
from agent.etcd.backup import BackupTaker
from agent.etcd.bucket import BackupBucket
from agent.etcd.tools import EtcdTools
from agent.records import S3Records
from units.bootstrap_record import BootstrapRecord, decode_record, record_key
from units.etcd_backup import CLOCKS_DIFFER, newest_of
from units.etcd_members import EtcdAdmin
from units.paths import authority_bundle, pem


class NodeEtcd:
    """Implements `units.etcd_members.EtcdAccess` with this machine's certificate and the cluster's bucket."""

    def __init__(self, s3: S3, prefix: str, *, cluster: str, now: Callable[[], datetime]) -> None:
        self._s3 = s3
        self._prefix = prefix  # ends with a slash
        self._cluster = cluster
        self._now = now

    def admin(self, etcd: str, client_urls: Sequence[str]) -> AbstractContextManager[EtcdAdmin]:
        del etcd
        return _admin(self.clients(client_urls))

    def backup(self, etcd: str, client_urls: Sequence[str], reason: str, *, young: float = 0.0) -> str:
        record = self.record(etcd)
        known = self._young(etcd, record, timedelta(seconds=young)) if record and young else None
        return known or self.taker(etcd, client_urls).take(record, reason).name

    def _young(self, etcd: str, record: BootstrapRecord, most: timedelta) -> str | None:
        bucket, now = self.bucket(etcd), self._now()
        newest = newest_of(bucket.backups(), now)
        if newest is None or not -CLOCKS_DIFFER <= now - newest.taken <= most:
            return None
        meta = bucket.meta(newest.name)
        return newest.name if meta and meta.token == record.token else None

    def versions(self, etcd: str, client_urls: Sequence[str]) -> tuple[str, ...]:
        del etcd
        return versions_at(self.clients(client_urls))

    def clients(self, client_urls: Sequence[str]) -> EtcdClients:
        return EtcdClients(tuple(client_urls), authority_bundle("etcd-clients"), pem("etcd", "healthcheck-client"))

    def bucket(self, etcd: str) -> BackupBucket:
        return BackupBucket(self._s3, self._prefix, etcd)

    def taker(self, etcd: str, client_urls: Sequence[str]) -> BackupTaker:
        return BackupTaker(self._cluster, self.bucket(etcd), self.clients(client_urls), self._now, EtcdTools())

    def record(self, etcd: str) -> BootstrapRecord | None:
        key = record_key(etcd)
        found = S3Records(self._s3, self._prefix).get(key)
        return decode_record(found.content, key) if found else None


@contextmanager
def _admin(clients: EtcdClients) -> Iterator[EtcdAdmin]:
    with clients.gateway() as gateway:
        yield GatewayAdmin(clients, gateway)
