"""containerd: its config in the version's own dialect, the unit, and the image archives that the manifest names."""

from collections.abc import Iterator

from units import paths
from units.content import LoadedImage
from units.facts import NodeFacts
from units.files import Directory, File
from units.manifest import Manifest
from units.render import json_text, template_text
from units.resource import Resource
from units.systemd import Unit, reads

CONFIG = "/etc/containerd/config.toml"
CNI_TEMPLATE = "/etc/containerd/cni-conf.template"
FIRST_WITH_VERSION_3 = (2, 0)


def containerd(manifest: Manifest, facts: NodeFacts) -> Iterator[Resource]:
    config = File(CONFIG, config_text(manifest, facts))
    template = File(CNI_TEMPLATE, cni_template())
    yield Directory("/etc/containerd")
    yield Directory("/etc/containerd/certs.d")
    yield Directory("/etc/cni/net.d")
    yield config
    if manifest.network.cni == "bridge":
        yield template
    yield File(
        "/etc/crictl.yaml",
        f"runtime-endpoint: {paths.CONTAINERD_SOCKET}\nimage-endpoint: {paths.CONTAINERD_SOCKET}\n",
    )
    yield Unit("containerd.service", reads=reads(config, template))
    for image in manifest.images:
        yield LoadedImage(image)


def config_text(manifest: Manifest, facts: NodeFacts) -> str:
    """Version 3 for containerd 2.x, version 2 for 1.7 (etcd-pki.md 5.1)."""
    dialect = "v3" if facts.containerd_version >= FIRST_WITH_VERSION_3 else "v2"
    template = CNI_TEMPLATE if manifest.network.cni == "bridge" else ""
    return template_text(f"containerd-{dialect}.toml", pause_image=manifest.pause_image, cni_template=template)


def cni_template() -> str:
    """Filled in by containerd once the controller manager has given this node its pod CIDR (kubenet's way)."""
    ranges = '{{range $i, $range := .PodCIDRRanges}}{{if $i}}, {{end}}[{"subnet": "{{$range}}"}]{{end}}'
    routes = '{{range $i, $route := .Routes}}{{if $i}}, {{end}}{"dst": "{{$route}}"}{{end}}'
    conflist = {
        "cniVersion": "1.0.0",
        "name": "bootwright-bridge",
        "plugins": [
            {
                "type": "bridge",
                "bridge": "cbr0",
                "isGateway": True,
                "ipMasq": True,
                "hairpinMode": True,
                "ipam": {"type": "host-local", "ranges": "RANGES", "routes": "ROUTES"},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    text = json_text(conflist)
    return text.replace('"RANGES"', f"[{ranges}]").replace('"ROUTES"', f"[{routes}]")
