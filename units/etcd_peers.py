"""EtcdPeers: this member's whereabouts in the store, and the other members' names in /etc/hosts.

etcd reads /etc/hosts anew for every connection (measured, etcd-pki.md 2.2: a moved member is healthy a second after the
others' files changed). With a Route 53 zone the block says the same as the zone, and sooner.
"""

from dataclasses import dataclass

from units import paths
from units.errors import BootwrightError, Refused, Retryable
from units.host import HeldVolume, Host, VolumeClaim
from units.hosts import PATH, hosts_content
from units.hosts_text import block_lines, with_block
from units.peer_names import PeerNames, PeerRecord, decode_peer, peer_key
from units.resource import Change, Description

_ATTEMPTS = 5  # the holder of the volume is the only writer, but for a predecessor's last run


def note_path(etcd: str) -> str:
    """Where `agent.etcd_peers` finds whom to look for at each poll."""
    return f"{paths.RUN}/etcd-peers-{etcd}.json"


@dataclass(frozen=True, slots=True)
class EtcdPeers:
    """A store that cannot be reached leaves everything as it is: a machine reboots without it."""

    claim: VolumeClaim
    names: PeerNames
    instance_id: str
    address: str

    @property
    def key(self) -> str:
        return f"etcd-peers:{self.claim.etcd}"

    def check(self, host: Host) -> Change | None:
        note = host.files.read(note_path(self.claim.etcd))
        if note is None or note.content != self.names.encode():
            return Change("note whom to look for")
        try:
            if not self._is_told(host):
                return Change("tell the other members where this one is")
            return Change("name the other members in /etc/hosts") if self._stale(host) else None
        except Retryable:
            return None

    def apply(self, host: Host) -> None:
        note = note_path(self.claim.etcd)
        host.files.write(note, self.names.encode(), mode=0o644, owner="root", group="root")
        try:
            self._tell(host)
            self.refresh(host)
        except Retryable:
            return

    def describe(self) -> Description:
        lines = (f"{name} from {peer_key(self.claim.etcd, member)}" for member, name in self.names.names)
        return Description(self.key, (f"this member is at {self.address}", *lines))

    def refresh(self, host: Host) -> bool:
        """Ask the store anew; whether /etc/hosts changed. Retryable if the store cannot be reached."""
        text = self._stale(host)
        if text is None:
            return False
        host.files.write(PATH, text, mode=0o644, owner="root", group="root")
        return True

    def _stale(self, host: Host) -> bytes | None:
        """What /etc/hosts should be, if it is not."""
        text = hosts_content(host)
        found = {member: record.address for member, _ in self.names.names if (record := self._peer(host, member))}
        lines = self.names.lines(found, block_lines(text, self.names.block))
        wanted = with_block(text, self.names.block, lines)
        return wanted if wanted != text else None

    def _peer(self, host: Host, member: str) -> PeerRecord | None:
        try:
            record = host.records.get(peer_key(self.claim.etcd, member))
        except Refused:  # too long to be one: as good as none
            return None
        return decode_peer(record.content) if record else None

    def _is_told(self, host: Host) -> bool:
        held = host.volumes.held(self.claim)
        return held is not None and self._own(host, held).same_place(self._peer(host, held.member))

    def _tell(self, host: Host) -> None:
        held = host.volumes.held(self.claim)
        if held is None:
            raise Retryable("etcd-volume-missing", f"no volume for etcd {self.claim.etcd!r} is attached yet")
        own, key = self._own(host, held), peer_key(self.claim.etcd, held.member)
        for _attempt in range(_ATTEMPTS):
            found = host.records.get(key)
            if found is None:
                if host.records.create(key, own.encode()):
                    return
            elif own.same_place(decode_peer(found.content)) or host.records.replace(key, own.encode(), found.etag):
                return

    def _own(self, host: Host, held: HeldVolume) -> PeerRecord:
        return PeerRecord(self.instance_id, self.address, held.volume_id, host.clock.now().isoformat())


def refresh_quietly(peers: EtcdPeers | None, host: Host) -> bool:
    """While something is waited for: names are a help, and their absence no reason to stop waiting.

    False if the store did not answer: whoever wants more of it now would wait as long again.
    """
    if peers is not None:
        try:
            peers.refresh(host)
        except BootwrightError:
            return False
    return True
