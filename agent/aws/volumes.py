"""etcd's EBS volumes as EC2 has them: described, attached, detached, tagged. No decisions, no waiting.

Volumes are found by tags: `kubernetes.io/cluster/CLUSTER = owned` and `k8s.io/etcd/ETCD = MEMBER/ALL,MEMBERS`.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from agent.aws.ec2 import Ec2Access, explained
from units.errors import Refused, Retryable
from units.host import VolumeClaim
from units.volumes import CandidateVolume, VolumeAttachment

INTENT = "bootwright.io/format-intent"
FORMATTED = "bootwright.io/formatted"


@dataclass(frozen=True, slots=True)
class VolumeRecord:
    """The half of `units.evidence.DeviceEvidence` that EC2 knows."""

    created_from: str | None  # a snapshot or another volume
    intent_uuid: str | None
    formatted_uuid: str | None


class Ec2Volumes:
    """EC2 for one instance. Every method raises only BootwrightError, by the table in agent.aws.ec2."""

    def __init__(self, access: Ec2Access, *, instance_id: str) -> None:
        self._access = access
        self._instance_id = instance_id

    @cached_property
    def _client(self) -> Any:
        return self._access.client()

    def candidates(self, claim: VolumeClaim) -> tuple[CandidateVolume, ...]:
        """Every volume of this cluster's etcd, in any zone and state, with the states of its holders."""
        tag = f"k8s.io/etcd/{claim.etcd}"
        filters = [
            {"Name": f"tag:kubernetes.io/cluster/{claim.cluster}", "Values": ["owned"]},
            {"Name": "tag-key", "Values": [tag]},
        ]
        with self._explained("ec2:DescribeVolumes", f"volumes tagged {tag}"):
            pages = self._client.get_paginator("describe_volumes").paginate(Filters=filters)
            found = [volume for page in pages for volume in page["Volumes"]]
        holders = {attachment["InstanceId"] for volume in found for attachment in volume.get("Attachments", ())} - {
            self._instance_id
        }
        states = self._instance_states(holders)
        return tuple(_candidate(volume, tag, states) for volume in found)

    def device_names_in_use(self) -> frozenset[str]:
        """Device names of this instance's volumes, the image's own included."""
        with self._explained("ec2:DescribeInstances", self._instance_id):
            answer = self._client.describe_instances(InstanceIds=[self._instance_id])
        mappings = [
            mapping
            for reservation in answer["Reservations"]
            for instance in reservation["Instances"]
            for mapping in instance.get("BlockDeviceMappings", ())
        ]
        return frozenset(mapping["DeviceName"] for mapping in mappings)

    def attach(self, volume_id: str, device_name: str) -> None:
        """Begins the attachment; it is there when `candidates` says `attached`."""
        with self._explained("ec2:AttachVolume", volume_id):
            self._client.attach_volume(VolumeId=volume_id, InstanceId=self._instance_id, Device=device_name)

    def detach_own(self, volume_id: str) -> None:
        """Ends this instance's own attachment, and no other's; never by force."""
        with self._explained("ec2:DetachVolume", volume_id):
            self._client.detach_volume(VolumeId=volume_id, InstanceId=self._instance_id)

    def record(self, volume_id: str) -> VolumeRecord:
        """Refused `volume-dies-with-instance` for an attachment that would take the data with it."""
        with self._explained("ec2:DescribeVolumes", volume_id):
            volumes = self._client.describe_volumes(VolumeIds=[volume_id])["Volumes"]
        if not volumes:
            raise Retryable("ec2-not-visible", f"EC2 does not show {volume_id}", remedy="look at it in EC2")
        tags, attachments = _tags(volumes[0]), volumes[0].get("Attachments", ())
        if any(item["InstanceId"] == self._instance_id and item.get("DeleteOnTermination") for item in attachments):
            raise _dies_with_instance(volume_id, self._instance_id)
        return VolumeRecord(
            created_from=volumes[0].get("SnapshotId") or volumes[0].get("SourceVolumeId") or None,
            intent_uuid=tags.get(INTENT),
            formatted_uuid=tags.get(FORMATTED),
        )

    def record_intent(self, volume_id: str, uuid: str) -> None:
        self._tag(volume_id, INTENT, uuid)

    def record_formatted(self, volume_id: str, uuid: str) -> None:
        """The tag that says done comes first: between both calls a volume is never without a record."""
        self._tag(volume_id, FORMATTED, uuid)
        with self._explained("ec2:DeleteTags", volume_id):
            self._client.delete_tags(Resources=[volume_id], Tags=[{"Key": INTENT}])

    def _tag(self, volume_id: str, key: str, value: str) -> None:
        with self._explained("ec2:CreateTags", volume_id):
            self._client.create_tags(Resources=[volume_id], Tags=[{"Key": key, "Value": value}])

    def _instance_states(self, instance_ids: Iterable[str]) -> dict[str, str]:
        """By filter, not by id: an id that EC2 has forgotten would fail the whole call."""
        wanted = sorted(instance_ids)
        if not wanted:
            return {}
        with self._explained("ec2:DescribeInstances", ", ".join(wanted)):
            pages = self._client.get_paginator("describe_instances").paginate(
                Filters=[{"Name": "instance-id", "Values": wanted}]
            )
            return {
                instance["InstanceId"]: instance["State"]["Name"]
                for page in pages
                for reservation in page["Reservations"]
                for instance in reservation["Instances"]
            }

    def _explained(self, action: str, what: str) -> AbstractContextManager[None]:
        return explained(action, what, self._access.credentials().source)


def _dies_with_instance(volume_id: str, instance_id: str) -> Refused:
    return Refused(
        "volume-dies-with-instance",
        f"{volume_id} is set to be deleted when {instance_id} is terminated, and etcd's data with it",
        remedy=f"aws ec2 modify-instance-attribute --instance-id {instance_id} --block-device-mappings "
        '\'[{"DeviceName": NAME, "Ebs": {"DeleteOnTermination": false}}]\'; no launch template may list the volume',
    )


def _tags(volume: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in volume.get("Tags", ())}


def _candidate(volume: dict[str, Any], tag: str, states: dict[str, str]) -> CandidateVolume:
    return CandidateVolume(
        volume_id=volume["VolumeId"],
        zone=volume["AvailabilityZone"],
        state=volume["State"],
        tag=_tags(volume).get(tag, ""),
        attachments=tuple(
            VolumeAttachment(
                instance_id=attachment["InstanceId"],
                state=attachment["State"],
                instance_state=states.get(attachment["InstanceId"]),
            )
            for attachment in volume.get("Attachments", ())
        ),
        multi_attach=bool(volume.get("MultiAttachEnabled")),
    )
