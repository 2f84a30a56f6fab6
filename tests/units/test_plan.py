"""Planning: one claim on every thing, one member in every place, and every service's files before its start."""

import dataclasses
from typing import Any

import pytest

from pki.request import CertificateRequest
from tests.units.machines import empty_machine, facts, manifest
from tests.units.versions import MINORS, ROLES, plan_of
from units.converge import converge
from units.credentials import Certificate
from units.errors import Invalid
from units.manifest import EtcdCluster, EtcdMember, ExtraFile
from units.plan import Plan, plan
from units.pods import StaticPod
from units.systemd import Unit


def impossible(role: str = "node", *, zone: str = "eu-west-1a", **changes: Any) -> Invalid:
    with pytest.raises(Invalid) as invalid:
        plan(manifest(role, **changes), facts(zone=zone))
    return invalid.value


def keys(a_plan: Plan) -> list[str]:
    return [resource.key for resource in a_plan]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("minor", MINORS)
def test_every_version_and_role_converges_and_then_has_nothing_to_do(minor: int, role: str) -> None:
    machine = empty_machine()
    assert converge(plan_of(minor, role), machine.host).failure is None
    assert converge(plan_of(minor, role), machine.host).changed == ()


@pytest.mark.parametrize("role", ROLES)
def test_the_same_manifest_is_the_same_plan(role: str) -> None:
    one, other = plan(manifest(role), facts()), plan(manifest(role), facts())
    assert [resource.describe() for resource in one] == [resource.describe() for resource in other]


def test_keys_are_unique() -> None:
    for role in ROLES:
        assert len(set(keys(plan_of(36, role)))) == len(plan_of(36, role).resources)


# --- claims ---

ASSET_PATH = "/usr/local/bin/kubelet"


def test_an_extra_file_where_an_asset_goes_is_refused_with_the_path() -> None:
    error = impossible(files=(ExtraFile(path=ASSET_PATH, content="#!/bin/sh\n"),))
    assert error.code == "plan-impossible"
    assert [problem.path for problem in error.problems] == [ASSET_PATH]


def test_two_extra_files_at_one_path_are_refused() -> None:
    file = ExtraFile(path="/etc/motd", content="x")
    assert [problem.path for problem in impossible(files=(file, file)).problems] == ["/etc/motd"]


def test_an_extra_file_over_a_file_of_ours_outside_the_protected_folders_is_refused() -> None:
    for path in ("/etc/crictl.yaml", "/etc/sysctl.d/99-bootwright.conf", "/etc/modules-load.d/bootwright.conf"):
        error = impossible(files=(ExtraFile(path=path, content="x"),))
        assert [problem.path for problem in error.problems] == [path]


RESERVED = [
    "/etc/kubernetes/manifests/evil.yaml",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/etc/kubernetes/pki/ca/kubernetes.crt",
    "/etc/kubernetes",
    "/etc/hosts",
    "/etc/systemd/system/kubelet.service",
    "/etc/systemd/system/kubelet.service.d/10-evil.conf",
    "/usr/lib/systemd/system/containerd.service",
    "/run/systemd/system/bootwright-etcd-main.service",
    "/run/bootwright/etcd-main.env",
    "/run/bootwright/secrets/x",
    "/var/lib/etcd/main/data",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/bootwright/trust/root.json",
    "/etc/bootwright/agent.json",
    "/opt/bootwright/venv/bin/agent",
    "/etc/containerd/config.toml",
    "/etc/shadow",
    "/root/.ssh/authorized_keys",
]


@pytest.mark.parametrize("path", RESERVED)
def test_an_extra_file_among_what_is_bootwrights_is_refused_by_the_node_itself(path: str) -> None:
    error = impossible(files=(ExtraFile(path=path, content="x"),))
    assert error.code == "plan-impossible"
    assert [problem.path for problem in error.problems] == ["files[0].path"]
    assert path in error.problems[0].message


@pytest.mark.parametrize("path", RESERVED)
def test_an_asset_among_what_is_bootwrights_is_refused_by_the_node_itself(path: str) -> None:
    asset = manifest("node").assets[0].model_copy(update={"path": path})
    assert [problem.path for problem in impossible(assets=(asset,)).problems] == ["assets[0].path"]


@pytest.mark.parametrize(
    "path", ["/etc/containerd/certs.d/docker.io/hosts.toml", "/etc/motd", "/etc/systemd/system/node-exporter.service"]
)
def test_other_extra_files_are_planned(path: str) -> None:
    a_plan = plan(manifest("node", files=(ExtraFile(path=path, content="x"),)), facts())
    assert f"extra-file:{path}" in keys(a_plan)


def test_the_binaries_of_the_cni_are_assets_and_no_extra_files() -> None:
    kubelet = manifest("node").assets[0]
    bridge = kubelet.model_copy(update={"name": "bridge", "path": "/opt/cni/bin/bridge"})
    assert "asset:/opt/cni/bin/bridge" in keys(plan(manifest("node", assets=(kubelet, bridge)), facts()))
    assert impossible(files=(ExtraFile(path="/opt/cni/bin/bridge", content="x"),)).problems


# --- etcd members ---


def etcd(*members: tuple[str, str, str]) -> tuple[EtcdCluster, ...]:
    return (EtcdCluster(name="main", members=tuple(EtcdMember(name=n, zone=z, group=g) for n, z, g in members)),)


@pytest.mark.parametrize(
    ("members", "zone", "found"),
    [
        ((("a", "eu-west-1a", "cp-a"), ("b", "eu-west-1a", "cp-a")), "eu-west-1a", "found 2"),
        ((("a", "eu-west-1a", "cp-a"),), "eu-west-1b", "found 0"),
        ((("a", "eu-west-1a", "cp-b"),), "eu-west-1a", "found 0"),
        ((), "eu-west-1a", "found 0"),
    ],
    ids=["two in one place", "another zone", "another group", "none at all"],
)
def test_a_place_with_more_or_less_than_one_member_is_refused_with_an_explanation(
    members: tuple[tuple[str, str, str], ...], zone: str, found: str
) -> None:
    error = impossible("control-plane", zone=zone, etcd=etcd(*members))
    assert error.code == "etcd-member-ambiguous"
    assert found in error.message
    assert "etcdClusters" in error.remedy
    assert all(f"{name} ({group}, {where})" in error.message for name, where, group in members)


def test_each_member_of_three_is_planned_in_its_own_zone_with_the_same_initial_cluster() -> None:
    three = etcd(("a", "eu-west-1a", "cp-a"), ("b", "eu-west-1b", "cp-a"), ("c", "eu-west-1c", "cp-a"))
    initial = set()
    for name, zone in (("a", "eu-west-1a"), ("b", "eu-west-1b"), ("c", "eu-west-1c")):
        a_plan = plan(manifest("control-plane", etcd=three), facts(zone=zone))
        unit = next(r for r in a_plan if isinstance(r, Unit) and "etcd" in r.name)
        assert unit.content is not None
        words = [line.strip().removesuffix(" \\") for line in unit.content.splitlines()]
        assert f"--name={name}" in words
        initial |= {word for word in words if word.startswith("--initial-cluster=")}
        volume = next(r for r in a_plan if r.key == "volume:main")
        assert volume.describe().lines[0] == f"k8s.io/etcd/main = {{{name}}}/a,b,c"
    assert len(initial) == 1


def test_a_second_etcd_cluster_for_events_can_be_planned_and_converges() -> None:
    main = manifest().etcd[0]
    events = main.model_copy(update={"name": "events", "client_port": 2382, "peer_port": 2383, "metrics_port": 2384})
    a_plan = plan(manifest(etcd=(main, events)), facts())
    machine = empty_machine()
    assert converge(a_plan, machine.host).failure is None
    assert converge(a_plan, machine.host).changed == ()
    assert len(set(machine.volumes.formats)) == 2
    pod = next(r for r in a_plan if isinstance(r, StaticPod) and r.name == "kube-apiserver")
    assert pod.arguments["etcd-servers-overrides"] == "/events#https://127.0.0.1:2382"


# --- completeness ---


def without(role: str, part: str) -> Any:
    trust = manifest(role).trust
    if part == "service_account_keys":
        return trust.model_copy(update={"service_account_keys": ()})
    return trust.model_copy(update={"authorities": tuple(a for a in trust.authorities if a.name != part)})


@pytest.mark.parametrize("part", ["kubernetes", "front-proxy", "etcd-clients", "etcd-peers", "service_account_keys"])
def test_a_control_plane_that_lacks_trust_is_refused(part: str) -> None:
    with pytest.raises(Invalid) as invalid:
        plan(manifest().model_copy(update={"trust": without("control-plane", part)}), facts())
    assert [problem.path.split(".")[0] for problem in invalid.value.problems] == ["trust"]


def test_a_control_plane_without_a_main_etcd_is_refused() -> None:
    assert "etcd" in [problem.path for problem in impossible("control-plane", etcd=()).problems]


def test_a_bundle_that_is_no_certificate_is_refused_with_its_place() -> None:
    trust = manifest("node").trust
    broken = trust.authorities[0].model_copy(update={"bundle": "-----BEGIN CERTIFICATE-----\nAAAA\n"})
    with pytest.raises(Invalid) as invalid:
        plan(
            manifest("node").model_copy(update={"trust": trust.model_copy(update={"authorities": (broken,)})}), facts()
        )
    assert [problem.path for problem in invalid.value.problems] == ["trust.authorities[0].bundle"]


def test_a_name_that_no_certificate_may_carry_is_our_error() -> None:
    api = manifest().api.model_copy(update={"extra_sans": ("under_score..example",)})
    error = impossible("control-plane", api=api)
    assert "under_score..example" in str(error)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    group = manifest("node").group.model_copy(update={"kubelet": {"readOnlyPort": 10255}})
    error = impossible(
        group=group,
        files=(ExtraFile(path="/etc/hosts", content="x"),),
        components={"kubelet": {"anonymous-auth": "true"}, "kube_apiserver": {"token-auth-file": "/x"}},
    )
    assert {problem.path for problem in error.problems} == {
        "group.kubelet.readOnlyPort",
        "files[0].path",
        "components.kubelet.anonymous-auth",
        "components.kube_apiserver.token-auth-file",
    }


# --- order ---


def position(a_plan: Plan, key: str) -> int:
    return keys(a_plan).index(key)


def test_no_api_server_before_etcd_is_established_and_kubelet_last_of_all() -> None:
    a_plan = plan_of(36)
    assert position(a_plan, "etcd-established:main") < position(a_plan, "static-pod:kube-apiserver")
    assert keys(a_plan)[-1] == "unit:kubelet.service"


def test_etcd_starts_only_on_its_mounted_volume_and_after_its_decision() -> None:
    order = ["volume:main", "mount:/var/lib/etcd/main", "directory:/var/lib/etcd/main/data", "etcd-bootstrap:main"]
    order += ["unit:bootwright-etcd-main.service", "etcd-established:main"]
    assert sorted(order, key=lambda key: position(plan_of(36), key)) == order


def test_modules_come_before_the_sysctls_that_they_bring() -> None:
    a_plan = plan_of(36, "node")
    assert position(a_plan, "module:br_netfilter") < position(a_plan, "sysctl:net.bridge.bridge-nf-call-iptables")


def test_images_are_loaded_after_containerd_runs_and_before_kubelet_looks_for_them() -> None:
    a_plan = plan_of(33)
    images = [key for key in keys(plan(manifest(), facts())) if key.startswith("image:")]
    assert len(images) == 3
    order = keys(plan(manifest(), facts()))
    assert order.index("unit:containerd.service") < min(order.index(image) for image in images)
    assert max(order.index(image) for image in images) < order.index("static-pod:kube-apiserver")
    assert a_plan.resources


def test_a_worker_gets_nothing_of_the_control_plane() -> None:
    text = "\n".join(keys(plan_of(36, "node")))
    assert not [
        word
        for word in ("etcd", "static-pod:kube-api", "secret:", "front-proxy", "service-account", "apiserver")
        if word in text
    ]


# --- what restarts what ---


def changed_authority(name: str) -> set[str]:
    """The keys of the services that a second certificate in an authority's bundle restarts."""
    before = manifest()
    authorities = tuple(
        a.model_copy(update={"bundle": a.bundle * 2}) if a.name == name else a for a in before.trust.authorities
    )
    after = before.model_copy(update={"trust": before.trust.model_copy(update={"authorities": authorities})})

    def inputs(a_plan: Plan) -> dict[str, str]:
        units = {r.key: r.inputs for r in a_plan if isinstance(r, Unit)}
        return units | {r.key: r.reads for r in a_plan if isinstance(r, StaticPod)}

    one, other = inputs(plan(before, facts())), inputs(plan(after, facts()))
    return {key.partition(":")[2] for key in one if one[key] != other[key]}


@pytest.mark.parametrize(
    ("name", "restarted"),
    [
        # etcd never reloads an authority; the API server not etcd's, nor kubelets' (etcd-pki.md 3.4).
        ("etcd-peers", {"bootwright-etcd-main.service"}),
        ("etcd-clients", {"bootwright-etcd-main.service", "kube-apiserver"}),
        (
            "kubernetes",
            {
                "bootwright-issuer.socket",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-proxy",
                "kube-scheduler",
            },
        ),
        ("front-proxy", set()),
    ],
)
def test_a_new_authority_restarts_exactly_what_does_not_reload_it(name: str, restarted: set[str]) -> None:
    assert changed_authority(name) == restarted


# --- certificates ---


def certificates() -> dict[str, CertificateRequest]:
    return {r.path: r.request for r in plan_of(36) if isinstance(r, Certificate)}


def test_no_certificate_on_a_node_is_of_the_group_that_may_do_everything() -> None:
    assert not [path for path, request in certificates().items() if "system:masters" in request.organizations]


def test_the_api_servers_certificate_names_every_way_to_reach_it() -> None:
    request = certificates()["/etc/kubernetes/pki/apiserver/server.pem"]
    assert {
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
        "api.internal.prod.example.com",
        "ip-192-0-2-10.eu-west-1.compute.internal",
    } == set(request.dns_names)
    assert {"100.64.0.1", "192.0.2.10", "127.0.0.1", "::1", "10.99.0.2"} == set(request.ip_addresses)


def test_an_endpoint_that_is_an_address_is_an_address_in_the_certificate() -> None:
    api = manifest().api.model_copy(update={"endpoint": "10.99.0.100"})
    a_plan = plan(manifest(api=api), facts())
    request = next(r.request for r in a_plan if isinstance(r, Certificate) and r.path.endswith("apiserver/server.pem"))
    assert "10.99.0.100" in request.ip_addresses
    assert "10.99.0.100" not in request.dns_names


def test_each_private_key_is_in_one_certificate_only() -> None:
    machine = empty_machine()
    converge(plan_of(36), machine.host)
    found = [
        state.content.partition(b"-----BEGIN PRIVATE KEY-----")[2]
        for path, state in machine.files.entries.items()
        if path.endswith(".pem") and state.content
    ]
    assert len(found) == len(set(found)) == len(certificates())
    assert dataclasses.is_dataclass(machine)
