"""Sample manifests with fixed, public authorities: the same bytes in every run, so that goldens are stable."""

import json
from pathlib import Path

from units.manifest import (
    Api,
    Asset,
    Authority,
    Cluster,
    EtcdCluster,
    EtcdMember,
    ExtraFile,
    Group,
    Identity,
    Image,
    Manifest,
    Network,
    NodeGroup,
    Taint,
    Trust,
)

PUBLIC = json.loads((Path(__file__).parent / "golden" / "public.json").read_text())
VERSION = "1.36.2"


def manifest(role: str = "control-plane", **changes: object) -> Manifest:
    control_plane = role == "control-plane"
    names = ("kubernetes", "front-proxy", "etcd-clients", "etcd-peers") if control_plane else ("kubernetes",)
    components = ("kube-apiserver", "kube-controller-manager", "kube-scheduler") if control_plane else ()
    fields: dict[str, object] = {
        "cluster": Cluster(name="prod.example.com", uid="7f3a1c", region="eu-west-1"),
        "group": Group(
            name="cp-a" if control_plane else "workers",
            role=role,
            zones=("eu-west-1a",) if control_plane else ("eu-west-1a", "eu-west-1b"),
            labels={} if control_plane else {"example.com/pool": "general", "node-role.kubernetes.io/worker": ""},
            taints=() if control_plane else (Taint(key="example.com/batch", value="yes", effect="NoSchedule"),),
        ),
        "kubernetes_version": VERSION,
        "network": Network(
            vpc="vpc-0d1d2d3d4d5d6d7d8",
            network_cidr="10.99.0.0/20",
            pod_cidr="100.96.0.0/11",
            service_cidr="100.64.0.0/16",
        ),
        "api": Api(endpoint="api.internal.prod.example.com", extra_sans=("10.99.0.2",)),
        "etcd": (EtcdCluster(name="main", members=(EtcdMember(name="a", zone="eu-west-1a", group="cp-a"),)),)
        if control_plane
        else (),
        "trust": Trust(
            authorities=tuple(Authority(name=name, bundle=PUBLIC[name]) for name in names),
            service_account_keys=(PUBLIC["service-account"],) if control_plane else (),
            service_account_issuer="https://api.internal.prod.example.com:6443",
            secrets_key="awskms:arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        ),
        "identity": Identity(
            sts_endpoint="https://sts.eu-west-1.amazonaws.com",
            node_groups=(
                NodeGroup(
                    name="workers",
                    instance_profile="nodes.prod.example.com",
                    labels={"node-role.kubernetes.io/worker": ""},
                ),
            )
            if control_plane
            else (),
        ),
        "assets": (Asset(name="kubelet", sha256="a" * 64, size=84_000_000, path="/usr/local/bin/kubelet"),),
        "images": tuple(
            Image(reference=f"registry.k8s.io/{name}:v{VERSION}", sha256="b" * 64, size=119_000_000)
            for name in components
        ),
        "files": (ExtraFile(path="/etc/motd", content="prod.example.com\n"),),
    }
    return Manifest.model_validate({**fields, **changes})
