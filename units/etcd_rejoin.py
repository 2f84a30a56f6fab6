"""A member whose data is gone begins anew: backup, record, remove, add as a learner; and a vote once it caught up.

The member's own machine does it, because it alone holds the empty volume. What to do next is
`units.etcd_replacement.next_step`'s decision, made anew after every step: after a power cut the next run goes on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from units.bootstrap_record import BootstrapRecord, decode_record, record_key
from units.errors import Refused, Retryable
from units.etcd_members import EtcdAdmin
from units.etcd_replacement import (
    AddLearner,
    Lost,
    RecordVolume,
    Remove,
    StartExisting,
    WaitForPerson,
    may_replace,
    next_step,
    restore_remedy,
)
from units.etcd_upgrade import check_members
from units.host import HeldVolume, Host
from units.volume_choice import Refuse, Wait

LOCK = "membership"  # one change of members at a time in a cluster, whoever makes it
PROMOTE_SECONDS = 600.0  # a learner fetches the whole database first: 8 GiB at 20 MB/s is 410 s
_PAUSE = 1.0
_YOUNG_SECONDS = 300.0  # a backup of the run before, which a power cut ended, still tells of what there is
_STEPS = 12  # record, remove, add, start: each a few times


@dataclass(frozen=True, slots=True)
class EtcdUrls:
    """Of every member: (member, URL)."""

    peer: tuple[tuple[str, str], ...] = ()
    client: tuple[tuple[str, str], ...] = ()

    def clients_but(self, member: str) -> tuple[str, ...]:
        return tuple(url for name, url in self.client if name != member)


@dataclass(frozen=True, slots=True)
class Rejoin:
    """One member's way back into its cluster."""

    etcd: str
    urls: EtcdUrls
    held: HeldVolume

    @property
    def lost(self) -> Lost:
        return Lost(self.etcd, self.held.member, self.held.volume_id, dict(self.urls.peer))

    def prepare(self, host: Host) -> BootstrapRecord:
        """Until the cluster waits for this member as a learner that never started; the record as it is then.

        Refused where a person must decide, also by another image, Retryable with what is waited for.
        """
        if stop := may_replace(self.lost, self._record(host)[0]):
            raise _waits(stop)
        check_members(host, self.etcd, self.urls.clients_but(self.held.member))
        backed_up = False
        with self._admin(host) as admin, admin.locked(LOCK):
            for _step in range(_STEPS):
                record, etag = self._record(host)
                step = next_step(self.lost, record, admin.view())
                match step:
                    case StartExisting():
                        return record
                    case RecordVolume():
                        self._back_up(host)
                        backed_up = True
                        host.records.replace(record_key(self.etcd), step.record.encode(), etag)
                    case Remove() | AddLearner() if not backed_up:
                        # The run that wrote the record was cut off, who knows how long ago. Then look again.
                        self._back_up(host, young=_YOUNG_SECONDS)
                        backed_up = True
                    case Remove():
                        admin.remove(step.member_id)
                    case AddLearner():
                        admin.add_learner(step.peer_url)
                    case Refuse():
                        raise Refused(step.code, step.reason, remedy=step.remedy)
                    case WaitForPerson():
                        raise _waits(step)
                    case Wait():
                        raise Retryable(step.code, step.reason, remedy=restore_remedy(self.etcd))
        raise Retryable("etcd-members-unsettled", f"the members of etcd {self.etcd!r} kept changing meanwhile")

    def vote(self, host: Host) -> None:
        """Until this member, started by now, votes. A learner that does not catch up in time is tried again later."""
        deadline = host.clock.monotonic() + PROMOTE_SECONDS
        with self._admin(host) as admin:
            while True:
                mine = admin.view().at(self.lost.peer_url)
                if mine is not None and not mine.learner:
                    return
                said = "it has not started yet"
                if mine is not None and mine.started:
                    try:
                        admin.promote(mine.id)
                    except Retryable as error:
                        said = error.message
                    else:
                        continue
                if host.clock.monotonic() >= deadline:
                    raise Retryable("etcd-learner-behind", f"member {self.held.member!r} does not vote yet: {said}")
                host.clock.wait(_PAUSE, f"etcd {self.etcd}: {self.held.member} catches up as a learner ({said})")

    def _back_up(self, host: Host, *, young: float = 0.0) -> None:
        reason = f"before member {self.held.member} is replaced"
        host.clock.wait(0.0, f"etcd {self.etcd}: backup {reason}")
        host.etcd.backup(self.etcd, self.urls.clients_but(self.held.member), reason, young=young)

    def _record(self, host: Host) -> tuple[BootstrapRecord, str]:
        key = record_key(self.etcd)
        found = host.records.get(key)
        if found is None:
            raise Retryable("etcd-record-missing", f"{key} is gone", remedy="undelete it (the bucket is versioned)")
        return decode_record(found.content, key), found.etag

    @contextmanager
    def _admin(self, host: Host) -> Iterator[EtcdAdmin]:
        try:
            with host.etcd.admin(self.etcd, self.urls.clients_but(self.held.member)) as admin:
                yield admin
        except Retryable as error:
            if error.code not in ("etcd-unreachable", "etcd-no-quorum"):
                raise
            reason = f"member {self.held.member!r} of etcd {self.etcd!r} has lost its data and waits: {error.message}"
            raise Retryable(error.code, reason, remedy=restore_remedy(self.etcd)) from error


def _waits(stop: WaitForPerson) -> Retryable:
    return Retryable(stop.code, stop.reason, remedy=stop.remedy)
