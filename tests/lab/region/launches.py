"""What EC2 refuses in RunInstances, and the defaults it fills in, where moto does neither. Pure."""

import base64
import re
from collections.abc import Mapping
from typing import Any

from moto.ec2.exceptions import EC2ClientError

from tests.lab.region.settings import ROOT_DEVICE

Template = Mapping[str, Any]  # LaunchTemplateData; empty without a template
USER_DATA_LIMIT = 16384  # EC2 user guide, "User data": before base64
METADATA_TAG = re.compile(r"[0-9a-zA-Z\-_+=,.@:]{1,255}", re.ASCII)


def check_launch(parameters: dict[str, Any], user_data: Any, template: Template) -> None:
    """Raises the EC2ClientError that RunInstances would answer. user_data: base64 text or None."""
    user_data = user_data or template.get("UserData")
    if user_data and len(base64.b64decode(str(user_data))) > USER_DATA_LIMIT:
        raise EC2ClientError("InvalidParameterValue", f"User data is limited to {USER_DATA_LIMIT} bytes")
    options = _metadata_options(parameters, template)
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


def complete_launch(parameters: dict[str, Any], form: Mapping[str, str], template: Template) -> None:
    """IMDSv2 only, volumes that go with their instance, and always a root volume. form: the call as it came."""
    parameters["metadata_options"] = {"HttpTokens": "required"} | _metadata_options(parameters, template)
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


def profile_of_template(parameters: dict[str, Any], template: Template) -> dict[str, str]:
    """The instance profile that comes from the launch template, as associate_iam_instance_profile takes it.

    moto leaves it out, and so every instance of an auto scaling group would be without credentials.
    """
    if parameters.get("iam_instance_profile_name") or parameters.get("iam_instance_profile_arn"):
        return {}
    profile = template.get("IamInstanceProfile") or {}
    return {f"iam_instance_profile_{key.lower()}": str(value) for key, value in profile.items()}


def _metadata_options(parameters: dict[str, Any], template: Template) -> dict[str, Any]:
    return {**(template.get("MetadataOptions") or {}), **(parameters.get("metadata_options") or {})}
