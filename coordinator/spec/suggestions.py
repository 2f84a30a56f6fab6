"""Did you mean ...? For keys and values that are nearly right, or right in kops."""

import difflib
import re
from collections.abc import Collection

# What kops calls it -> what it is called here.
KOPS_KEYS = {
    "additionalSANs": "api.extraSANs",
    "additionalSans": "api.extraSANs",
    "authorizedKeys": "sshKey.publicKey",
    "configBase": "store",
    "configStore": "store",
    "containerRuntime": "components.containerd",
    "dnsZone": "dns.zoneID",
    "etcd": "etcdClusters or components.etcd",
    "etcdMembers": "members",
    "encryptedVolume": "volume.encrypted",
    "fileAssets": "files",
    "kmsKeyId": "volume.kmsKey",
    "kubeAPIServer": "components.kubeAPIServer.extraArgs",
    "kubeControllerManager": "components.kubeControllerManager.extraArgs",
    "kubeProxy": "components.kubeProxy.extraArgs",
    "kubeScheduler": "components.kubeScheduler.extraArgs",
    "kubelet": "instanceGroups[].kubelet",
    "kubernetesApiAccess": "api.adminCIDRs",
    "masterPublicName": "api.endpoint",
    "networkCIDR": "network.cidr",
    "networkID": "network.vpc",
    "networking": "network.cni",
    "nodeLabels": "labels",
    "nonMasqueradeCIDR": "network.podCIDR and network.serviceCIDR",
    "podCIDR": "network.podCIDR",
    "serviceClusterIPRange": "network.serviceCIDR",
    "spec": "its fields directly at the top level",
    "sshKeyName": "sshKey.name",
    "subnets": "network.subnets, or zones in an instance group",
    "topology": "topology of each of network.subnets",
    "volumeIOPS": "volume.iops",
    "volumeIops": "volume.iops",
    "volumeSize": "volume.sizeGiB",
    "volumeThroughput": "volume.throughput",
    "volumeType": "volume.type",
}
KOPS_VALUES = {
    "ControlPlane": "control-plane",
    "Master": "control-plane",
    "controlplane": "control-plane",
    "master": "control-plane",
    "Node": "node",
    "Worker": "node",
    "worker": "node",
    "amazonvpc": "amazon-vpc",
    "aws-vpc": "amazon-vpc",
    "aws-vpc-cni": "amazon-vpc",
    "kubenet": "bridge",
    "utility": "public",
    "Private": "private",
    "Public": "public",
}


def nearest(word: str, known: Collection[str], cutoff: float = 0.7) -> str | None:
    """The known word that was probably meant; `cutoff` is how alike the two must be, from 0 to 1."""
    bare = {_bare(candidate): candidate for candidate in known}
    if _bare(word) in bare:
        return bare[_bare(word)]
    close = difflib.get_close_matches(_bare(word[:100]), bare, n=1, cutoff=cutoff)
    return bare[close[0]] if close else None


def did_you_mean_key(key: str, known: Collection[str]) -> str:
    near = nearest(key, known)
    if key in KOPS_KEYS and (near is None or _bare(near) != _bare(key)):
        return f"kops's {key} is {KOPS_KEYS[key]} here"
    return f"did you mean {near}?" if near is not None else ""


def did_you_mean_value(value: str, known: Collection[str]) -> str:
    near = KOPS_VALUES.get(value)
    near = near if near in known else nearest(value, known)
    return f"did you mean {near}?" if near is not None else ""


def _bare(word: str) -> str:
    return re.sub(r"[^a-z0-9]", "", word.lower())


def either(words: Collection[str]) -> str:
    """`a, b or c`."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
