"""A double of EC2's volumes: a document that all machines share. AttachVolume is a lock; a holder lets go when it is
terminated, and not before. `agent.volumes` and `agent.attaching` run on it unchanged.
"""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.aws.volumes import VolumeRecord
from agent.linux.device import DeviceHalf
from units.errors import Retryable
from units.host import VolumeClaim
from units.volumes import CandidateVolume, VolumeAttachment


class EbsDouble:
    """A file `ec2-down` cuts the API off; disks that are attached stay so."""

    def __init__(self, shared: Path) -> None:
        self._shared = shared

    def create(self, volume_id: str, tag: str, zone: str, disk: Path) -> None:
        """EC2 has one volume of a member: one that was there before is deleted, as whoever makes another does."""
        with self._document() as document:
            volumes = {name: known for name, known in document["volumes"].items() if known["tag"] != tag}
            document["volumes"] = volumes | {volume_id: {"tag": tag, "zone": zone, "disk": str(disk), "holder": None}}

    def set_instance(self, instance: str, state: str) -> None:
        with self._document() as document:
            document["instances"][instance] = state
            if state == "terminated":
                for volume in document["volumes"].values():
                    volume["holder"] = None if volume["holder"] == instance else volume["holder"]

    def holder(self, volume_id: str) -> str | None:
        with self._document() as document:
            found = document["volumes"].get(volume_id)
            return found and found["holder"]

    def disk(self, volume_id: str) -> Path:
        with self._document() as document:
            return Path(document["volumes"][volume_id]["disk"])

    def down(self) -> None:
        (self._shared / "ec2-down").touch()

    def up(self) -> None:
        (self._shared / "ec2-down").unlink(missing_ok=True)

    def require_up(self) -> None:
        if (self._shared / "ec2-down").exists():
            raise Retryable("ec2-unreachable", "EC2 does not answer")

    @contextmanager
    def _document(self) -> Iterator[dict[str, Any]]:
        path = self._shared / "ebs.json"
        with (self._shared / "ebs.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            document = json.loads(path.read_text()) if path.exists() else {"volumes": {}, "instances": {}}
            yield document
            rough = path.with_suffix(".rough")
            rough.write_text(json.dumps(document))
            rough.rename(path)


@dataclass(frozen=True)
class Ec2Double:
    """One instance's view, with the methods of `agent.aws.volumes.Ec2Volumes`."""

    ebs: EbsDouble
    instance: str

    def candidates(self, claim: VolumeClaim) -> tuple[CandidateVolume, ...]:
        del claim
        self.ebs.require_up()
        with self.ebs._document() as document:
            volumes, instances = document["volumes"], document["instances"]
        return tuple(
            CandidateVolume(
                volume_id,
                known["zone"],
                "in-use" if known["holder"] else "available",
                known["tag"],
                (VolumeAttachment(known["holder"], "attached", instances.get(known["holder"])),)
                if known["holder"]
                else (),
            )
            for volume_id, known in volumes.items()
        )

    def device_names_in_use(self) -> frozenset[str]:
        return frozenset()

    def attach(self, volume_id: str, device_name: str) -> None:
        del device_name
        self.ebs.require_up()
        with self.ebs._document() as document:
            volume = document["volumes"][volume_id]
            if volume["holder"] not in (None, self.instance):
                raise Retryable("volume-in-use", f"{volume_id} is attached to {volume['holder']}")
            volume["holder"] = self.instance

    def detach_own(self, volume_id: str) -> None:
        raise AssertionError(f"{volume_id} never hangs in attaching here")

    def record(self, volume_id: str) -> VolumeRecord:
        raise AssertionError(f"nobody formats {volume_id} here")

    def record_intent(self, volume_id: str, uuid: str) -> None:
        raise AssertionError(f"nobody formats {volume_id} ({uuid}) here")

    def record_formatted(self, volume_id: str, uuid: str) -> None:
        raise AssertionError(f"nobody formats {volume_id} ({uuid}) here")


@dataclass(frozen=True)
class DisksDouble:
    """What the kernel shows: the disks that are attached to this instance, whatever EC2's API does."""

    ebs: EbsDouble
    instance: str

    def find(self, volume_id: str) -> str | None:
        return f"/dev/{volume_id}" if self.ebs.holder(volume_id) == self.instance else None

    def wait_for(self, volume_id: str, deadline: float) -> str:
        del deadline
        device = self.find(volume_id)
        assert device is not None
        return device

    def device_evidence(self, volume_id: str, device: str) -> DeviceHalf:
        raise AssertionError(f"nobody looks at {volume_id} ({device}) here")

    def make_ext4(self, volume_id: str, device: str, uuid: str, label: str) -> None:
        raise AssertionError(f"nobody formats {volume_id} ({device}, {uuid}, {label}) here")

    def fsck(self, device: str) -> None:
        raise AssertionError(f"nobody checks {device} here")

    def outgrown(self, device: str) -> bool:
        raise AssertionError(f"nobody grows {device} here")

    def grow(self, device: str) -> None:
        raise AssertionError(f"nobody grows {device} here")

    def make_patient(self, device: str) -> None:
        raise AssertionError(f"nobody waits for {device} here")
