"""EtcdBootstrap and EtcdEstablished: `--initial-cluster-state=new` exactly once in a cluster's life.

Why it matters, measured in etcd-pki.md 2.3: with `new`, members that lost their disks silently form a fresh, empty
cluster; with `existing` they fail closed. So `new` is granted by data (the bootstrap record in S3, the marker on the
volume), never by an empty directory, and never again once the record says `established`. API servers start only
after that.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from units.errors import Refused, Retryable
from units.host import Host, VolumeClaim
from units.resource import Change, Description

HEALTH_SECONDS = 120.0  # how long one run waits for a member that has just started


class BootstrapRecord(BaseModel):
    """`etcd/NAME/cluster.json`: changed only by compare-and-swap."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: Literal["bootstrapping", "established"]
    generation: int
    token: str
    volumes: dict[str, str]  # member -> volume id
    created_by: str  # instance id

    def encode(self) -> bytes:
        return (json.dumps(self.model_dump(), indent=1, sort_keys=True) + "\n").encode()


def _decode(content: bytes, key: str) -> BootstrapRecord:
    try:
        return BootstrapRecord.model_validate_json(content)
    except ValidationError as error:
        raise Refused(
            "etcd-record-unreadable",
            f"{key} is not a bootstrap record: {error.error_count()} errors",
            remedy="restore the previous version of that object (the bucket is versioned); never delete it: "
            "without it a lost volume looks like a new cluster",
        ) from error


@dataclass(frozen=True, slots=True)
class EtcdBootstrap:
    """Decides `new` or `existing`, and writes it where etcd's unit reads it."""

    claim: VolumeClaim
    path: str  # the mount
    environment: str  # file under /run that etcd's unit reads
    token: str  # of generation 1
    instance_id: str

    @property
    def key(self) -> str:
        return f"etcd-bootstrap:{self.claim.etcd}"

    @property
    def record_key(self) -> str:
        return f"etcd/{self.claim.etcd}/cluster.json"

    def check(self, host: Host) -> Change | None:
        if self.has_data(host):
            wanted = self._environment("existing")
        else:
            state = host.files.read(self.environment)
            if state is not None and state.content == self._environment("new") and self._attempted(host):
                return None
            return Change("decide whether this member may bootstrap a new cluster")
        state = host.files.read(self.environment)
        return None if state is not None and state.content == wanted else Change("start as an existing member")

    def apply(self, host: Host) -> None:
        if self.has_data(host):
            self._write(host, "existing")
            return
        record = self._registered(host)
        if record.state == "established":
            raise Refused(
                "etcd-volume-lost",
                f"the etcd cluster {self.claim.etcd!r} is established, but this member's volume holds no data",
                remedy="this is a lost volume, not a new cluster: attach the right volume, or restore a backup "
                f"(`coordinator etcd restore`); the record is {self.record_key}",
            )
        self._mark_attempt(host, record)
        self._write(host, "new")

    def describe(self) -> Description:
        return Description(self.key, (f"record {self.record_key}", f"token {self.token}", "new once, then existing"))

    def has_data(self, host: Host) -> bool:
        """A write-ahead log exists: from then on etcd ignores every initial-cluster flag (etcd-pki.md 2.2)."""
        return any(name.endswith(".wal") for name in host.files.list(f"{self.path}/data/member/wal"))

    def _environment(self, state: str) -> bytes:
        return f"ETCD_CLUSTER_STATE={state}\n".encode()

    def _write(self, host: Host, state: str) -> None:
        host.files.write(self.environment, self._environment(state), mode=0o644, owner="root", group="root")

    def _attempted(self, host: Host) -> bool:
        return host.files.read(f"{self.path}/.bootstrap.json") is not None

    def _mark_attempt(self, host: Host, record: BootstrapRecord) -> None:
        content: dict[str, Any] = {"generation": record.generation, "token": record.token, "attempted": True}
        encoded = (json.dumps(content, sort_keys=True) + "\n").encode()
        host.files.write(f"{self.path}/.bootstrap.json", encoded, mode=0o644, owner="root", group="root")

    def _registered(self, host: Host) -> BootstrapRecord:
        """The record, with this member's volume in it; created by whoever comes first."""
        held = host.volumes.held(self.claim)
        if held is None:
            raise Retryable("etcd-volume-missing", f"no volume for etcd {self.claim.etcd!r} is attached yet")
        for _attempt in range(10):  # members of one cluster: a handful of losers at most
            found = host.records.get(self.record_key)
            if found is None:
                record = BootstrapRecord(
                    state="bootstrapping",
                    generation=1,
                    token=self.token,
                    volumes={held.member: held.volume_id},
                    created_by=self.instance_id,
                )
                if host.records.create(self.record_key, record.encode()):
                    return record
                continue
            record = _decode(found.content, self.record_key)
            if record.state == "established" or record.volumes.get(held.member) == held.volume_id:
                return record
            joined = record.model_copy(update={"volumes": {**record.volumes, held.member: held.volume_id}})
            if host.records.replace(self.record_key, joined.encode(), found.etag):
                return joined
        raise Retryable("etcd-record-contended", f"{self.record_key} kept changing under ten attempts to join it")


@dataclass(frozen=True, slots=True)
class EtcdEstablished:
    """etcd is healthy, and the record says so for good. Static pods come after it: no API server on an empty etcd."""

    claim: VolumeClaim
    path: str
    health_url: str

    @property
    def key(self) -> str:
        return f"etcd-established:{self.claim.etcd}"

    @property
    def record_key(self) -> str:
        return f"etcd/{self.claim.etcd}/cluster.json"

    def check(self, host: Host) -> Change | None:
        answer = host.probes.get(self.health_url)
        if answer is None or answer.status != 200:
            return Change("wait for etcd to be ready")
        marked = host.files.read(f"{self.path}/.established") is not None
        return None if marked else Change("record the cluster as established")

    def apply(self, host: Host) -> None:
        self._wait_until_ready(host)
        for _attempt in range(10):
            found = host.records.get(self.record_key)
            if found is None:
                raise Refused(
                    "etcd-record-missing",
                    f"{self.record_key} is gone although this member was started under it",
                    remedy="undelete the object (the bucket is versioned)",
                )
            record = _decode(found.content, self.record_key)
            if record.state == "established":
                break
            established = record.model_copy(update={"state": "established"})
            if host.records.replace(self.record_key, established.encode(), found.etag):
                break
        else:
            raise Retryable("etcd-record-contended", f"{self.record_key} kept changing under ten attempts to write it")
        host.files.write(f"{self.path}/.established", b"1\n", mode=0o644, owner="root", group="root")

    def describe(self) -> Description:
        return Description(self.key, (f"ready at {self.health_url}", f"record {self.record_key} established"))

    def _wait_until_ready(self, host: Host) -> None:
        deadline = host.clock.monotonic() + HEALTH_SECONDS
        said = "nothing answers"
        while host.clock.monotonic() < deadline:
            answer = host.probes.get(self.health_url)
            if answer is not None and answer.status == 200:
                return
            said = f"HTTP {answer.status}: {answer.body.strip()[:200]}" if answer else "nothing answers"
            host.clock.wait(1.0, f"etcd {self.claim.etcd}: waiting for {self.health_url} ({said})")
        raise Retryable(
            "etcd-not-ready",
            f"etcd {self.claim.etcd!r} is not ready after {HEALTH_SECONDS:.0f} s: {said}",
            remedy=f"journalctl -u bootwright-etcd-{self.claim.etcd}; `agent doctor`",
        )
