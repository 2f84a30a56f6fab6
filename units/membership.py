"""EtcdBootstrap and EtcdEstablished: `--initial-cluster-state=new` exactly once in a cluster's life.

The rules are in `units.bootstrap_record`; here they meet the volume. With data on it etcd ignores every initial-cluster
flag (etcd-pki.md 2.2), and `existing` is what stays in the unit's environment: should the data vanish, etcd must not
find permission to begin anew. API servers start only after EtcdEstablished.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from units.bootstrap_record import BootstrapRecord, InitialState, decode_record, initial_state, record_key
from units.errors import Refused, Retryable
from units.etcd_on_volume import has_data, require_generation, restore_begun, stop_for_a_restore
from units.etcd_peers import EtcdPeers, refresh_quietly
from units.etcd_rejoin import EtcdUrls, Rejoin
from units.etcd_replacement import restore_remedy
from units.etcd_upgrade import check_members
from units.host import HeldVolume, Host, VolumeClaim
from units.resource import Change, Description

Grant = Literal["new", "existing"]

HEALTH_SECONDS = 120.0  # how long one run waits for a member that has just started
BEGIN_SECONDS = 60.0  # how long one run waits for the first byte of a log
_PAUSE = 0.5
_LOOK_FOR_PEERS = 5.0  # Go keeps what /etc/hosts said for as long
_ATTEMPTS = 10  # members of one cluster race for the record: a handful of losers at most


@dataclass(frozen=True, slots=True)
class EtcdBootstrap:
    """Decides `new` or `existing`, and writes it where etcd's unit reads it.

    `new` is granted again after a crash as long as the record says `bootstrapping`: the marker on the volume tells
    that a start was attempted, not that etcd wrote anything.
    """

    claim: VolumeClaim
    path: str  # the mount
    environment: str  # file under /run that etcd's unit reads
    token: str  # of generation 1
    instance_id: str
    urls: EtcdUrls = field(default_factory=EtcdUrls)  # a member that lost its data asks the others

    @property
    def key(self) -> str:
        return f"etcd-bootstrap:{self.claim.etcd}"

    def check(self, host: Host) -> Change | None:
        if self._has_data(host):
            return None if _granted(host, self.environment) == "existing" else Change("start as an existing member")
        return None if self._decided(host) else Change("decide whether this member may bootstrap a new cluster")

    def apply(self, host: Host) -> None:
        if self._has_data(host):
            _grant(host, self.environment, "existing")
            return
        held = _held(host, self.claim)
        host.files.remove(f"{self.path}/.established")  # of data that is gone: what begins now has to be ready first
        record, state = self._registered(host, held)
        if state == "rejoin":
            host.files.remove(self.environment)  # a grant from before: under the old id nothing may start any more
            record, state = Rejoin(self.claim.etcd, self.urls, held).prepare(host), "existing"
        self._mark_attempt(host, record)
        _grant(host, self.environment, state)

    def describe(self) -> Description:
        record = f"record {record_key(self.claim.etcd)}"
        return Description(self.key, (record, f"token {self.token}", "new once, then existing"))

    def _has_data(self, host: Host) -> bool:
        return has_data(host, self.path)

    def _decided(self, host: Host) -> bool:
        """The grant that is written still follows from the record: it may have been established meanwhile."""
        held, found = host.volumes.held(self.claim), host.records.get(record_key(self.claim.etcd))
        if held is None or found is None:
            return False
        record = decode_record(found.content, record_key(self.claim.etcd))
        if record.volumes.get(held.member) != held.volume_id or held.member in record.started:
            return False
        state = "new" if record.state == "bootstrapping" else "existing"
        return _granted(host, self.environment) == state and self._attempted(host, record)

    def _initial_state(self, host: Host, record: BootstrapRecord, held: HeldVolume) -> InitialState:
        return initial_state(
            record,
            etcd=self.claim.etcd,
            member=held.member,
            members=self.claim.members,
            volume_id=held.volume_id,
            attempted=self._attempted(host, record),
        )

    def _attempted(self, host: Host, record: BootstrapRecord) -> bool:
        """Something unreadable is a trace of an attempt, too."""
        found = host.files.read(f"{self.path}/.bootstrap.json")
        if found is None:
            return False
        try:
            return bool(json.loads(found.content or b"")["generation"] == record.generation)
        except (ValueError, KeyError, TypeError):
            return True

    def _mark_attempt(self, host: Host, record: BootstrapRecord) -> None:
        """Before etcd's first write: from here on its votes may exist, whether or not its log is found again."""
        content: dict[str, Any] = {"generation": record.generation, "token": record.token, "attempted": True}
        encoded = (json.dumps(content, sort_keys=True) + "\n").encode()
        host.files.write(f"{self.path}/.bootstrap.json", encoded, mode=0o644, owner="root", group="root")

    def _registered(self, host: Host, held: HeldVolume) -> tuple[BootstrapRecord, InitialState]:
        """The record with this member's volume in it, created by whoever comes first; and how the member may start."""
        key = record_key(self.claim.etcd)
        for _attempt in range(_ATTEMPTS):
            found = host.records.get(key)
            if found is None:
                record = BootstrapRecord(
                    state="bootstrapping",
                    generation=1,
                    token=self.token,
                    volumes={held.member: held.volume_id},
                    created_by=self.instance_id,
                )
                if host.records.create(key, record.encode()):
                    return record, "new"
                continue
            record = decode_record(found.content, key)
            state = self._initial_state(host, record, held)  # Refused before anything is written
            if record.state == "restoring":  # begun since EtcdRestore looked: an empty member has no part in it
                raise restore_begun(self.claim.etcd, record)
            if held.member in record.volumes or state == "rejoin":
                return record, state
            if state == "existing":  # the others stood before this member was ever seen
                check_members(host, self.claim.etcd, self.urls.clients_but(held.member))
            joined = record.with_volume(held.member, held.volume_id)
            if host.records.replace(key, joined.encode(), found.etag):
                return joined, state
        raise Retryable("etcd-record-contended", f"{key} kept changing under {_ATTEMPTS} attempts to join it")


@dataclass(frozen=True, slots=True)
class EtcdBegun:
    """etcd has begun its log. With `existing` it does as soon as another member tells it the cluster."""

    claim: VolumeClaim
    path: str
    environment: str
    peers: EtcdPeers | None = None  # whose names are looked up again while this waits

    @property
    def key(self) -> str:
        return f"etcd-begun:{self.claim.etcd}"

    def check(self, host: Host) -> Change | None:
        return None if has_data(host, self.path) else Change("wait for etcd to begin its log")

    def apply(self, host: Host) -> None:
        waited = 0.0
        while not has_data(host, self.path):
            if waited >= BEGIN_SECONDS:
                raise self._was_not_let_in(host)
            host.clock.wait(_PAUSE, f"etcd {self.claim.etcd}: waiting for it to begin its log")
            waited += _PAUSE
            if waited % _LOOK_FOR_PEERS == 0 and refresh_quietly(self.peers, host):
                stop_for_a_restore(host, self.claim, self.path)

    def describe(self) -> Description:
        return Description(self.key, (f"a log below {self.path}/data",))

    def _was_not_let_in(self, host: Host) -> Retryable:
        """The next run asks anew how it may start: meanwhile the cluster may have another list of members."""
        if _granted(host, self.environment) == "existing":
            host.files.remove(self.environment)
        return Retryable(
            "etcd-not-let-in",
            f"etcd {self.claim.etcd!r} began no log within {BEGIN_SECONDS:.0f} s: no member tells it the cluster",
            remedy=f"journalctl -u bootwright-etcd-{self.claim.etcd}; {restore_remedy(self.claim.etcd)}",
        )


@dataclass(frozen=True, slots=True)
class EtcdEstablished:
    """etcd is ready, and the record says so for good. Static pods come after it: no API server on an empty etcd."""

    claim: VolumeClaim
    path: str
    environment: str
    health_url: str
    urls: EtcdUrls = field(default_factory=EtcdUrls)
    peers: EtcdPeers | None = None  # whose names are looked up again while this waits

    @property
    def key(self) -> str:
        return f"etcd-established:{self.claim.etcd}"

    def check(self, host: Host) -> Change | None:
        answer = host.probes.get(self.health_url)
        if answer is None or answer.status != 200:
            return Change("wait for etcd to be ready")
        if self._marked(host) and _granted(host, self.environment) == "existing":
            return None
        return Change("record the cluster as established")

    def apply(self, host: Host) -> None:
        marked = self._marked(host)
        if not marked:
            self._vote_if_learner(host)
        self._wait_until_ready(host)
        if not marked:  # else it stands there, and a machine reboots without the store
            self._record(host)
        _grant(host, self.environment, "existing")
        host.files.write(f"{self.path}/.established", b"1\n", mode=0o644, owner="root", group="root")

    def describe(self) -> Description:
        record = f"record {record_key(self.claim.etcd)} established"
        return Description(self.key, (f"ready at {self.health_url}", record))

    def _marked(self, host: Host) -> bool:
        """The data has been ready before, and the record tells of it."""
        return host.files.read(f"{self.path}/.established") is not None

    def _vote_if_learner(self, host: Host) -> None:
        """Only a member that begins anew (units.etcd_rejoin), and only until it is established."""
        if len(self.claim.members) == 1:
            return
        held = _held(host, self.claim)
        found = host.records.get(record_key(self.claim.etcd))
        if found and decode_record(found.content, record_key(self.claim.etcd)).replacing == held.member:
            Rejoin(self.claim.etcd, self.urls, held).vote(host)

    def _record(self, host: Host) -> None:
        key, held = record_key(self.claim.etcd), _held(host, self.claim)
        member = held.member
        for _attempt in range(_ATTEMPTS):
            found = host.records.get(key)
            if found is None:
                raise Refused(
                    "etcd-record-missing",
                    f"{key} is gone although this member was started under it",
                    remedy="undelete the object (the bucket is versioned)",
                )
            record = decode_record(found.content, key)
            require_generation(host, self.claim, self.path, record)
            # Who follows a restore after the others have established it was in no record of this generation yet.
            joined = record if member in record.volumes else record.with_volume(member, held.volume_id)
            started = joined.with_started(member)
            if started == record or host.records.replace(key, started.encode(), found.etag):
                return
        raise Retryable("etcd-record-contended", f"{key} kept changing under {_ATTEMPTS} attempts to write it")

    def _wait_until_ready(self, host: Host) -> None:
        deadline = host.clock.monotonic() + HEALTH_SECONDS
        said, asked = "nothing answers", host.clock.monotonic()
        while host.clock.monotonic() < deadline:
            answer = host.probes.get(self.health_url)
            if answer is not None and answer.status == 200:
                return
            said = f"HTTP {answer.status}: {answer.body.strip()[:200]}" if answer else "nothing answers"
            host.clock.wait(1.0, f"etcd {self.claim.etcd}: waiting for {self.health_url} ({said})")
            if host.clock.monotonic() - asked >= _LOOK_FOR_PEERS:
                if refresh_quietly(self.peers, host):
                    stop_for_a_restore(host, self.claim, self.path)
                asked = host.clock.monotonic()
        raise Retryable(
            "etcd-not-ready",
            f"etcd {self.claim.etcd!r} is not ready after {HEALTH_SECONDS:.0f} s: {said}",
            remedy=f"journalctl -u bootwright-etcd-{self.claim.etcd}; `agent doctor`",
        )


def _held(host: Host, claim: VolumeClaim) -> HeldVolume:
    held = host.volumes.held(claim)
    if held is None:
        raise Retryable("etcd-volume-missing", f"no volume for etcd {claim.etcd!r} is attached yet")
    return held


def _environment(state: Grant) -> bytes:
    # Not ETCD_*: etcd takes such a variable for a flag of its own, and warns.
    return f"INITIAL_CLUSTER_STATE={state}\n".encode()


def _grant(host: Host, path: str, state: Grant) -> None:
    host.files.write(path, _environment(state), mode=0o644, owner="root", group="root")


def _granted(host: Host, path: str) -> Grant | None:
    found = host.files.read(path)
    states: tuple[Grant, ...] = ("new", "existing")
    return next((state for state in states if found and found.content == _environment(state)), None)
