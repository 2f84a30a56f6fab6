"""Reading moto's backends: which instance has this address, and what IMDS and policies need to know of it."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from moto.iam.models import iam_backends

from tests.lab.region.dhcp import Lease
from tests.lab.region.ec2 import GONE, StrictEC2Backend
from tests.lab.region.metadata import TIME, InstanceView
from tests.lab.region.policy import Statement
from tests.lab.region.roles import CONTROL_PLANE
from tests.lab.region.settings import ACCOUNT

CONTROL_PLANE_TAGS = ("k8s.io/role/control-plane", "k8s.io/role/master")


class Directory:
    def __init__(self, backend: StrictEC2Backend) -> None:
        self._backend = backend

    def at_address(self, address: str) -> tuple[InstanceView, str] | None:
        """The living instance with this private address, and the id of its role ("" without one)."""
        for instance in self._backend.all_instances():
            if instance.private_ip == address and instance.state not in GONE:
                return self._view(instance)
        return None

    def lease(self, mac: str) -> Lease | None:
        """The address of the living instance with this hardware address."""
        for instance in self._backend.all_instances():
            if instance.state not in GONE and instance.nics[0].mac_address == mac:
                return Lease(str(instance.private_ip), instance.private_dns_name)
        return None

    def instance_at(self, address: str) -> str:
        """The id of the living instance with this private address, "" when there is none."""
        found = self.at_address(address)
        return found[0].id if found else ""

    def control_plane_addresses(self) -> tuple[str, ...]:
        """Where the load balancer sends API traffic: running instances with the role's tag or profile."""
        return tuple(
            sorted(
                str(instance.private_ip)
                for instance in self._backend.all_instances()
                if instance.state == "running" and self._is_control_plane(instance)
            )
        )

    def statements(self, role: str) -> tuple[Statement, ...]:
        """The role's inline and attached policies, as moto's IAM has them now."""
        found = self._role(role)
        if found is None:
            return ()
        documents = [*found.policies.values(), *(policy.document for policy in found.managed_policies.values())]
        return tuple(statement for document in documents for statement in _statements(document))

    def tags_of(self, resource_id: str) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in self._backend.describe_tags({"resource-id": [resource_id]})}

    def place_of(self, instance_id: str) -> tuple[str, str] | None:
        """VPC and private address of an instance, None when there is none of that id."""
        instance = self._backend.get_instance_by_id(instance_id)
        if instance is None:
            return None
        return self._backend.get_subnet(instance.subnet_id).vpc_id, str(instance.private_ip)

    def vpcs(self) -> dict[str, str]:
        return {vpc.id: vpc.cidr_block for vpc in list(self._backend.vpcs.values())}

    def role_ids(self) -> dict[str, str]:
        return {role.name: role.id for role in iam_backends[ACCOUNT]["aws"].get_roles()}

    def profile_name(self, instance: Any) -> str:
        profile = self._profile(instance)
        return profile.name if profile else ""

    def _is_control_plane(self, instance: Any) -> bool:
        tags = {tag["key"] for tag in instance.get_tags()}
        return self.profile_name(instance) == CONTROL_PLANE or not tags.isdisjoint(CONTROL_PLANE_TAGS)

    def _role(self, name: str) -> Any:
        roles = iam_backends[ACCOUNT]["aws"].get_roles()
        return next((role for role in roles if role.name == name), None)

    def _profile(self, instance: Any) -> Any:
        association = self._backend.iam_instance_profile_associations.get(instance.id)
        return association.iam_instance_profile if association else None

    def _view(self, instance: Any) -> tuple[InstanceView, str]:
        interface = instance.nics[0]
        subnet = self._backend.get_subnet(instance.subnet_id)
        profile = self._profile(instance)
        role = profile.roles[0] if profile and profile.roles else None
        key = self._backend.key_pairs.get(instance.key_name or "")
        options = instance.metadata_options
        show_tags = options.instance_metadata_tags == "enabled"
        view = InstanceView(
            id=instance.id,
            image_id=instance.image_id,
            instance_type=instance.instance_type,
            architecture=instance.architecture or "x86_64",
            zone=instance.availability_zone,
            zone_id=subnet.availability_zone_id,
            region=self._backend.region_name,
            private_ip=instance.private_ip,
            hostname=instance.private_dns_name,
            mac=interface.mac_address,
            interface_id=interface.id,
            subnet_id=subnet.id,
            subnet_cidr=subnet.cidr_block,
            vpc_id=subnet.vpc_id,
            vpc_cidr=self._backend.get_vpc(subnet.vpc_id).cidr_block,
            security_groups=tuple((group.id, group.name) for group in interface.group_set),
            reservation_id=self._reservation(instance),
            launch_index=instance.ami_launch_index,
            launched=instance.launch_time.strftime(TIME),
            profile_arn=profile.arn if profile else "",
            profile_id=profile.id if profile else "",
            role=role.name if role else "",
            key_name=key.key_name if key else "",
            public_key=key.public_key if key else "",
            user_data=_user_data(instance.user_data),
            tags={tag["key"]: tag["value"] for tag in instance.get_tags()} if show_tags else {},
            tokens_required=options.http_tokens != "optional",
            endpoint_enabled=options.http_endpoint != "disabled",
            hop_limit=options.http_put_response_hop_limit or 1,
        )
        return view, role.id if role else ""

    def _reservation(self, instance: Any) -> str:
        for reservation in list(self._backend.reservations.values()):
            if instance in reservation.instances:
                return str(reservation.id)
        return ""


def _user_data(value: Any) -> bytes | None:
    """moto keeps what the API got: base64 (a class of its own, or text from a launch template)."""
    return base64.b64decode(str(value or "")) or None


def _statements(document: str) -> Iterator[Statement]:
    found = json.loads(document)["Statement"]
    yield from [found] if isinstance(found, dict) else found
