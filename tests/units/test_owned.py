"""What an operator may not set is refused by the node itself, whoever signed it and whatever a coordinator checked."""

from typing import Any

import pytest

from coordinator.spec import files as spec_files
from coordinator.spec import flags as spec_flags
from coordinator.spec import kubelet_fields as spec_kubelet
from tests.units.machines import facts, manifest
from tests.units.versions import command_line
from units import owned
from units.errors import Invalid, Problem
from units.manifest import ExtraFile, Manifest
from units.plan import plan
from units.soundness import problems_in

COMPONENTS = {
    "kubeAPIServer": "kube_apiserver",
    "kubeControllerManager": "kube_controller_manager",
    "kubeScheduler": "kube_scheduler",
    "kubelet": "kubelet",
    "kubeProxy": "kube_proxy",
    "etcd": "etcd",
}


def with_flag(component: str, flag: str, value: str = "x") -> Manifest:
    if component == "etcd":
        cluster = manifest().etcd[0].model_copy(update={"extra_args": {flag: value}})
        return manifest(etcd=(cluster,))
    return manifest(components={component: {flag: value}})


def problems(a_manifest: Manifest) -> tuple[Problem, ...]:
    """Found by the function, and the same when planned."""
    found = problems_in(a_manifest)
    if found:
        with pytest.raises(Invalid) as invalid:
            plan(a_manifest, facts())
        assert (invalid.value.code, invalid.value.problems) == ("plan-impossible", found)
    return found


SECURITY = [
    ("kube_apiserver", "client-ca-file", "/etc/evil.crt"),
    ("kube_apiserver", "authorization-mode", "AlwaysAllow"),
    ("kube_apiserver", "anonymous-auth", "true"),
    ("kube_apiserver", "authorization-config", "/etc/evil.yaml"),
    ("kube_apiserver", "authentication-config", "/etc/evil.yaml"),
    ("kube_apiserver", "token-auth-file", "/etc/tokens"),
    ("kube_apiserver", "authorization-policy-file", "/etc/abac"),
    ("kube_apiserver", "admission-control", "AlwaysAdmit"),
    ("kube_apiserver", "etcd-servers", "https://evil:2379"),
    ("kube_apiserver", "etcd-cafile", "/etc/evil.crt"),
    ("kube_apiserver", "etcd-prefix", "/empty"),
    ("kube_apiserver", "tls-cert-file", "/etc/evil.crt"),
    ("kube_apiserver", "tls-private-key-file", "/etc/evil.key"),
    ("kube_apiserver", "kubelet-certificate-authority", "/etc/evil.crt"),
    ("kube_apiserver", "requestheader-allowed-names", ""),
    ("kube_apiserver", "service-account-key-file", "/etc/evil.pub"),
    ("kube_apiserver", "tls-min-version", "VersionTLS10"),
    ("kube_apiserver", "enable-admission-plugins", "AlwaysAdmit,NodeRestriction"),
    ("kube_apiserver", "enable-admission-plugins", "EventRateLimit"),
    ("kube_apiserver", "disable-admission-plugins", "PodSecurity,NodeRestriction"),
    ("kube_apiserver", "service-account-lookup", "false"),
    ("kube_controller_manager", "cluster-signing-key-file", "/etc/evil.key"),
    ("kube_controller_manager", "use-service-account-credentials", "false"),
    ("kube_controller_manager", "authorization-always-allow-paths", "/*"),
    ("kube_controller_manager", "bind-address", "0.0.0.0"),
    ("kube_scheduler", "bind-address", "0.0.0.0"),
    ("kube_scheduler", "authorization-always-allow-paths", "/*"),
    ("kubelet", "anonymous-auth", "true"),
    ("kubelet", "authorization-mode", "AlwaysAllow"),
    ("kubelet", "client-ca-file", "/etc/evil.crt"),
    ("kubelet", "read-only-port", "10255"),
    ("kubelet", "pod-manifest-path", "/etc/evil"),
    ("kubelet", "manifest-url", "http://evil/"),
    ("kubelet", "config-dir", "/etc/evil"),
    ("kubelet", "node-labels", "node-role.kubernetes.io/control-plane="),
    ("kubelet", "hostname-override", "somebody-else"),
    ("etcd", "client-cert-auth", "false"),
    ("etcd", "peer-client-cert-auth", "false"),
    ("etcd", "auto-tls", "true"),
    ("etcd", "trusted-ca-file", "/etc/evil.crt"),
    ("etcd", "listen-client-urls", "http://0.0.0.0:2379"),
    ("etcd", "listen-metrics-urls", "http://0.0.0.0:2381"),
    ("etcd", "initial-cluster-state", "new"),
    ("etcd", "force-new-cluster", "true"),
    ("etcd", "data-dir", "/tmp"),
    ("etcd", "unsafe-no-fsync", "true"),
    ("etcd", "tls-min-version", "TLS1.0"),
]


@pytest.mark.parametrize(("component", "flag", "value"), SECURITY)
def test_a_flag_that_would_open_a_hole_is_refused_with_its_path(component: str, flag: str, value: str) -> None:
    place = "etcd[0].extra_args" if component == "etcd" else f"components.{component}"
    assert [problem.path for problem in problems(with_flag(component, flag, value))] == [f"{place}.{flag}"]


TUNING = [
    ("kube_apiserver", "audit-log-maxage", "90"),
    ("kube_apiserver", "oidc-issuer-url", "https://login.example.com"),
    ("kube_apiserver", "etcd-compaction-interval", "10m"),
    ("kube_apiserver", "enable-admission-plugins", "NodeRestriction,EventRateLimit"),
    ("kube_apiserver", "disable-admission-plugins", "PodSecurity"),
    ("kube_apiserver", "tls-min-version", "VersionTLS13"),
    ("kube_apiserver", "service-account-issuer", "https://oidc.example.com"),
    ("kube_controller_manager", "node-monitor-grace-period", "20s"),
    ("kube_controller_manager", "terminated-pod-gc-threshold", "10"),
    ("kube_scheduler", "v", "4"),
    ("kubelet", "v", "4"),
    ("etcd", "snapshot-count", "5000"),
    ("etcd", "tls-min-version", "TLS1.3"),
]


@pytest.mark.parametrize(("component", "flag", "value"), TUNING)
def test_a_flag_that_is_the_operators_reaches_the_program(component: str, flag: str, value: str) -> None:
    a_manifest = with_flag(component, flag, value)
    assert problems(a_manifest) == ()
    text = "\n".join(line for resource in plan(a_manifest, facts()) for line in resource.describe().lines)
    assert f"--{flag}={value}" in text


@pytest.mark.parametrize(
    ("component", "flag"),
    [(component, flag) for component in COMPONENTS for flag in spec_flags.OWNED[component]],
)
def test_the_node_refuses_every_flag_that_the_spec_refuses(component: str, flag: str) -> None:
    assert flag in owned.FLAGS[COMPONENTS[component]]


def test_the_node_refuses_every_kubelet_field_that_the_spec_refuses() -> None:
    assert set(spec_kubelet.OWNED) <= owned.KUBELET_FIELDS
    for field in owned.KUBELET_FIELDS:
        group = manifest("node").group.model_copy(update={"kubelet": {field: None}})
        assert [problem.path for problem in problems(manifest("node", group=group))] == [f"group.kubelet.{field}"]


@pytest.mark.parametrize("path", spec_files.PROTECTED)
@pytest.mark.parametrize("below", ["", "/below"])
def test_the_node_refuses_every_path_that_the_spec_refuses(path: str, below: str) -> None:
    a_manifest = manifest("node", files=(ExtraFile(path=path + below, content="x"),))
    assert [problem.path for problem in problems(a_manifest)] == ["files[0].path"]


@pytest.mark.parametrize(
    "component", ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "etcd"]
)
def test_no_flag_of_ours_that_names_a_credential_may_be_replaced(component: str) -> None:
    """Guards the list: whoever adds a flag with a path of ours must own it."""
    ours = ("/etc/kubernetes/pki", "/run/bootwright", "/etc/kubernetes/kubelet.conf", "/var/lib/etcd")
    named = {flag for flag, value in command_line(36, component).items() if value.startswith(ours)}
    assert named <= owned.FLAGS[component.replace("-", "_")]
    assert named


def test_no_field_of_ours_that_names_a_credential_may_be_replaced() -> None:
    from tests.units.versions import kubelet_config

    def names_one(value: Any) -> bool:
        if isinstance(value, dict):
            return any(names_one(inner) for inner in value.values())
        return isinstance(value, str) and value.startswith("/etc/kubernetes/")

    named = {field for field, value in kubelet_config(36).items() if names_one(value)}
    assert {"authentication", "staticPodPath", "tlsCertFile"} <= named <= owned.KUBELET_FIELDS
