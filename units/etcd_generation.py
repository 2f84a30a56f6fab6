"""EtcdRestore and EtcdGeneration: a member's data is of the record's generation, and so is the cluster it serves.

The decisions are in `units.etcd_restore`; here they meet the volume. Static pods come after both: no API server serves
another generation than the record's, and none runs while its etcd is exchanged.
"""

from dataclasses import dataclass

from units import paths
from units.bootstrap_record import BootstrapRecord, decode_record, record_key
from units.errors import Fatal, Refused, Retryable
from units.etcd_on_volume import has_data, on_volume, require_generation, stop_for_a_restore
from units.etcd_peers import EtcdPeers, refresh_quietly
from units.etcd_restore import (
    DATA,
    Fetch,
    Identity,
    PutInPlace,
    SetAside,
    Step,
    UpToDate,
    mark_of,
    next_step,
)
from units.etcd_upgrade import version_path
from units.host import HeldVolume, Host, VolumeClaim
from units.pods import DIRECTORY as PODS
from units.resource import Change, Description

WAIT_SECONDS = 120.0  # for a quorum of members that were started just now
API_SECONDS = 60.0  # the API server's own shutdown takes 15 s and what its clients need
_LOOK_FOR_PEERS = 5.0
_STEPS = 8
_ATTEMPTS = 10
HELD = "/etc/kubernetes/held-back"
API_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


@dataclass(frozen=True, slots=True)
class EtcdRestore:
    """The member has data of the generation that the record names; older data is kept aside on the volume."""

    claim: VolumeClaim
    path: str  # the mount
    unit: str
    identity: Identity
    api_url: str  # of this machine's API server

    @property
    def key(self) -> str:
        return f"etcd-restore:{self.claim.etcd}"

    def check(self, host: Host) -> Change | None:
        """A store that cannot be reached leaves a member with data as it is: a machine reboots without the store."""
        try:
            record = self._record(host)
        except Retryable:
            if has_data(host, self.path):
                return None
            raise
        step = self._step(host, record)
        if isinstance(step, UpToDate):
            return Change("start etcd again, on its new data") if self._was_stopped(host) else None
        assert record is not None
        assert record.restore is not None
        return Change(f"restore backup {record.restore.backup} as generation {record.generation}")

    def apply(self, host: Host) -> None:
        record = self._registered(host)
        if not isinstance(self._step(host, record), UpToDate):
            self._stop(host)
        for _step in range(_STEPS):
            step = self._step(host, record)
            match step:
                case UpToDate():
                    self._start_again(host)
                    return
                case Fetch():
                    self._fetch(host, record, step)
                case SetAside():
                    self._forget(host)
                    host.etcd_storage.rename(f"{self.path}/{DATA}", f"{self.path}/{step.folder}")
                case PutInPlace():
                    self._forget(host)
                    host.etcd_storage.rename(f"{self.path}/{step.folder}", f"{self.path}/{DATA}")
        raise Fatal("etcd-restore-unsettled", f"the restore of etcd {self.claim.etcd!r} came to no end")

    def describe(self) -> Description:
        return Description(self.key, (f"{self.path} is of the generation in {record_key(self.claim.etcd)}",))

    def _stop(self, host: Host) -> None:
        """API servers first: they must not find the old data gone, nor the new one not yet complete."""
        hold_back(host)
        deadline = host.clock.monotonic() + API_SECONDS
        while host.probes.get(self.api_url) is not None and host.clock.monotonic() < deadline:
            host.clock.wait(1.0, f"etcd {self.claim.etcd}: restore: waiting for the API server to end")
        if host.systemd.state(self.unit).active != "inactive":
            host.files.write(self._stopped, b"1\n", mode=0o644, owner="root", group="root")
            host.systemd.stop(self.unit)

    def _start_again(self, host: Host) -> None:
        """What this stopped, this starts: a sync repairs no stopped units (units.drift). At a boot the unit's own turn
        comes later, and the marker went with the boot before.
        """
        if self._was_stopped(host):
            host.systemd.start(self.unit)
            host.files.remove(self._stopped)

    def _was_stopped(self, host: Host) -> bool:
        return host.files.read(self._stopped) is not None

    @property
    def _stopped(self) -> str:
        return f"{paths.RUN}/etcd-{self.claim.etcd}.stopped"

    def _fetch(self, host: Host, record: BootstrapRecord, step: Fetch) -> None:
        for name in step.stale:
            host.etcd_storage.discard(f"{self.path}/{name}")
        size = step.backup.size // 1024**2
        host.clock.wait(0.0, f"etcd {self.claim.etcd}: restoring backup {step.backup.backup} ({size} MiB)")
        host.etcd_storage.make_data(
            self.claim.etcd,
            step.backup,
            self.identity,
            record.token,
            mark=mark_of(record),
            to=f"{self.path}/{step.folder}",
        )

    def _forget(self, host: Host) -> None:
        """What was true of the generation before."""
        host.files.remove(f"{self.path}/.established")
        host.files.remove(version_path(self.path))
        host.files.remove(generation_path(self.path))

    def _registered(self, host: Host) -> BootstrapRecord:
        """The record, with this member's volume in it while the generation begins: another volume of it is refused."""
        key = record_key(self.claim.etcd)
        held = _held(host, self.claim)
        for _attempt in range(_ATTEMPTS):
            found = host.records.get(key)
            if found is None:
                raise Refused("etcd-record-missing", f"{key} is gone", remedy="undelete it (the bucket is versioned)")
            record = decode_record(found.content, key)
            known = record.volumes.get(held.member)
            if record.state != "restoring" or known == held.volume_id:
                return record
            if known is not None:
                raise Refused(
                    "etcd-volume-changed",
                    f"member {held.member!r} is being restored on {known}, but {held.volume_id} is attached",
                    remedy=f"attach {known}; if it is gone for good, restore once more: `coordinator etcd restore`",
                )
            joined = record.with_volume(held.member, held.volume_id)
            if host.records.replace(key, joined.encode(), found.etag):
                return joined
        raise Retryable("etcd-record-contended", f"{key} kept changing under {_ATTEMPTS} attempts to join it")

    def _record(self, host: Host) -> BootstrapRecord | None:
        key = record_key(self.claim.etcd)
        found = host.records.get(key)
        return decode_record(found.content, key) if found else None

    def _step(self, host: Host, record: BootstrapRecord | None) -> Step:
        return next_step(record, _held(host, self.claim).member, on_volume(host, self.path))


@dataclass(frozen=True, slots=True)
class EtcdGeneration:
    """The cluster that this member serves holds the token of the record's generation under /bootwright/cluster.

    A guard beside the data's own mark: an etcd that came up empty, or as another cluster, does not hold it.
    """

    claim: VolumeClaim
    path: str
    client_urls: tuple[str, ...]  # this machine's member first; the others' for one that is a learner yet
    peers: EtcdPeers | None = None

    @property
    def key(self) -> str:
        return f"etcd-generation:{self.claim.etcd}"

    def check(self, host: Host) -> Change | None:
        noted = self._noted(host)
        if noted is None:
            return Change("find the generation's token in etcd")
        try:
            held = host.etcd_storage.generation_key(self.claim.etcd, self.client_urls)
        except Retryable:
            return Change("wait for etcd to serve keys")
        if held is not None and noted == _note(held):
            return None
        return Change("find the generation's token in etcd")

    def apply(self, host: Host) -> None:
        key = record_key(self.claim.etcd)
        held = self._wait_for_key(host)
        if held is not None and self._noted(host) == _note(held):
            return  # found under the record once already: a machine reboots without the store
        for _attempt in range(_ATTEMPTS):
            found = host.records.get(key)
            if found is None:
                raise Refused("etcd-record-missing", f"{key} is gone", remedy="undelete it (the bucket is versioned)")
            record = decode_record(found.content, key)
            if held == record.token:
                self._note_down(host, held)
                return
            require_generation(host, self.claim, self.path, record)
            if record.state == "established":
                raise Refused(
                    "etcd-wrong-generation",
                    f"etcd {self.claim.etcd!r} holds the token {held!r} under /bootwright/cluster, but the record says "
                    f"{record.token!r} (generation {record.generation}): this is not the cluster that was established",
                    remedy="no API server starts on it. `agent etcd status` on all members; then the right volumes, "
                    "or `coordinator etcd restore`",
                )
            if host.etcd_storage.write_generation_key(self.claim.etcd, self.client_urls, held, record.token):
                self._note_down(host, record.token)
                return
            held = host.etcd_storage.generation_key(self.claim.etcd, self.client_urls)
        raise Retryable("etcd-record-contended", f"the generation of etcd {self.claim.etcd!r} kept changing")

    def describe(self) -> Description:
        return Description(self.key, ("/bootwright/cluster holds the token of the generation",))

    def _noted(self, host: Host) -> bytes | None:
        found = host.files.read(generation_path(self.path))
        return found.content if found else None

    def _note_down(self, host: Host, token: str) -> None:
        host.files.write(generation_path(self.path), _note(token), mode=0o644, owner="root", group="root")

    def _wait_for_key(self, host: Host) -> str | None:
        deadline = asked = host.clock.monotonic()
        deadline += WAIT_SECONDS
        while True:
            try:
                return host.etcd_storage.generation_key(self.claim.etcd, self.client_urls)
            except Retryable as error:
                if host.clock.monotonic() >= deadline:
                    raise Retryable(
                        "etcd-not-ready",
                        f"etcd {self.claim.etcd!r} serves no keys after {WAIT_SECONDS:.0f} s: {error.message}",
                        remedy=f"journalctl -u bootwright-etcd-{self.claim.etcd}; the other members have to be up too",
                    ) from error
                host.clock.wait(1.0, f"etcd {self.claim.etcd}: waiting for a quorum ({error.message[:200]})")
            if host.clock.monotonic() - asked >= _LOOK_FOR_PEERS:
                if refresh_quietly(self.peers, host):
                    stop_for_a_restore(host, self.claim, self.path)
                asked = host.clock.monotonic()


@dataclass(frozen=True, slots=True)
class HeldBackPods:
    """API servers that a restore has stopped come back, once every etcd cluster of this machine serves again."""

    @property
    def key(self) -> str:
        return "held-back-pods:kube-apiserver"

    def check(self, host: Host) -> Change | None:
        held = host.files.list(HELD)
        return Change(f"let {', '.join(held)} run again") if held else None

    def apply(self, host: Host) -> None:
        """The manifest as it was; should it have been changed meanwhile, the pod's own turn comes later in the plan."""
        for name in host.files.list(HELD):
            kept = host.files.read(f"{HELD}/{name}")
            if kept is not None and kept.content is not None:
                host.files.write(f"{PODS}/{name}", kept.content, mode=kept.mode, owner=kept.owner, group=kept.group)
            host.files.remove(f"{HELD}/{name}")

    def describe(self) -> Description:
        return Description(self.key, (f"what lies in {HELD} during a restore goes back to {PODS}",))


def hold_back(host: Host) -> None:
    """Out of kubelet's sight, kept for HeldBackPods."""
    for name in API_PODS:
        found = host.files.read(f"{PODS}/{name}.yaml")
        if found is not None and found.content is not None:
            host.files.write(f"{HELD}/{name}.yaml", found.content, mode=0o600, owner="root", group="root")
            host.files.remove(f"{PODS}/{name}.yaml")


def generation_path(mount: str) -> str:
    """The token that this member found in its cluster; lies on the volume."""
    return f"{mount}/.generation"


def _note(token: str) -> bytes:
    return f"{token}\n".encode()


def _held(host: Host, claim: VolumeClaim) -> HeldVolume:
    held = host.volumes.held(claim)
    if held is None:
        raise Retryable("etcd-volume-missing", f"no volume for etcd {claim.etcd!r} is attached yet")
    return held
