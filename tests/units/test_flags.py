"""No flag that its version has removed, no field that its kubelet does not know, no deprecated way to say it."""

import pytest

from coordinator.spec.flags import REMOVED
from tests.units.versions import COMPONENTS, MINORS, ROLES, command_line, find, kubelet_config
from units.kubelet_fields import kubelet_fields

# kops.md 3.6 and etcd-pki.md 4.1, 4.4: gone by the minor named, 0 for before all that are supported.
GONE: dict[str, dict[str, int]] = {
    "kube-apiserver": {
        "cloud-provider": 33,
        "cloud-config": 33,
        "insecure-port": 0,
        "insecure-bind-address": 0,
        "kubelet-https": 0,
        "kubelet-port": 0,
        "apiserver-count": 0,
        "service-account-api-audiences": 0,
        "enable-logs-handler": 0,  # deprecated
    },
    "kube-controller-manager": {
        "pod-eviction-timeout": 0,
        "enable-taint-manager": 0,
        "experimental-cluster-signing-duration": 0,
        "port": 0,
        "address": 0,
    },
    "kube-scheduler": {"port": 0, "address": 0, "policy-config-file": 0, "algorithm-provider": 0},
    "kubelet": {
        "cloud-config": 34,
        "register-schedulable": 34,
        "keep-terminated-pod-volumes": 34,
        "pod-infra-container-image": 35,
        "container-runtime": 0,
        "master-service-namespace": 0,
        "network-plugin": 0,
        "cni-bin-dir": 0,
        "azure-container-registry-config": 0,
    },
}
# All that kubelet 1.36 does not call deprecated (etcd-pki.md 4.1).
KUBELET_FLAGS = frozenset(
    [
        "bootstrap-kubeconfig",
        "cert-dir",
        "cloud-provider",
        "config",
        "config-dir",
        "hostname-override",
        "image-credential-provider-bin-dir",
        "image-credential-provider-config",
        "kubeconfig",
        "node-ip",
        "node-labels",
        "provider-id",
        "root-dir",
        "runtime-cgroups",
        "lock-file",
        "exit-on-lock-contention",
        "seccomp-default",
        "tls-cipher-suites",
        "v",
    ]
)
SPEC_NAMES = {
    "kube-apiserver": "kubeAPIServer",
    "kube-controller-manager": "kubeControllerManager",
    "kube-scheduler": "kubeScheduler",
    "kubelet": "kubelet",
    "etcd": "etcd",
}


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("component", [*COMPONENTS, "kubelet"])
def test_no_removed_flag_is_given(component: str, minor: int) -> None:
    given = command_line(minor, component)
    assert [flag for flag, since in GONE[component].items() if since <= minor and flag in given] == []


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize("component", SPEC_NAMES)
def test_no_flag_is_given_that_the_spec_would_refuse_as_removed(component: str, minor: int) -> None:
    given = command_line(minor, component)
    removed = REMOVED[SPEC_NAMES[component]]
    assert [flag for flag, gone in removed.items() if gone.minor <= minor and flag in given] == []


@pytest.mark.parametrize("minor", MINORS)
def test_kubelet_gets_no_deprecated_flag(minor: int) -> None:
    assert set(command_line(minor, "kubelet")) <= KUBELET_FLAGS


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("minor", MINORS)
def test_kubelet_knows_every_field_of_its_configuration(minor: int, role: str) -> None:
    # It logs an unknown one at level INFO and starts without it (etcd-pki.md 4.1, measured).
    config = kubelet_config(minor, role)
    assert config.keys() - {"apiVersion", "kind"} <= kubelet_fields(minor)
    assert (config["apiVersion"], config["kind"]) == ("kubelet.config.k8s.io/v1beta1", "KubeletConfiguration")


def test_kubelet_sets_every_eviction_signal_that_it_has_a_default_for() -> None:
    # Setting one drops the defaults of the others.
    assert kubelet_config(36)["evictionHard"].keys() == {
        "memory.available",
        "nodefs.available",
        "nodefs.inodesFree",
        "imagefs.available",
        "imagefs.inodesFree",
    }


@pytest.mark.parametrize("minor", MINORS)
def test_anonymous_requests_reach_health_endpoints_only_and_are_configured_in_one_place(minor: int) -> None:
    given = command_line(minor, "kube-apiserver")
    # Both at once keep the API server from starting (etcd-pki.md 4.4, measured).
    assert ("anonymous-auth" in given) != ("authentication-config" in given)
    assert ("authentication-config" in given) == (minor >= 32)
    lines = find(minor, "file:/etc/kubernetes/kube-apiserver/authentication.yaml").describe().lines
    assert f"apiVersion: apiserver.config.k8s.io/{'v1' if minor >= 34 else 'v1beta1'}" in lines


@pytest.mark.parametrize("minor", MINORS)
def test_etcd_gets_the_flags_of_its_version(minor: int) -> None:
    # --experimental-* are renamed in 3.6, and 3.7 does not start with them (etcd-pki.md 2.1).
    experimental = [flag for flag in command_line(minor, "etcd") if flag.startswith("experimental-")]
    assert bool(experimental) == (minor < 34)
    assert ("feature-gates" in command_line(minor, "etcd")) == (minor >= 34)


@pytest.mark.parametrize("minor", MINORS)
def test_nothing_asks_etcd_to_begin_a_cluster_but_the_decision_at_boot(minor: int) -> None:
    assert "initial-cluster-state" not in command_line(minor, "etcd")
    lines = find(minor, "unit:bootwright-etcd-main.service").describe().lines
    assert [line.strip() for line in lines if "--initial-cluster-state" in line] == [
        "--initial-cluster-state=${INITIAL_CLUSTER_STATE}"
    ]
