"""Volume and Mount: an etcd member's disk, attached, proven ours, and mounted. The decisions are in units.volumes."""

from dataclasses import dataclass

from units.errors import Fatal, Refused
from units.host import HeldVolume, Host, MountState, VolumeClaim
from units.resource import Change, Description
from units.volumes import Format, Marker, MountExisting, RecordFormatted, Refuse, ResumeFormat, decide, volume_uuid

OPTIONS = ("noatime", "nodev", "nosuid", "noexec")
# Debian's mke2fs leaves "continue" in the super block: etcd would go on writing over what is broken.
ON_ERROR = "errors=remount-ro"
MARKER = ".etcd-volume.json"


@dataclass(frozen=True, slots=True)
class Volume:
    """Attached to this machine and holding our file system. mkfs only after blank proof and a recorded intent."""

    claim: VolumeClaim
    path: str  # where it will be mounted

    @property
    def key(self) -> str:
        return f"volume:{self.claim.etcd}"

    def check(self, host: Host) -> Change | None:
        held = host.volumes.held(self.claim)
        if held is None:
            return Change(f"attach the volume tagged k8s.io/etcd/{self.claim.etcd}")
        if host.mounts.mounted(self.path):
            return None
        decision = decide(host.volumes.evidence(held), volume_uuid(held.volume_id), self.claim.minimum_bytes)
        match decision:
            case MountExisting():
                return None
            case Refuse():
                raise _refusal(decision)
            case RecordFormatted():
                return Change(f"record that {held.volume_id} is formatted")
            case Format() | ResumeFormat():
                return Change(f"format {held.volume_id}: proven blank")

    def apply(self, host: Host) -> None:
        _prepare_mount_point(host, self.path)
        held = host.volumes.held(self.claim) or host.volumes.attach(self.claim)
        self._format_if_blank(host, held)

    def describe(self) -> Description:
        tag = f"k8s.io/etcd/{self.claim.etcd} = {{{'|'.join(self.claim.candidates)}}}/{','.join(self.claim.members)}"
        return Description(self.key, (tag, f"at least {self.claim.minimum_bytes} bytes", f"for {self.path}"))

    def _format_if_blank(self, host: Host, held: HeldVolume) -> None:
        uuid = volume_uuid(held.volume_id)
        match decide(host.volumes.evidence(held), uuid, self.claim.minimum_bytes):
            case Refuse() as refusal:
                raise _refusal(refusal)
            case Format() | ResumeFormat():
                host.volumes.record_intent(held, uuid)
                host.volumes.format(held, uuid, f"etcd-{self.claim.etcd}")
                host.volumes.record_formatted(held, uuid)
            case RecordFormatted():
                host.volumes.record_formatted(held, uuid)
            case MountExisting():
                pass


def _prepare_mount_point(host: Host, path: str) -> None:
    """Before the volume is there: whatever writes to the path too early must fail, not land on the root disk."""
    if host.mounts.mounted(path) is None:
        if host.files.read(path) is None:
            host.files.make_directory(path, mode=0o755, owner="root", group="root")
        host.mounts.protect(path)


def _refusal(refusal: Refuse) -> Refused:
    return Refused(refusal.code, refusal.reason, remedy=refusal.remedy)


@dataclass(frozen=True, slots=True)
class Mount:
    """The volume mounted, checked, grown, and carrying the marker that says whose it is."""

    claim: VolumeClaim
    path: str

    @property
    def key(self) -> str:
        return f"mount:{self.path}"

    def check(self, host: Host) -> Change | None:
        state = host.mounts.mounted(self.path)
        if state is None:
            return Change("mount")
        held = self._held(host)
        if missing := self._missing_options(state, held):
            return Change(f"remount with {', '.join(missing)}")
        marker = self._marker(host)
        if marker is None:
            return Change("write the marker of a new volume")
        marker.check(cluster=self.claim.cluster, etcd=self.claim.etcd, volume_id=held.volume_id, member=held.member)
        return Change(f"grow the file system to the size of {held.volume_id}") if host.volumes.outgrown(held) else None

    def apply(self, host: Host) -> None:
        held = self._held(host)
        state = host.mounts.mounted(self.path)
        if state is not None and self._missing_options(state, held):
            host.mounts.remount(self.path, options=OPTIONS)
        if state is None:
            # Also when the volume came with the machine, attached and formatted: then Volume had nothing to do.
            _prepare_mount_point(host, self.path)
            host.volumes.repair(held)
            host.mounts.mount(held.device, self.path, fstype="ext4", options=(*OPTIONS, ON_ERROR))
        if host.volumes.outgrown(held):
            host.volumes.grow(held)
        marker = self._marker(host)
        if marker is None:
            self._write_marker(host, held)
        else:
            marker.check(cluster=self.claim.cluster, etcd=self.claim.etcd, volume_id=held.volume_id, member=held.member)

    def describe(self) -> Description:
        return Description(self.key, ("ext4", ",".join((*OPTIONS, ON_ERROR)), f"marker {MARKER}"))

    def _missing_options(self, state: MountState, held: HeldVolume) -> tuple[str, ...]:
        """Refused for a mount that new options would not mend."""
        if (state.source, state.fstype) != (held.device, "ext4"):
            raise Refused(
                "etcd-mount-foreign",
                f"{self.path} has {state.source} ({state.fstype}) mounted on it, not {held.volume_id}, {held.device}",
                remedy=f"findmnt {self.path}; find out who mounted it, `umount {self.path}`, then `agent boot`",
            )
        if "ro" in state.options:
            # Written to after an error, it could lose what a check would still save.
            raise Refused(
                "etcd-volume-read-only",
                f"{held.volume_id} is mounted read-only at {self.path}: the kernel does so after an I/O error, or a "
                "person did",
                remedy="`dmesg` has the reason. e2fsck needs it unmounted: a reboot checks and mounts it anew, or "
                f"systemctl stop bootwright-etcd-{self.claim.etcd}, umount {self.path}, agent boot. Never "
                "`mount -o remount,rw`",
            )
        return tuple(option for option in OPTIONS if option not in state.options)

    def _held(self, host: Host) -> HeldVolume:
        held = host.volumes.held(self.claim)
        if held is None:
            raise Fatal(
                "etcd-volume-gone",
                f"{self.path} should hold the etcd volume of {self.claim.etcd!r}, but it is no longer attached",
                remedy="look at `agent status` and the instance's volumes in EC2",
            )
        return held

    def _marker(self, host: Host) -> Marker | None:
        state = host.files.read(f"{self.path}/{MARKER}")
        return Marker.decode(state.content) if state and state.content else None

    def _write_marker(self, host: Host, held: HeldVolume) -> None:
        strangers = [name for name in host.files.list(self.path) if name != "lost+found"]
        if strangers:
            raise Refused(
                "etcd-volume-unmarked",
                f"{held.volume_id} has no {MARKER} but is not empty: {', '.join(strangers[:5])}",
                remedy="mount it read-only elsewhere and see whose data it is; a foreign volume is never adopted",
            )
        marker = Marker(
            cluster=self.claim.cluster,
            etcd=self.claim.etcd,
            member=held.member,
            volume_id=held.volume_id,
            created=host.clock.now(),
        )
        host.files.write(f"{self.path}/{MARKER}", marker.encode(), mode=0o644, owner="root", group="root")
