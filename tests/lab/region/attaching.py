"""The slow half of AttachVolume and DetachVolume: states that take time, and the disk that really moves."""

import logging
from collections.abc import Callable
from typing import Any

from tests.lab.region.machines import MACHINE_ERRORS
from tests.lab.region.wiring import Wiring

LOG = logging.getLogger(__name__)
TRY_AGAIN_SECONDS = 0.2


class Attachments:
    """Works on moto's VolumeAttachment objects; an attachment that was replaced meanwhile is left alone."""

    def __init__(self, wiring: Wiring, delete_volume: Callable[[str], Any]) -> None:
        self._wiring = wiring
        self._delete_volume = delete_volume

    def attach(self, attachment: Any) -> None:
        """`attaching` from now on, `attached` when the machine has the disk."""
        set_status(attachment, "attaching")
        volume, instance = attachment.volume, attachment.instance

        def attempt() -> bool:
            if volume.attachment is not attachment or attachment.status != "attaching":
                return True
            if self._wiring.faults.is_stuck(volume.id, "attaching"):
                return False
            try:
                self._wiring.fleet.attach(instance.id, volume.id, volume.size)
            except MACHINE_ERRORS as error:
                LOG.info("cannot plug %s into %s yet: %s", volume.id, instance.id, error)
                return False
            with self._wiring.gate:
                if volume.attachment is attachment and attachment.status == "attaching":
                    set_status(attachment, "attached")
            return True

        name = f"{volume.id} plugged into {instance.id}"
        self._later(self._wiring.settings.delays.attach, name, attempt)

    def detach(self, attachment: Any, *, force: bool) -> None:
        """`detaching` from now on, `busy` while the guest holds the disk, then gone."""
        set_status(attachment, "detaching")
        volume, instance = attachment.volume, attachment.instance

        def attempt() -> bool:
            if volume.attachment is not attachment:
                return True
            if self._wiring.faults.is_stuck(volume.id, "detaching"):
                return False
            if self._still_holds(attachment) and not (force and self._wiring.fleet.is_dark(instance.id)):
                set_status(attachment, "busy")  # EC2 waits for the guest to let go; so do we
                return False
            with self._wiring.gate:
                if volume.attachment is attachment:
                    _drop(attachment)
            return True

        name = f"{instance.id} lets go of {volume.id}"
        self._later(self._wiring.settings.delays.detach, name, attempt)

    def release(self, instance: Any, held: Callable[[], list[Any]]) -> None:
        """The end of a terminated instance's attachments. held: the volumes it still has."""
        for volume in held():
            set_status(volume.attachment, "detaching")

        def attempt() -> bool:
            with self._wiring.gate:
                for volume in held():
                    if not self._wiring.faults.is_stuck(volume.id, "detaching"):
                        self._free(instance, volume)
                return not held()

        self._later(self._wiring.settings.delays.release, f"volumes of {instance.id} are free", attempt)

    def _free(self, instance: Any, volume: Any) -> None:
        block = instance.block_device_mapping.get(volume.attachment.device)
        _drop(volume.attachment)
        if block and block.delete_on_termination:
            self._delete_volume(volume.id)

    def _still_holds(self, attachment: Any) -> bool:
        fleet, instance_id = self._wiring.fleet, attachment.instance.id
        if fleet.is_dark(instance_id):
            return True
        try:
            fleet.detach(instance_id, attachment.volume.id)
        except MACHINE_ERRORS as error:
            LOG.info("%s holds %s: %s", instance_id, attachment.volume.id, error)
            return True
        return False

    def _later(self, seconds: float, name: str, attempt: Callable[[], bool]) -> None:
        timeline = self._wiring.timeline
        timeline.after(seconds, name, lambda: timeline.until(name, attempt, every=TRY_AGAIN_SECONDS))


def set_status(attachment: Any, status: str) -> None:
    """DescribeVolumes reads it from the attachment, DescribeInstances from the block device."""
    attachment.status = status
    block = attachment.instance.block_device_mapping.get(attachment.device)
    if block:
        block.status = status


def _drop(attachment: Any) -> None:
    attachment.status = "detached"
    attachment.volume.attachment = None
    attachment.instance.block_device_mapping.pop(attachment.device, None)
