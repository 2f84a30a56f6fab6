"""The scored items of the CIS benchmark that a node's files can satisfy (kube-bench cis-1.12; etcd-pki.md 4.5)."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.units.machines import FACTS, empty_machine, manifest
from tests.units.versions import MINORS, command_line, kubelet_config
from units.converge import converge
from units.memory import MemoryHost
from units.plan import plan

Flags = dict[str, str]
Test = Callable[[Flags], bool]


def has(flag: str, *words: str) -> Test:
    return lambda flags: flag in flags and set(words) <= set(flags[flag].split(","))


def lacks(flag: str, *words: str) -> Test:
    return lambda flags: flag not in flags or not set(words) & set(flags[flag].split(","))


def unset(flag: str) -> Test:
    return lambda flags: flag not in flags


def equals(flag: str, value: str) -> Test:
    return lambda flags: flags.get(flag) == value


def at_least(flag: str, number: int) -> Test:
    return lambda flags: int(flags.get(flag, "0")) >= number


def differs(flag: str, value: str) -> Test:
    return lambda flags: flags.get(flag) != value


APISERVER: dict[str, list[Test]] = {
    "1.2.2 no token file": [unset("token-auth-file")],
    "1.2.4 client certificate for kubelets": [has("kubelet-client-certificate"), has("kubelet-client-key")],
    "1.2.5 verifies kubelets": [has("kubelet-certificate-authority")],
    "1.2.6 never AlwaysAllow": [has("authorization-mode"), lacks("authorization-mode", "AlwaysAllow")],
    "1.2.7 Node": [has("authorization-mode", "Node")],
    "1.2.8 RBAC": [has("authorization-mode", "RBAC")],
    "1.2.10 no AlwaysAdmit": [lacks("enable-admission-plugins", "AlwaysAdmit")],
    "1.2.12 ServiceAccount on": [lacks("disable-admission-plugins", "ServiceAccount")],
    "1.2.13 NamespaceLifecycle on": [lacks("disable-admission-plugins", "NamespaceLifecycle")],
    "1.2.14 NodeRestriction": [has("enable-admission-plugins", "NodeRestriction")],
    "1.2.15 profiling off": [equals("profiling", "false")],
    "1.2.16 audit log": [has("audit-log-path")],
    "1.2.17 kept 30 days": [at_least("audit-log-maxage", 30)],
    "1.2.18 10 of them": [at_least("audit-log-maxbackup", 10)],
    "1.2.19 100 MB each": [at_least("audit-log-maxsize", 100)],
    "1.2.21 looks service accounts up": [differs("service-account-lookup", "false")],
    "1.2.22 service account key": [has("service-account-key-file")],
    "1.2.23 etcd client certificate": [has("etcd-certfile"), has("etcd-keyfile")],
    "1.2.24 serving certificate": [has("tls-cert-file"), has("tls-private-key-file")],
    "1.2.25 client CA": [has("client-ca-file")],
    "1.2.26 etcd CA": [has("etcd-cafile")],
    "1.2.29 strong ciphers": [has("tls-cipher-suites"), lacks("tls-cipher-suites", "TLS_RSA_WITH_AES_128_CBC_SHA")],
    "1.2.30 short tokens": [equals("service-account-extend-token-expiration", "false")],
    "3.2.1 audit policy": [has("audit-policy-file")],
}
CONTROLLER_MANAGER: dict[str, list[Test]] = {
    "1.3.1 garbage collection of pods": [has("terminated-pod-gc-threshold")],
    "1.3.2 profiling off": [equals("profiling", "false")],
    "1.3.3 an account per controller": [equals("use-service-account-credentials", "true")],
    "1.3.4 service account key": [has("service-account-private-key-file")],
    "1.3.5 root CA": [has("root-ca-file")],
    "1.3.6 rotates kubelet serving certificates": [
        lambda flags: "RotateKubeletServerCertificate=false" not in flags.get("feature-gates", "")
    ],
    "1.3.7 loopback": [equals("bind-address", "127.0.0.1")],
}
SCHEDULER: dict[str, list[Test]] = {
    "1.4.1 profiling off": [equals("profiling", "false")],
    "1.4.2 loopback": [equals("bind-address", "127.0.0.1")],
}
ETCD: dict[str, list[Test]] = {
    "2.1 certificate": [has("cert-file"), has("key-file")],
    "2.2 clients prove themselves": [equals("client-cert-auth", "true")],
    "2.3 no self-made certificates": [differs("auto-tls", "true")],
    "2.4 peer certificate": [has("peer-cert-file"), has("peer-key-file")],
    "2.5 peers prove themselves": [equals("peer-client-cert-auth", "true")],
    "2.6 no self-made peer certificates": [differs("peer-auto-tls", "true")],
}
BENCHMARK = {
    "kube-apiserver": APISERVER,
    "kube-controller-manager": CONTROLLER_MANAGER,
    "kube-scheduler": SCHEDULER,
    "etcd": ETCD,
}
ITEMS = [(component, item) for component, items in BENCHMARK.items() for item in items]


@pytest.mark.parametrize("minor", MINORS)
@pytest.mark.parametrize(("component", "item"), ITEMS)
def test_flags(component: str, item: str, minor: int) -> None:
    flags = command_line(minor, component)
    assert all(test(flags) for test in BENCHMARK[component][item]), flags


@pytest.mark.parametrize(("component", "item"), ITEMS)
def test_every_item_can_fail(component: str, item: str) -> None:
    """An evaluator that accepts everything would prove nothing."""
    bad = {
        "token-auth-file": "/etc/tokens",
        "authorization-mode": "AlwaysAllow",
        "enable-admission-plugins": "AlwaysAdmit",
        "disable-admission-plugins": "ServiceAccount,NamespaceLifecycle",
        "service-account-lookup": "false",
        "tls-cipher-suites": "TLS_RSA_WITH_AES_128_CBC_SHA",
        "feature-gates": "RotateKubeletServerCertificate=false",
        "auto-tls": "true",
        "peer-auto-tls": "true",
    }
    assert not all(test(bad) for test in BENCHMARK[component][item])


def test_etcd_has_an_authority_of_its_own() -> None:  # 2.7
    etcd, apiserver = command_line(36, "etcd"), command_line(36, "kube-apiserver")
    authorities = {etcd["trusted-ca-file"], etcd["peer-trusted-ca-file"], apiserver["client-ca-file"]}
    assert len(authorities) == 3


KUBELET: dict[str, Callable[[dict[str, Any]], bool]] = {
    "4.2.1 no anonymous requests": lambda config: config["authentication"]["anonymous"]["enabled"] is False,
    "4.2.2 never AlwaysAllow": lambda config: config["authorization"]["mode"] == "Webhook",
    "4.2.3 client CA": lambda config: bool(config["authentication"]["x509"]["clientCAFile"]),
    "4.2.4 no read-only port": lambda config: config["readOnlyPort"] == 0,
    "4.2.5 connections end": lambda config: config["streamingConnectionIdleTimeout"] != "0",
    "4.2.6 iptables chains": lambda config: config["makeIPTablesUtilChains"] is True,
    "4.2.8 events": lambda config: config["eventRecordQPS"] > 0,
    "4.2.9 serving certificate": lambda config: bool(config["tlsCertFile"] and config["tlsPrivateKeyFile"]),
    "4.2.12 strong ciphers": lambda config: all("GCM" in c or "POLY1305" in c for c in config["tlsCipherSuites"]),
    "4.2.13 a limit on processes": lambda config: config["podPidsLimit"] > 0,
    "4.2.14 seccomp": lambda config: config["seccompDefault"] is True,
}


@pytest.mark.parametrize("role", ["control-plane", "node"])
@pytest.mark.parametrize("item", KUBELET)
def test_kubelet(item: str, role: str) -> None:
    assert KUBELET[item](kubelet_config(36, role))


def test_the_one_item_of_kubelet_that_we_leave_out_is_still_needed_to_be_left_out() -> None:
    # 4.2.10 wants rotateCertificates: the agent renews instead, for every role the same way, so kubelet must not.
    assert kubelet_config(36)["rotateCertificates"] is False


@pytest.fixture(scope="module")
def machine() -> MemoryHost:
    made = empty_machine()
    assert converge(plan(manifest(), FACTS), made.host).failure is None
    return made


ROOT_600 = [
    "/etc/kubernetes/manifests/kube-apiserver.yaml",  # 1.1.1 to 1.1.6
    "/etc/kubernetes/manifests/kube-controller-manager.yaml",
    "/etc/kubernetes/manifests/kube-scheduler.yaml",
    "/etc/kubernetes/kube-scheduler/kubeconfig",  # 1.1.15, 1.1.16
    "/etc/kubernetes/kube-controller-manager/kubeconfig",  # 1.1.17, 1.1.18
    "/etc/systemd/system/kubelet.service",  # 4.1.1, 4.1.2
    "/etc/kubernetes/kubelet.conf",  # 4.1.5, 4.1.6
    "/var/lib/kubelet/config.yaml",  # 4.1.9, 4.1.10
]


@pytest.mark.parametrize("path", ROOT_600)
def test_files_that_only_root_may_read(machine: MemoryHost, path: str) -> None:
    state = machine.files.entries[path]
    assert (state.mode, state.owner, state.group) == (0o600, "root", "root")


def test_every_private_key_is_readable_by_its_owner_alone(machine: MemoryHost) -> None:  # 1.1.21
    keys = {
        path: state for path, state in machine.files.entries.items() if state.content and b"PRIVATE" in state.content
    }
    assert len(keys) > 10
    assert {state.mode for state in keys.values()} == {0o600}
    assert {path for path, state in keys.items() if state.owner != "root"} == {
        "/etc/kubernetes/pki/etcd/main-server.pem",
        "/etc/kubernetes/pki/etcd/main-peer.pem",
    }


def test_the_pki_belongs_to_root_and_certificates_are_not_writable_by_others(machine: MemoryHost) -> None:  # 1.1.19, 20
    assert machine.files.entries["/etc/kubernetes/pki"].owner == "root"
    for path, state in machine.files.entries.items():
        if path.startswith("/etc/kubernetes/"):
            assert state.mode & 0o022 == 0, path


def test_the_data_of_etcd_is_etcds_alone(machine: MemoryHost) -> None:  # 1.1.11, 1.1.12
    data = machine.files.read("/var/lib/etcd/main/data")
    assert data is not None
    assert (data.mode, data.owner, data.group) == (0o700, "etcd", "etcd")


def test_the_clusters_own_keys_never_touch_a_disk(machine: MemoryHost) -> None:
    secret_keys = {key.pem for key in machine.secrets.keys.values()}
    found = [path for path, state in machine.files.entries.items() if state.content in secret_keys]
    assert found
    assert [path for path in found if not path.startswith("/run/")] == []
