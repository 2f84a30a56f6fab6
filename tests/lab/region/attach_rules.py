"""What EC2 says to AttachVolume and DetachVolume before it does anything. Pure; moto 5.2.5 has none of it.

Codes and their order: reference/etcd-pki.md 1.2; texts as EC2 words them.
"""

import re
from typing import Any

from moto.ec2.exceptions import EC2ClientError

# EBS device naming (EC2 user guide, "Available device names"): sd[a-z], sd[a-z][1-15], xvd[a-z], xvd[a-d][a-z].
DEVICE_NAME = re.compile(r"(/dev/)?(sd[a-z]([1-9]|1[0-5])?|xvd[a-z]|xvd[a-d][a-z]|hd[a-z]([1-9]|1[0-5])?)", re.ASCII)
ATTACHABLE_STATES = ("running", "stopped")


def check_attach(volume: Any, instance: Any, device: str, volume_limit: int) -> None:
    """Raises the EC2ClientError that AttachVolume would answer."""
    if volume.attachment is not None:
        raise EC2ClientError("VolumeInUse", f"{volume.id} is already attached to an instance")
    if volume.availability_zone != instance.availability_zone:
        raise EC2ClientError(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'",
        )
    if instance.state not in ATTACHABLE_STATES:
        raise EC2ClientError("IncorrectState", f"Instance '{instance.id}' is not 'running'.")
    if not device or not DEVICE_NAME.fullmatch(device):
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name.",
        )
    if _plain(device) in {_plain(taken) for taken in instance.block_device_mapping}:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use",
        )
    if len(instance.block_device_mapping) >= volume_limit:
        raise EC2ClientError(
            "AttachmentLimitExceeded",
            f"Cannot attach {volume.id}: instance {instance.id} has reached its limit of {volume_limit} volumes",
        )


def check_detach(volume: Any, instance_id: str | None, device: str | None) -> None:
    """Raises the EC2ClientError that DetachVolume would answer. instance_id and device may be left out."""
    attachment = volume.attachment
    if attachment is None:
        raise EC2ClientError("IncorrectState", f"Volume '{volume.id}' is in the 'available' state.")
    holder = attachment.instance
    if instance_id and instance_id != holder.id:
        raise EC2ClientError(
            "InvalidAttachment.NotFound", f"The volume '{volume.id}' is not attached to instance '{instance_id}'."
        )
    if device and device != attachment.device:
        raise EC2ClientError(
            "InvalidAttachment.NotFound",
            f"The volume '{volume.id}' is not attached to instance '{holder.id}' as device '{device}'.",
        )
    if attachment.device == holder.root_device_name and holder.state != "stopped":
        raise EC2ClientError(
            "OperationNotPermitted", f"Unable to detach root volume '{volume.id}' from instance '{holder.id}'"
        )


def _plain(device: str) -> str:
    return device.removeprefix("/dev/")
