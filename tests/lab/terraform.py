"""What Terraform would make for a cluster, made by the same API calls: profiles, etcd's volume, instances, a group."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.lab.region.client import LabClient
from tests.lab.region.roles import CONTROL_PLANE, NODE

# What the issuer insists on: no IMDSv1, and no token for whoever sits behind a container network.
METADATA_OPTIONS = {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
VOLUME_GIB = 2


@dataclass(frozen=True, slots=True)
class Machines:
    """How the machines of one instance group are launched. tags: added to, or replacing, those that it has to have."""

    group: str
    role: str  # "control-plane" or "node", as in cluster.yaml
    instance_type: str
    user_data: str = field(repr=False)
    profile: str = ""  # the cluster's own for the role when left out
    subnet: str = ""  # the private one of the zone when left out
    image: str = ""  # the region's own when left out
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Terraform:
    client: LabClient
    cluster: str
    zone: str

    def profile(self, role: str) -> str:
        """The name that cluster.yaml expects unless it says otherwise."""
        return f"{'control-plane' if role == 'control-plane' else 'nodes'}.{self.cluster}"

    def make_profiles(self) -> None:
        iam = self.client.aws("iam")
        for role, iam_role in (("control-plane", CONTROL_PLANE), ("node", NODE)):
            self.make_profile(self.profile(role), iam_role, iam)

    def make_profile(self, name: str, iam_role: str, iam: Any = None) -> None:
        iam = iam or self.client.aws("iam")
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=iam_role)

    def make_volume(self) -> str:
        """The member's volume, tagged as kops tags it."""
        tags = {
            "Name": f"a.etcd-main.{self.cluster}",
            "k8s.io/etcd/main": "a/a",
            "k8s.io/role/control-plane": "1",
            f"kubernetes.io/cluster/{self.cluster}": "owned",
        }
        made = self.client.aws("ec2").create_volume(
            AvailabilityZone=self.zone,
            Size=VOLUME_GIB,
            VolumeType="gp3",
            TagSpecifications=[{"ResourceType": "volume", "Tags": _listed(tags)}],
        )
        return str(made["VolumeId"])

    def run_instance(self, machines: Machines) -> str:
        return self.client.run_instance(
            machines.group,
            user_data=machines.user_data,
            zone=self.zone,
            subnet=machines.subnet,
            profile=machines.profile or self.profile(machines.role),
            instance_type=machines.instance_type,
            image=machines.image,
            tags=self._tags(machines),
            MetadataOptions=METADATA_OPTIONS,
        )

    def make_auto_scaling_group(self, machines: Machines, size: int) -> None:
        """A launch template and a group of the instance group's name, which then launches `size` machines."""
        self.client.aws("ec2").create_launch_template(
            LaunchTemplateName=machines.group,
            LaunchTemplateData={
                "ImageId": self.client.outputs["image_id"],
                "InstanceType": machines.instance_type,
                "UserData": base64.b64encode(machines.user_data.encode()).decode(),
                "IamInstanceProfile": {"Name": machines.profile or self.profile(machines.role)},
                "MetadataOptions": METADATA_OPTIONS,
                "TagSpecifications": [{"ResourceType": "instance", "Tags": _listed(self._tags(machines))}],
            },
        )
        self.client.aws("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName=machines.group,
            MinSize=0,
            MaxSize=4,
            DesiredCapacity=size,
            LaunchTemplate={"LaunchTemplateName": machines.group, "Version": "$Default"},
            VPCZoneIdentifier=machines.subnet or self.client.outputs["private_subnet_ids"][self.zone],
            Tags=[{"Key": "Name", "Value": machines.group, "PropagateAtLaunch": True}],
        )

    def instances_of(self, group: str) -> list[str]:
        """What the auto scaling group of that name has launched."""
        found = self.client.aws("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        return [one["InstanceId"] for group in found["AutoScalingGroups"] for one in group["Instances"]]

    def _tags(self, machines: Machines) -> dict[str, str]:
        return {
            "Name": machines.group,
            f"k8s.io/role/{machines.role}": "1",
            f"kubernetes.io/cluster/{self.cluster}": "owned",
            "bootwright.io/group": machines.group,
            **machines.tags,
        }


def _listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
