"""etcd's backup and restore: seconds and MB/s for 10, 100 and 1000 MB; and what each of the two clients costs.

    python -m tests.bench.etcd [MEGABYTES...]

A real member on loopback with TLS, moto's S3 (in this machine's memory: the network is not in these figures).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from moto.server import ThreadedMotoServer

from agent.aws.credentials import Credentials
from agent.aws.s3 import S3, Bucket
from agent.etcd.admin import EtcdClients
from agent.etcd.backup import BackupTaker
from agent.etcd.bucket import BackupBucket
from agent.etcd.gateway import Gateway
from agent.etcd.keys import read_snapshot
from agent.etcd.snapshot import prove
from agent.etcd.storage import NodeEtcdStorage
from agent.etcd.tools import EtcdTools
from agent.etcd.trial import RestoreTester
from agent.etcd.wire import encoded
from agent.waits import Waits
from tests.real_etcd.binaries import binaries
from tests.real_etcd.cluster import RealCluster, real_cluster
from units.bootstrap_record import RestoreFrom
from units.etcd_restore import Identity

Result = TypeVar("Result")
SIZES = (10, 100, 1000)  # MB
_VALUE = 1_000_000


@dataclass(frozen=True)
class Row:
    megabytes: int
    snapshot_seconds: float
    prove_seconds: float
    backup_seconds: float  # all of it: snapshot, proof, status, upload, read back
    restore_seconds: float  # all of it: download, proof, etcdutl, fsync
    test_seconds: float  # a restore into a member that is started and counted

    @property
    def line(self) -> str:
        size = self.megabytes
        rates = f"{size / self.backup_seconds:8.0f} {size / self.restore_seconds:9.0f}"
        return (
            f"{size:6} {self.snapshot_seconds:10.2f} {self.prove_seconds:7.2f} {self.backup_seconds:8.2f} "
            f"{self.restore_seconds:9.2f} {self.test_seconds:7.2f} {rates}"
        )


HEAD = "    MB   snapshot   prove   backup   restore    test  MB/s up  MB/s down"


def main(sizes: tuple[int, ...]) -> None:
    with _s3() as s3:
        print(HEAD)
        rows = [_measured(size, s3) for size in sizes]
    print(json.dumps({"etcd": [asdict(row) for row in rows], "clients": _clients()}, indent=1))


def _measured(size: int, s3: S3) -> Row:
    with tempfile.TemporaryDirectory(prefix="bench-etcd-") as name:
        folder = Path(name)
        with real_cluster(folder / "cluster", quota=8 * 1024**3) as cluster:
            _fill(cluster, size)
            row = _timed_row(size, cluster, s3, folder)
    print(row.line, flush=True)
    return row


def _timed_row(size: int, cluster: RealCluster, s3: S3, folder: Path) -> Row:
    place, tools = folder / "place", EtcdTools(folders=(str(binaries()),))
    place.mkdir()
    clients = EtcdClients(cluster.client_urls, cluster.pki.authorities, cluster.pki.client)
    bucket = BackupBucket(s3, f"bench-{size}/", "main")
    path = folder / "snapshot.db"

    def snapshot() -> None:
        with path.open("wb") as file:
            read_snapshot(clients, file, expected_bytes=size * 1_000_000)

    snapshot_seconds, _ = _timed(snapshot)
    prove_seconds, _ = _timed(lambda: prove(path))
    taker = BackupTaker("bench", bucket, clients, _now, tools, (place,))
    backup_seconds, backup = _timed(lambda: taker.take(None, "bench"))
    storage = NodeEtcdStorage(lambda _etcd: bucket, lambda _urls: clients, tools=tools, places=(place,), owner=None)
    meta = backup.meta
    source = RestoreFrom(backup=backup.name, sha256=meta.sha256, size=meta.size, revision=meta.revision)
    member = cluster.members["a"]
    identity = Identity("a", member.peer_url, cluster.initial_cluster)
    restore_seconds, _ = _timed(
        lambda: storage.make_data("main", source, identity, "token", mark=b"{}", to=str(folder / "restored.g2"))
    )
    tester = RestoreTester(bucket, clients, cluster.pki.server, "i-bench", _now, tools, Waits(), (place,))
    test_seconds, outcome = _timed(lambda: tester.test(backup.name, meta))
    assert outcome.ok, outcome.problem
    return Row(size, snapshot_seconds, prove_seconds, backup_seconds, restore_seconds, test_seconds)


def _fill(cluster: RealCluster, megabytes: int) -> None:
    with Gateway(cluster.client_urls, cluster.pki.authorities, cluster.pki.client) as gateway:
        for number in range(megabytes):
            value = encoded(os.urandom(_VALUE))
            gateway.call("/v3/kv/put", {"key": encoded(f"/k/{number:06}"), "value": value})


def _timed(act: Callable[[], Result]) -> tuple[float, Result]:
    begun = time.perf_counter()
    result = act()
    return round(time.perf_counter() - begun, 3), result


def _clients() -> dict[str, float]:
    """CPU seconds of an interpreter that only imports."""
    return {
        name: _cpu_of(f"import {module}")
        for name, module in (("neither", "json"), ("gateway", "agent.etcd.maintenance"), ("etcd3", "etcd3"))
    }


def _cpu_of(code: str) -> float:
    measured = f"import warnings; warnings.simplefilter('ignore'); {code}; import time; print(time.process_time())"
    environment = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    runs = [
        float(subprocess.run([sys.executable, "-c", measured], check=True, capture_output=True, env=environment).stdout)
        for _ in range(5)
    ]
    return round(min(runs), 3)


@contextmanager
def _s3() -> Iterator[S3]:
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    client.create_bucket(Bucket="bench-etcd")
    try:
        yield S3(Bucket("bench-etcd", "us-east-1", endpoint), lambda: Credentials("AKID", "secret"))
    finally:
        server.stop()


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    main(tuple(int(size) for size in sys.argv[1:]) or SIZES)
