"""Instance groups: machines that share a role, an image and a manifest."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from coordinator.spec.kubelet_fields import OWNED
from coordinator.spec.model import SpecModel
from coordinator.spec.words import LAST_MINOR, ImageId, Label, MachineType, Text, Zone
from units.kubelet_fields import kubelet_fields

_KUBELET_FIELDS: list[JsonValue] = [*sorted(kubelet_fields(LAST_MINOR) - OWNED.keys())]
_NAME = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_PREFIX = r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?)*"

LabelKey = Annotated[
    str,
    Text(rf"(?:{_PREFIX}/)?{_NAME}", "a label key: an optional DNS prefix and /, then a name", "example.com/pool", 317),
]
LabelValue = Annotated[
    str, Text(rf"(?:{_NAME})?", "at most 63 letters, digits, dashes, dots and underscores", "batch", 63)
]


# IAM's own rule for names of instance profiles.
ProfileName = Annotated[
    str, Text(r"[A-Za-z0-9+=,.@_-]+", "letters, digits and + = , . @ _ -", "nodes.prod.example.com", 128)
]


class Taint(SpecModel):
    """A taint the kubelet registers its node with."""

    key: LabelKey
    """The taint's key, in the syntax of a label key."""
    value: LabelValue = ""
    """The taint's value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    """What happens to pods that do not tolerate the taint."""


class InstanceGroup(SpecModel):
    """Machines of one kind. The group's name is its manifest's name in the signed repository."""

    name: Label
    """Unique name."""
    role: Literal["control-plane", "node"]
    """`control-plane` runs the API server, the controllers and etcd; `node` runs your pods."""
    machine_type: MachineType
    """EC2 instance type."""
    image: ImageId
    """The AMI, baked with packer/."""
    min_size: Annotated[int, Field(ge=0, le=5000)] = 1
    """Least number of machines."""
    max_size: Annotated[int, Field(ge=1, le=5000)] | None = None
    """Greatest number of machines. minSize when left out."""
    instance_profile: ProfileName | None = None
    """Name of the IAM instance profile that its machines carry. When left out, `control-plane.` or `nodes.` and the
    cluster's name. A worker is accepted into this group only with this profile; `coordinator iam` prints the policy."""
    zones: Annotated[tuple[Zone, ...], Field(max_length=16)] = ()
    """The zones machines are spread over. Every zone that has a subnet when left out."""
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=64)] = Field(default_factory=dict)
    """Node labels. `node-role.kubernetes.io/...` follows from the role and is not written here."""
    taints: Annotated[tuple[Taint, ...], Field(max_length=64)] = ()
    """Taints besides the one that every control-plane node gets."""
    kubelet: Annotated[
        dict[str, JsonValue], Field(max_length=128, json_schema_extra={"propertyNames": {"enum": _KUBELET_FIELDS}})
    ] = Field(default_factory=dict)
    """Fields of KubeletConfiguration (kubelet.config.k8s.io/v1beta1) to set or override, checked by name for the
    cluster's Kubernetes version: kubelet itself ignores a misspelt one."""

    @property
    def is_control_plane(self) -> bool:
        return self.role == "control-plane"
