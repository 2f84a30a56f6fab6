"""containerd's configuration in both dialects, read by TOML, and version 2 by containerd itself."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.units.machines import facts, manifest
from units.files import File
from units.plan import plan
from units.services.containerd import CNI_TEMPLATE, CONFIG, cni_template, config_text
from units.systemd import Unit

PAUSE = "registry.k8s.io/pause:3.10.2"
DIALECTS = {(1, 7): 2, (2, 0): 3, (2, 1): 3, (2, 3): 3}


def config(version: tuple[int, int], cni: str = "bridge") -> dict[str, Any]:
    return tomllib.loads(text_of(version, cni))


def text_of(version: tuple[int, int], cni: str = "bridge") -> str:
    a_manifest = manifest("node")
    network = a_manifest.network.model_copy(update={"cni": cni})
    return config_text(a_manifest.model_copy(update={"network": network}), facts(containerd_version=version))


@pytest.mark.parametrize("version", DIALECTS)
def test_each_version_gets_its_own_dialect(version: tuple[int, int]) -> None:
    assert config(version)["version"] == DIALECTS[version]


def test_the_second_dialect_says_what_a_node_needs() -> None:
    cri = config((1, 7))["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["sandbox_image"] == PAUSE
    assert cri["registry"] == {"config_path": "/etc/containerd/certs.d"}
    assert cri["cni"]["conf_template"] == CNI_TEMPLATE
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True


def test_the_third_dialect_says_the_same() -> None:
    plugins = config((2, 3))["plugins"]
    images, runtime = plugins["io.containerd.cri.v1.images"], plugins["io.containerd.cri.v1.runtime"]
    assert images["pinned_images"] == {"sandbox": PAUSE}
    assert images["registry"] == {"config_path": "/etc/containerd/certs.d"}
    assert runtime["cni"]["conf_template"] == CNI_TEMPLATE
    assert runtime["cni"]["bin_dirs"] == ["/opt/cni/bin"]
    assert runtime["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is True


@pytest.mark.parametrize("version", DIALECTS)
@pytest.mark.parametrize("cni", ["calico", "flannel", "cilium", "amazon-vpc", "none"])
def test_only_the_bridge_takes_its_network_from_a_template(version: tuple[int, int], cni: str) -> None:
    assert CNI_TEMPLATE not in text_of(version, cni)
    network = manifest("node").network.model_copy(update={"cni": cni})
    resources = plan(manifest("node", network=network), facts(containerd_version=version))
    assert f"file:{CNI_TEMPLATE}" not in [resource.key for resource in resources]


@pytest.mark.skipif(shutil.which("containerd") is None, reason="no containerd: apt install containerd")
def test_containerd_takes_over_every_setting_of_the_second_dialect(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text_of((1, 7)))
    ended = subprocess.run(
        ["containerd", "--config", str(path), "config", "dump"], capture_output=True, text=True, check=True, timeout=60
    )
    dumped = tomllib.loads(ended.stdout)
    assert ended.stderr == ""
    # It drops what it does not know: each of our settings must be there again, with our value.
    assert [path for path, value in leaves(config((1, 7))) if value != at(dumped, path)] == []


def leaves(value: Any, *path: str) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(value, dict):
        return [(path, value)]
    return [leaf for key, inner in value.items() for leaf in leaves(inner, *path, key)]


def at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def filled(template: str, ranges: list[str], routes: list[str]) -> Any:
    """What containerd's text/template makes of it: its two loops, done by hand."""
    for field, values in (("PodCIDRRanges", ranges), ("Routes", routes)):
        loop = re.compile(
            r"\{\{range \$i, \$(\w+) := \." + field + r"\}\}\{\{if \$i\}\}, \{\{end\}\}(.*?)\{\{end\}\}", re.DOTALL
        )
        match = loop.search(template)
        assert match, field
        body = ", ".join(match[2].replace("{{$" + match[1] + "}}", value) for value in values)
        template = template[: match.start()] + body + template[match.end() :]
    assert "{{" not in template
    return json.loads(template)


@pytest.mark.parametrize(
    ("ranges", "routes"),
    [(["100.96.1.0/24"], ["0.0.0.0/0"]), (["100.96.1.0/24", "fd00:1::/64"], ["0.0.0.0/0", "::/0"]), ([], [])],
)
def test_the_network_is_json_once_containerd_has_filled_it_in(ranges: list[str], routes: list[str]) -> None:
    network = filled(cni_template(), ranges, routes)
    assert network["cniVersion"] == "1.0.0"
    bridge, portmap = network["plugins"]
    assert bridge["ipam"] == {
        "type": "host-local",
        "ranges": [[{"subnet": subnet}] for subnet in ranges],
        "routes": [{"dst": route} for route in routes],
    }
    assert portmap["capabilities"] == {"portMappings": True}


def test_a_changed_configuration_restarts_containerd() -> None:
    def inputs(**changes: Any) -> str:
        resources = plan(manifest("node", **changes), facts())
        return next(r.inputs for r in resources if isinstance(r, Unit) and r.name == "containerd.service")

    assert inputs() == inputs()
    assert inputs() != inputs(pause_image="registry.k8s.io/pause:3.11")


def test_the_file_that_is_planned_is_the_one_that_was_judged() -> None:
    file = next(r for r in plan(manifest("node"), facts()) if r.key == f"file:{CONFIG}")
    assert isinstance(file, File)
    assert file.content == text_of((2, 3))
