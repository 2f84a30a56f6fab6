"""What a kubelet may say of itself, what is kept for the system, and what an override does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.units.machines import facts, manifest
from units.manifest import Group
from units.plan import plan
from units.services.kubelet import arguments, configuration, may_set, own_labels, reserved, server_url
from units.systemd import Unit

LABELS = {
    "kubernetes.io/hostname": True,
    "kubernetes.io/arch": True,
    "kubernetes.io/os": True,
    "topology.kubernetes.io/zone": True,
    "topology.kubernetes.io/region": True,
    "node.kubernetes.io/instance-type": True,
    "example.com/pool": True,
    "pool": True,
    "kubelet.kubernetes.io/x": True,
    "x.kubelet.kubernetes.io/y": True,
    "node.kubernetes.io/anything": True,
    "x.node.kubernetes.io/y": True,
    "bootwright.io/group": True,
    "notkubernetes.io/x": True,
    "node-role.kubernetes.io/worker": False,
    "node-role.kubernetes.io/control-plane": False,
    "node-restriction.kubernetes.io/x": False,
    "kubernetes.io/role": False,
    "kops.k8s.io/instancegroup": False,
    "k8s.io/x": False,
    "topology.kubernetes.io/rack": False,
    "xkubelet.kubernetes.io/y": False,
}


@pytest.mark.parametrize(("label", "allowed"), LABELS.items())
def test_the_labels_that_noderestriction_leaves_to_a_kubelet(label: str, allowed: bool) -> None:
    assert may_set(label) is allowed


def test_a_group_label_that_a_kubelet_may_not_set_is_left_to_others() -> None:
    labels = own_labels(manifest("node"), facts())
    assert labels["example.com/pool"] == "general"
    assert not [label for label in labels if label.startswith("node-role.")]
    assert "node-role" not in arguments(manifest("node"), facts())["node-labels"]


def mebibytes(text: str) -> int:
    assert text.endswith("Mi")
    return int(text.removesuffix("Mi"))


def millicores(text: str) -> int:
    assert text.endswith("m")
    return int(text.removesuffix("m"))


@given(st.integers(0, 4096), st.integers(0, 4096), st.integers(1, 512), st.integers(0, 512))
def test_more_machine_never_means_less_reserved(gib: int, more_gib: int, cpus: int, more_cpus: int) -> None:
    gibibyte = 1024**3
    small = reserved(facts(memory_bytes=gib * gibibyte, cpus=cpus))
    large = reserved(facts(memory_bytes=(gib + more_gib) * gibibyte, cpus=cpus + more_cpus))
    assert mebibytes(small["memory"]) <= mebibytes(large["memory"])
    assert millicores(small["cpu"]) <= millicores(large["cpu"])
    assert mebibytes(small["memory"]) <= gib * 1024 // 4
    assert millicores(small["cpu"]) < 1000 * cpus


@pytest.mark.parametrize(
    ("gib", "cpus", "memory", "cpu"),
    [(4, 1, "1024Mi", "60m"), (8, 2, "1843Mi", "70m"), (16, 4, "2662Mi", "80m"), (64, 16, "5611Mi", "110m")],
)
def test_the_sliding_scale(gib: int, cpus: int, memory: str, cpu: str) -> None:
    assert reserved(facts(memory_bytes=gib * 1024**3, cpus=cpus)) == {"memory": memory, "cpu": cpu}


def configured(**kubelet: Any) -> dict[str, Any]:
    group = manifest("node").group
    return configuration(
        manifest("node", group=Group(**{**group.model_dump(), "kubelet": kubelet})), facts(resolved_active=False)
    )


def test_an_override_of_one_eviction_signal_keeps_the_others() -> None:
    found = configured(evictionHard={"memory.available": "500Mi"})["evictionHard"]
    assert found["memory.available"] == "500Mi"
    assert found["nodefs.available"] == "10%"
    assert len(found) == 5


def test_an_override_replaces_what_is_no_map_and_adds_what_we_do_not_set() -> None:
    found = configured(podPidsLimit=1000, maxPods=58, systemReserved={"cpu": "100m"})
    assert (found["podPidsLimit"], found["maxPods"], found["systemReserved"]) == (1000, 58, {"cpu": "100m"})


def test_an_override_of_what_the_system_keeps_is_merged_too() -> None:
    assert configured(kubeReserved={"cpu": "500m"})["kubeReserved"] == {"cpu": "500m", "memory": "1843Mi"}


def test_pods_do_not_get_the_stub_resolver_of_the_machine() -> None:
    assert configured()["resolvConf"] == "/etc/resolv.conf"
    assert configuration(manifest(), facts(resolved_active=True))["resolvConf"] == "/run/systemd/resolve/resolv.conf"


def test_a_control_plane_node_talks_to_its_own_api_server_and_a_worker_to_the_endpoint() -> None:
    assert server_url(manifest(), facts()) == "https://192.0.2.10:6443"
    assert server_url(manifest("node"), facts()) == "https://api.internal.prod.example.com:6443"


def test_the_nodes_name_is_the_same_everywhere() -> None:
    for choice, name in (
        ("instance-id", "i-0123456789abcdef0"),
        ("private-dns", "ip-192-0-2-10.eu-west-1.compute.internal"),
    ):
        a_manifest = manifest("node", node_name=choice)
        assert arguments(a_manifest, facts())["hostname-override"] == name
        certificates = next(r for r in plan(a_manifest, facts()) if r.key == "certificates:issuer")
        assert f"  subject CN=system:node:{name} O=system:nodes" in certificates.describe().lines


def test_taints_are_what_the_role_and_the_group_say() -> None:
    taints = configuration(manifest(), facts())["registerWithTaints"]
    assert taints == [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]
    assert configured()["registerWithTaints"] == [{"key": "example.com/batch", "value": "yes", "effect": "NoSchedule"}]


def test_the_critical_pods_get_no_longer_than_all_pods() -> None:
    # Otherwise kubelet does not start (etcd-pki.md 4.1, measured).
    config = configured()
    assert (config["shutdownGracePeriod"], config["shutdownGracePeriodCriticalPods"]) == ("30s", "10s")


@pytest.mark.parametrize(("version", "restarts"), [("1.35.3", True), ("1.36.2", False)])
def test_a_new_client_authority_restarts_the_kubelets_that_do_not_reload_it(version: str, restarts: bool) -> None:
    def inputs(twice: bool) -> str:
        a_manifest = manifest("node", kubernetes_version=version)
        (authority,) = a_manifest.trust.authorities
        bundle = authority.bundle * 2 if twice else authority.bundle
        trust = a_manifest.trust.model_copy(update={"authorities": (authority.model_copy(update={"bundle": bundle}),)})
        resources = plan(a_manifest.model_copy(update={"trust": trust}), facts())
        return next(r.inputs for r in resources if isinstance(r, Unit) and r.name == "kubelet.service")

    assert (inputs(twice=False) != inputs(twice=True)) is restarts


def test_another_binary_restarts_kubelet() -> None:
    def inputs(sha256: str) -> str:
        asset = manifest("node").assets[0].model_copy(update={"sha256": sha256})
        resources = plan(manifest("node", assets=(asset,)), facts())
        return next(r.inputs for r in resources if isinstance(r, Unit) and r.name == "kubelet.service")

    assert inputs("a" * 64) != inputs("b" * 64)
