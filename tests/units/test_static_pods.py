"""Static pods of every supported Kubernetes version, judged by its own schema; and the shape that kubelet needs."""

from collections.abc import Iterator

import pytest

from tests.units.versions import COMPONENTS, MINORS, find, manifest_of, plan_of, pod, read_back
from units.files import Directory, File
from units.pods import HostPath, Probe, StaticPod
from units.resource import Resource

EACH = [(minor, component) for minor in MINORS for component in COMPONENTS]


@pytest.mark.parametrize(("minor", "component"), EACH)
def test_every_static_pod_validates_for_its_version(minor: int, component: str) -> None:
    import kubernetes_validate

    kubernetes_validate.validate(read_back(pod(minor, component)), f"1.{minor}", strict=True)


@pytest.mark.parametrize("field", ["hostNetwrok", "priorityClasName"])
def test_the_schema_would_notice_a_misspelt_field(field: str) -> None:
    import kubernetes_validate

    wrong = read_back(pod(36, "kube-scheduler"))
    wrong["spec"][field] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.36", strict=True)


@pytest.mark.parametrize(("minor", "component"), EACH)
def test_static_pods_name_nothing_that_lies_in_the_api(minor: int, component: str) -> None:
    # kubelet 1.34 and later refuses a static pod that does (etcd-pki.md 4.2).
    text = "\n".join(pod(minor, component).describe().lines)
    assert not [
        word for word in ("secretKeyRef", "configMap", "serviceAccount:", "secretName", "envFrom") if word in text
    ]


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_shape_is_kubeadms(component: str) -> None:
    of_pod = pod(36, component)
    document = read_back(of_pod)
    spec = document["spec"]
    (container,) = spec["containers"]
    assert document["metadata"]["namespace"] == "kube-system"
    labels = document["metadata"]["labels"]
    assert labels.pop("bootwright.io/digest") == of_pod.digest
    assert labels == {"component": component, "tier": "control-plane"}
    assert (spec["hostNetwork"], spec["priority"]) == (True, 2000001000)
    assert spec["priorityClassName"] == "system-node-critical"
    assert spec["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert container["image"] == f"registry.k8s.io/{component}:v{manifest_of(36).kubernetes_version}"
    assert container["resources"]["requests"]["cpu"]


PROBES = {
    ("kube-apiserver", "livenessProbe"): ("/livez?exclude=etcd", 6443, "192.0.2.10"),
    ("kube-apiserver", "readinessProbe"): ("/readyz", 6443, "192.0.2.10"),
    ("kube-apiserver", "startupProbe"): ("/livez", 6443, "192.0.2.10"),
    ("kube-controller-manager", "livenessProbe"): ("/healthz", 10257, "127.0.0.1"),
    ("kube-controller-manager", "startupProbe"): ("/healthz", 10257, "127.0.0.1"),
    ("kube-scheduler", "livenessProbe"): ("/livez", 10259, "127.0.0.1"),
    ("kube-scheduler", "readinessProbe"): ("/readyz", 10259, "127.0.0.1"),
    ("kube-scheduler", "startupProbe"): ("/livez", 10259, "127.0.0.1"),
}


@pytest.mark.parametrize("component", COMPONENTS)
def test_probes_ask_the_endpoints_that_the_component_has(component: str) -> None:
    (container,) = read_back(pod(36, component))["spec"]["containers"]
    found = {
        (component, name): (probe["httpGet"]["path"], probe["httpGet"]["port"], probe["httpGet"]["host"])
        for name, probe in container.items()
        if name.endswith("Probe")
    }
    assert found == {key: value for key, value in PROBES.items() if key[0] == component}
    assert {container[name]["httpGet"]["scheme"] for _, name in found} == {"HTTPS"}


def test_capabilities_are_dropped_but_for_the_one_that_the_api_servers_image_needs() -> None:
    # cap_net_bind_service=+ep on the image's binary: without it in the bounding set exec gives EPERM (measured).
    kept = {}
    for component in COMPONENTS:
        (container,) = read_back(pod(36, component))["spec"]["containers"]
        assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        kept[component] = container["securityContext"]["capabilities"].get("add", [])
    assert kept == {"kube-apiserver": ["NET_BIND_SERVICE"], "kube-controller-manager": [], "kube-scheduler": []}


def paths_named(component: str) -> Iterator[str]:
    (container,) = read_back(pod(36, component))["spec"]["containers"]
    for word in container["command"][1:]:
        value = word.partition("=")[2]
        if value.startswith(("/etc/", "/run/", "/var/")):
            yield value


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_file_that_a_component_names_is_below_one_of_its_mounts(component: str) -> None:
    mounts = [mount.path for mount in pod(36, component).mounts]
    assert [path for path in paths_named(component) if not any(path.startswith(f"{mount}/") for mount in mounts)] == []


def made_by_plan(resource: Resource) -> str:
    return resource.key.partition(":")[2]


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_file_and_folder_that_a_component_uses_is_made_before_its_pod(component: str) -> None:
    keys = [resource.key for resource in plan_of(36)]
    before = [made_by_plan(resource) for resource in plan_of(36).resources[: keys.index(f"static-pod:{component}")]]
    written_by_it = ("/var/log/kubernetes/audit/audit.log",)
    assert [path for path in paths_named(component) if path not in before and path not in written_by_it] == []
    assert [mount.path for mount in pod(36, component).mounts if mount.path not in before] == []


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_component_sees_no_private_key_of_another_one(component: str) -> None:
    allowed = {
        "kube-apiserver": {"apiserver", "service-account"},
        "kube-controller-manager": {"kube-controller-manager", "service-account", "kubernetes-ca"},
        "kube-scheduler": {"kube-scheduler"},
    }[component] | {"ca"}
    folders = {
        path.rpartition("/")[2]
        for path in (mount.path for mount in pod(36, component).mounts)
        if path.startswith(("/etc/kubernetes/pki", "/run/bootwright/secrets"))
    }
    assert folders <= allowed


def test_only_the_audit_log_is_writable() -> None:
    writable = [mount.path for component in COMPONENTS for mount in pod(36, component).mounts if not mount.read_only]
    assert writable == ["/var/log/kubernetes/audit"]


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_directory_of_manifests_holds_only_manifests(component: str) -> None:
    # kubelet reads every file there that has no leading dot, whatever its name ends with (etcd-pki.md 4.2).
    there = [r for r in plan_of(36) if made_by_plan(r).startswith("/etc/kubernetes/manifests/") and isinstance(r, File)]
    assert there == []
    assert pod(36, component).path == f"/etc/kubernetes/manifests/{component}.yaml"


def test_the_directory_of_manifests_is_closed_to_others() -> None:
    directory = find(36, "directory:/etc/kubernetes/manifests")
    assert isinstance(directory, Directory)
    assert directory.mode == 0o700


def test_what_a_component_reads_at_its_start_is_in_its_annotation() -> None:
    def reads(text: str) -> str:
        a_pod = StaticPod("p", "i", "c", {}, "1m", Probe("/", 1), Probe("/", 1), (HostPath("/x"),), reads=text)
        return read_back(a_pod)["metadata"]["annotations"].get("bootwright.io/reads", "")

    assert reads("aa") == "sha256:aa"
    assert reads("") == ""
