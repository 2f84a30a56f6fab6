"""What EC2 refuses in RunInstances, and the defaults it fills in, where moto does neither. Pure."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from moto.ec2.exceptions import EC2ClientError

from tests.lab.region.settings import ROOT_DEVICE

USER_DATA_LIMIT = 16384  # EC2 user guide, "User data": before base64
METADATA_TAG = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}", re.ASCII)


def check_launch(parameters: dict[str, Any], user_data: Any) -> None:
    """Raises the EC2ClientError that RunInstances would answer. user_data: base64 text or None."""
    if user_data and len(base64.b64decode(str(user_data))) > USER_DATA_LIMIT:
        raise EC2ClientError("InvalidParameterValue", f"User data is limited to {USER_DATA_LIMIT} bytes")
    options = parameters.get("metadata_options") or {}
    if options.get("InstanceMetadataTags") != "enabled":
        return
    for key in (parameters.get("tags") or {}).get("instance", {}):
        # Tags in IMDS are path names, so keys with a slash are refused: all of Kubernetes' own.
        if not METADATA_TAG.fullmatch(key):
            raise EC2ClientError(
                "InvalidParameterValue",
                f"'{key}' is not a valid tag key. Tag keys must match pattern "
                "([0-9a-zA-Z\\-_+=,.@:]{1,255}), and must not be a reserved name ('.', '..', '_index')",
            )


def complete_launch(parameters: dict[str, Any], form: Mapping[str, str]) -> None:
    """IMDSv2 only, volumes that go with their instance, and always a root volume. form: the call as it came."""
    parameters["metadata_options"] = {"HttpTokens": "required"} | (parameters.get("metadata_options") or {})
    mappings = parameters.get("block_device_mappings")
    if not mappings:
        return
    for number, mapping in enumerate(mappings, start=1):
        # moto has filled in False by now; EC2's default for volumes of a launch is true.
        if f"BlockDeviceMapping.{number}.Ebs.DeleteOnTermination" not in form:
            mapping.get("Ebs", {})["DeleteOnTermination"] = True
    if ROOT_DEVICE not in {mapping["DeviceName"] for mapping in mappings}:
        root = {"DeviceName": ROOT_DEVICE, "Ebs": {"VolumeSize": 8, "DeleteOnTermination": True}}
        parameters["block_device_mappings"] = [root, *mappings]
