"""Extra arguments for the programs of a node."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from coordinator.spec.model import SpecModel
from coordinator.spec.words import Text


def _as_written(value: object) -> object:
    """`v: 4` and `profiling: false` are what people write; a flag's value is text in the end."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


def _hint_flag(value: str) -> str:
    bare = value.lstrip("-").split("=", 1)[0].replace("_", "-").lower()
    return f"did you mean {bare}?" if bare and bare != value else ""


Flag = Annotated[
    str, Text(r"[a-z][a-z0-9-]*", "a flag's name without dashes in front", "audit-log-maxage", 100, _hint_flag)
]
FlagValue = Annotated[
    str,
    Text(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]*", "text on one line", '"30"', 4096),
    BeforeValidator(_as_written, json_schema_input_type=str | int | float | bool),
]


class Component(SpecModel):
    """One program."""

    extra_args: Annotated[dict[Flag, FlagValue], Field(max_length=200)] = Field(default_factory=dict)
    """Flags to add or override: name without dashes -> value. Flags that the cluster's Kubernetes version has removed,
    that bootwright sets from other fields, or that open a hole are refused."""


class KubeProxy(Component):
    """The service proxy on every node."""

    enabled: bool = True
    """`false` where the network add-on does its work (Cilium with kubeProxyReplacement)."""
    mode: Literal["nftables", "iptables"] | None = None
    """How it programs the kernel. When left out: nftables from Kubernetes 1.33 on (stable there), else iptables."""


class Components(SpecModel):
    """Extra arguments, per program."""

    kube_api_server: Component = Component()
    """kube-apiserver."""
    kube_controller_manager: Component = Component()
    """kube-controller-manager."""
    kube_scheduler: Component = Component()
    """kube-scheduler."""
    kubelet: Component = Component()
    """kubelet, on every node. Most of kubelet's settings are fields of `instanceGroups[].kubelet`, not flags."""
    kube_proxy: KubeProxy = KubeProxy()
    """kube-proxy."""
    etcd: Component = Component()
    """etcd, every cluster."""
    containerd: Component = Component()
    """containerd, on every node."""
