"""What of an etcd member lies on its volume, and whether a restore was begun that it does not follow yet."""

from units.bootstrap_record import BootstrapRecord, decode_record, record_key
from units.errors import BootwrightError, Retryable
from units.etcd_restore import DATA, MARK, OnVolume, UpToDate, next_step, read_mark
from units.host import Host, VolumeClaim


def has_data(host: Host, path: str) -> bool:
    """A write-ahead log exists below this mount."""
    return any(name.endswith(".wal") for name in host.files.list(f"{path}/data/member/wal"))


def on_volume(host: Host, path: str) -> OnVolume:
    def generation(file: str) -> int | None:
        found = host.files.read(f"{path}/{file}")
        return read_mark(found.content) if found else None

    return OnVolume(
        names=frozenset(host.files.list(path)),
        has_data=has_data(host, path),
        data_generation=generation(f"{DATA}/{MARK}"),
        attempted_generation=generation(".bootstrap.json"),
        occupied=bool(host.files.list(f"{path}/{DATA}")),
    )


def stop_for_a_restore(host: Host, claim: VolumeClaim, path: str) -> None:
    """Retryable if the record asks for a restore that has not reached this volume: the next run begins with it.

    For whoever waits on a member: one that lost its quorum for good waits for exactly this. A store that cannot be
    reached is no reason to stop waiting.
    """
    held = host.volumes.held(claim)
    try:
        found = host.records.get(record_key(claim.etcd))
        record = decode_record(found.content, record_key(claim.etcd)) if found else None
        overtaken = held is not None and not isinstance(next_step(record, held.member, on_volume(host, path)), UpToDate)
    except BootwrightError:
        return
    if overtaken and record is not None:
        raise restore_begun(claim.etcd, record)


def require_generation(host: Host, claim: VolumeClaim, path: str, record: BootstrapRecord) -> None:
    """Retryable if the record is of a later restore than this volume's data: nothing may be said of it in its name.

    The run began before the restore did. A member of the old generation that is ready proves nothing of the new one.
    """
    if record.restore is not None and on_volume(host, path).generation < record.generation:
        raise restore_begun(claim.etcd, record)


def restore_begun(etcd: str, record: BootstrapRecord) -> Retryable:
    """Why a run ends here: the record is of a restore that this volume has not followed."""
    return Retryable(
        "etcd-restore-begun",
        f"etcd {etcd!r} is being restored as generation {record.generation}: the next run begins with that",
        remedy="wait; `agent etcd status` and `coordinator status` tell when it is done",
    )
