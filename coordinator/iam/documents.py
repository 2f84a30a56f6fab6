"""Policy documents by role, and their limits."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from coordinator.iam.machines import control_plane, worker
from coordinator.iam.people import administrator, on_call, publisher, refresher, restorer
from coordinator.iam.place import Place
from coordinator.iam.statements import Statement
from coordinator.spec.cluster import ClusterSpec
from units.errors import Invalid

Document = dict[str, Any]

NODE: Final = "node"
CONTROL_PLANE: Final = "control-plane"
_PEOPLE: Final = {
    "publisher": publisher,
    "refresher": refresher,
    "on-call": on_call,
    "administrator": administrator,
    "restorer": restorer,
}
EC2_ONLY_ROLES: Final = (NODE, CONTROL_PLANE)
ROLES: Final = (*EC2_ONLY_ROLES, *_PEOPLE)
# All inline policies of a role together (IAM quotas); white space does not count.
LIMIT: Final = 10_240


@dataclass(frozen=True, slots=True)
class Wanted:
    """role: one of ROLES. profile: which instance profile, where the spec's groups of the role carry several."""

    role: str
    profile: str | None = None
    through_endpoints: bool = False


def policy(spec: ClusterSpec, place: Place, wanted: Wanted) -> Document:
    """The role's policy. Invalid for an unknown role or profile, and for a policy longer than IAM takes."""
    document = {"Version": "2012-10-17", "Statement": list(_statements(spec, place, wanted))}
    size = len(json.dumps(document, separators=(",", ":")))
    if size > LIMIT:
        raise Invalid(
            "iam-policy-too-long",
            f"the policy of {wanted.role!r} has {size} characters; IAM takes {LIMIT} for a role",
            remedy="spread the groups over several instance profiles (instanceGroups[].instanceProfile), or choose a "
            "shorter prefix in `store`",
        )
    return document


def profiles(spec: ClusterSpec, role: str) -> dict[str, tuple[str, ...]]:
    """Instance profile -> names of the groups of that role whose machines carry it."""
    found: dict[str, tuple[str, ...]] = {}
    for group in spec.instance_groups:
        if group.role == role:
            profile = group.instance_profile or ""
            found[profile] = (*found.get(profile, ()), group.name)
    return found


def trust_policy(place: Place) -> Document:
    """Who may assume a machine's role: EC2, for an instance. Nobody else, so a session's name is the instance's id."""
    suffix = ".cn" if place.partition == "aws-cn" else ""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": f"ec2.amazonaws.com{suffix}"},
                "Action": "sts:AssumeRole",
            }
        ],
    }


def _statements(spec: ClusterSpec, place: Place, wanted: Wanted) -> Iterator[Statement]:
    if wanted.role in _PEOPLE:
        return _PEOPLE[wanted.role](place)
    if wanted.role not in EC2_ONLY_ROLES:
        raise Invalid("iam-role-unknown", f"{wanted.role!r}; {', '.join(ROLES)} are allowed")
    groups = _groups(spec, wanted)
    make = worker if wanted.role == NODE else control_plane
    return make(place, groups, through_endpoints=wanted.through_endpoints)


def _groups(spec: ClusterSpec, wanted: Wanted) -> tuple[str, ...]:
    found = profiles(spec, wanted.role)
    if not found:
        raise Invalid("iam-no-groups", f"{spec.name} has no instance group with the role {wanted.role}")
    if wanted.profile is None and len(found) > 1:
        raise Invalid(
            "iam-profile-needed",
            f"the {wanted.role} groups of {spec.name} carry {len(found)} instance profiles: {', '.join(sorted(found))}",
            remedy=f"add --profile {min(found)}, or --all for every one",
        )
    profile = wanted.profile or next(iter(found))
    if profile not in found:
        raise Invalid(
            "iam-profile-unknown",
            f"no {wanted.role} group carries the instance profile {profile!r}; {', '.join(sorted(found))} are allowed",
        )
    _refuse_shared(spec, profile)
    return found[profile]


def _refuse_shared(spec: ClusterSpec, profile: str) -> None:
    roles = sorted({group.role for group in spec.instance_groups if group.instance_profile == profile})
    if len(roles) > 1:
        raise Invalid(
            "iam-profile-shared",
            f"the instance profile {profile!r} is carried by groups of the roles {' and '.join(roles)}: workers could "
            "open the cluster's CA keys",
            remedy="give them different instanceProfiles",
        )
