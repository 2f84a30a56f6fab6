"""The roles and instance profiles of a lab account: always those documents that `coordinator iam` prints."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from coordinator.iam import EC2_ONLY_ROLES, Keys, Wanted, place_of, policy, profiles, trust_policy
from coordinator.spec import ClusterSpec, load_spec
from tests.lab.region.settings import ACCOUNT

NODE = "node"
CONTROL_PLANE = "control-plane"
POLICY = "bootwright"
PEOPLE = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}, "Action": "sts:AssumeRole"}
    ],
}

# What machines of tests without a cluster run as: in a cluster of this name, in a bucket of this name.
CLUSTER = "lab.example.com"
BUCKET = "lab-cluster"
SPEC = """\
apiVersion: bootwright.io/v1
kind: Cluster
metadata:
  name: {cluster}
kubernetesVersion: 1.36.2
region: {region}
store: s3://{bucket}
network:
  vpc: {vpc}
  cidr: 10.99.0.0/20
  subnets:
    - zone: {zone}
      id: {subnet}
api:
  endpoint: api.lab.example.com
instanceGroups:
  - name: control-plane-a
    role: control-plane
    machineType: m6i.large
    image: {image}
    instanceProfile: {control_plane}
  - name: nodes
    role: node
    machineType: t3.medium
    image: {image}
    instanceProfile: {node}
trust:
  secretsKey: awskms:{kms}
"""


def lab_spec(outputs: Mapping[str, Any]) -> ClusterSpec:
    """outputs: what the region was provisioned with, roles aside."""
    zone = outputs["zones"][0]
    return load_spec(
        SPEC.format(
            cluster=CLUSTER,
            bucket=BUCKET,
            region=outputs["region"],
            vpc=outputs["vpc_id"],
            zone=zone,
            subnet=outputs["private_subnet_ids"][zone],
            image=outputs["image_id"],
            kms=outputs["kms_key_arn"],
            control_plane=CONTROL_PLANE,
            node=NODE,
        )
    )


def make_lab_roles(iam: Any, outputs: Mapping[str, Any]) -> dict[str, str]:
    """Profiles `control-plane` and `node`, for machines of no cluster that was founded. Name -> ARN."""
    spec = lab_spec(outputs)
    place = place_of(spec, Keys(secrets=outputs["kms_key_arn"]))
    return {
        profile: make_profile(iam, profile, trust_policy(place), policy(spec, place, Wanted(role)))
        for role in EC2_ONLY_ROLES
        for profile in profiles(spec, role)
    }


def make_profile(iam: Any, name: str, trust: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """What Terraform would make: role, policy and instance profile of one name. Its ARN."""
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    iam.put_role_policy(RoleName=name, PolicyName=POLICY, PolicyDocument=json.dumps(document))
    profile = iam.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    return str(profile["Arn"])


def grant(iam: Any, cluster: str, documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the policies of a founded cluster, as `coordinator iam --all` prints them, on the account's roles.

    The machines' are those that every lab has; the people's are made, for whoever assumes them.
    """
    machines = {f"control-plane.{cluster}": CONTROL_PLANE, f"nodes.{cluster}": NODE}
    for name, document in documents.items():
        role = machines.get(name, name)
        with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
            iam.create_role(RoleName=role, AssumeRolePolicyDocument=json.dumps(PEOPLE))
        iam.put_role_policy(RoleName=role, PolicyName=POLICY, PolicyDocument=json.dumps(document))
