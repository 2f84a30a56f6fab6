"""From a spec to the manifests of its groups: who gets what, and no group more than it needs."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from coordinator.compile import DEFAULT_PAUSE, compile_manifests
from coordinator.inputs import AssetCatalogue, PublicTrust
from coordinator.preview import rehearse
from coordinator.spec import load_spec
from pki.authority import Authority
from pki.keys import make_key, public_key_pem
from pki.profiles import AUTHORITIES
from tests.units.machines import NOW, facts
from units.errors import Invalid
from units.manifest import Asset, Image, Manifest, Release, encode_release
from units.manifest import Authority as PublicAuthority
from units.plan import plan

EXAMPLES = Path(__file__).parents[2] / "examples"
MINIMAL, HA = EXAMPLES / "minimal/cluster.yaml", EXAMPLES / "ha-private/cluster.yaml"
VERSION = "1.36.2"
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def asset(name: str, path: str, *, digit: str = "a") -> Asset:
    return Asset(name=name, sha256=digit * 64, size=1000, path=path)


def image(reference: str, *, digit: str = "b") -> Image:
    return Image(reference=f"registry.k8s.io/{reference}", sha256=digit * 64, size=1000)


KUBELET = asset("kubelet", "/usr/local/bin/kubelet")
KUBECTL = asset("kubectl", "/usr/local/bin/kubectl")
BRIDGE = asset("cni-bridge", "/opt/cni/bin/bridge")


class CatalogueDouble:
    """A catalogue as `coordinator assets add` leaves it, of assets whose content nobody has."""

    assets = (KUBELET, KUBECTL, BRIDGE)
    images = (
        *(image(f"{name}:v{VERSION}") for name in CONTROL_PLANE),
        *(image(f"{name}:v1.35.9", digit="c") for name in CONTROL_PLANE),
        image("pause:3.10.2"),
        image("coredns/coredns:v1.12.4"),
    )

    @classmethod
    def catalogue(
        cls, *, assets: tuple[Asset, ...] | None = None, images: tuple[Image, ...] | None = None
    ) -> AssetCatalogue:
        return AssetCatalogue(cls.assets if assets is None else assets, cls.images if images is None else images)


@cache
def public() -> PublicTrust:
    return PublicTrust(
        uid="7f3a1c",
        authorities=tuple(
            PublicAuthority(name=name, bundle=Authority.create(name, NOW).certificate.pem.decode())
            for name in AUTHORITIES
        ),
        service_account_keys=(public_key_pem(make_key()).decode(),),
        secrets_key="local:0123456789abcdef",
    )


def compiled(source: Path = MINIMAL, *, catalogue: AssetCatalogue | None = None, **changes: Any) -> dict[str, Manifest]:
    document = {**yaml.safe_load(source.read_text()), **changes}
    spec = load_spec(yaml.safe_dump(document))
    return compile_manifests(spec, public(), catalogue or CatalogueDouble.catalogue())


# --- both examples ---


@pytest.mark.parametrize("source", [MINIMAL, HA], ids=["minimal", "ha-private"])
def test_every_group_of_an_example_converges_in_every_zone_and_then_has_nothing_to_do(source: Path) -> None:
    manifests = compiled(source)
    assert manifests
    for manifest in manifests.values():
        assert manifest.group.zones
        for zone in manifest.group.zones:
            rehearse(manifest, zone)  # raises `preview-failed` for either


def test_the_groups_of_the_three_zones_are_those_of_the_spec_in_its_order() -> None:
    manifests = compiled(HA)
    assert list(manifests) == ["control-plane-a", "control-plane-b", "control-plane-c", "workers"]
    zones = {name: manifest.group.zones for name, manifest in manifests.items()}
    assert zones["control-plane-b"] == ("eu-west-1b",)
    assert zones["workers"] == ("eu-west-1a", "eu-west-1b", "eu-west-1c")


def test_each_control_plane_group_of_three_carries_the_member_of_its_zone() -> None:
    manifests = compiled(HA)
    for letter in "abc":
        manifest = manifests[f"control-plane-{letter}"]
        a_plan = plan(manifest, facts(zone=f"eu-west-1{letter}"))
        volume = next(resource for resource in a_plan if resource.key == "volume:main")
        assert volume.describe().lines == (
            f"k8s.io/etcd/main = {{{letter}}}/a,b,c",
            f"at least {40 * 1024**3} bytes",
            "for /var/lib/etcd/main",
        )


@pytest.mark.parametrize("source", [MINIMAL, HA], ids=["minimal", "ha-private"])
def test_the_same_spec_is_the_same_bytes(source: Path) -> None:
    def released(manifests: dict[str, Manifest]) -> list[bytes]:
        return [
            encode_release(Release(serial=1, published="2026-11-23T00:00:00Z", stable=manifest))
            for manifest in manifests.values()
        ]

    assert released(compiled(source)) == released(compiled(source))


# --- who gets what ---


def test_a_worker_gets_one_authority_no_key_and_no_etcd() -> None:
    worker, control_plane = compiled()["workers"], compiled()["control-plane-a"]
    assert [authority.name for authority in worker.trust.authorities] == ["kubernetes"]
    assert worker.trust.service_account_keys == ()
    assert worker.etcd == ()
    assert {authority.name for authority in control_plane.trust.authorities} == set(AUTHORITIES)
    assert control_plane.trust.service_account_keys == public().service_account_keys
    assert [cluster.name for cluster in control_plane.etcd] == ["main"]


def test_control_plane_images_go_to_the_control_plane_and_only_in_the_clusters_version() -> None:
    manifests = compiled()
    shared = {"registry.k8s.io/pause:3.10.2", "registry.k8s.io/coredns/coredns:v1.12.4"}
    own = {f"registry.k8s.io/{name}:v{VERSION}" for name in CONTROL_PLANE}
    assert {each.reference for each in manifests["workers"].images} == shared
    assert {each.reference for each in manifests["control-plane-a"].images} == shared | own


def test_the_images_are_those_that_the_static_pods_name() -> None:
    manifest = compiled()["control-plane-a"]
    lines = [line for resource in plan(manifest, facts()) for line in resource.describe().lines]
    named = {line.partition("image: ")[2] for line in lines if line.strip().startswith("image: ")}
    archives = {each.reference for each in manifest.images if "kube-" in each.reference}
    assert named == archives | {f"registry.k8s.io/kube-proxy:v{VERSION}"}  # which nobody added: containerd pulls it


def test_kubectl_stays_on_the_control_plane() -> None:
    manifests = compiled()
    assert [each.name for each in manifests["workers"].assets] == ["cni-bridge", "kubelet"]
    assert [each.name for each in manifests["control-plane-a"].assets] == ["cni-bridge", "kubectl", "kubelet"]


def test_of_images_with_one_reference_the_newest_is_taken() -> None:
    images = (image("pause:3.10.2", digit="1"), image("pause:3.10.2", digit="2"))
    found = compiled(catalogue=CatalogueDouble.catalogue(images=images))["workers"].images
    assert [each.sha256 for each in found] == ["2" * 64]


def test_the_pause_image_is_the_one_that_was_added() -> None:
    images = (image("pause:3.11"),)
    assert compiled(catalogue=CatalogueDouble.catalogue(images=images))["workers"].pause_image == images[0].reference
    assert compiled(catalogue=CatalogueDouble.catalogue(images=()))["workers"].pause_image == DEFAULT_PAUSE


# --- assets ---

OLD, NEW = asset("kubelet", "/usr/local/bin/kubelet", digit="1"), asset("kubelet", "/usr/local/bin/kubelet", digit="2")


def kubelets(**changes: Any) -> set[str]:
    catalogue = CatalogueDouble.catalogue(assets=(OLD, NEW))
    return {a.sha256 for manifest in compiled(catalogue=catalogue, **changes).values() for a in manifest.assets}


def test_of_assets_with_one_name_the_newest_is_taken() -> None:
    assert kubelets() == {NEW.sha256}


def test_a_pinned_asset_is_taken_though_a_newer_one_is_there() -> None:
    assert kubelets(assets={"kubelet": OLD.sha256}) == {OLD.sha256}


def test_pins_that_nobody_added_are_told_all_at_once() -> None:
    with pytest.raises(Invalid) as invalid:
        kubelets(assets={"kubelet": "3" * 64, "runc": "4" * 64})
    assert invalid.value.code == "asset-unknown"
    assert [problem.path for problem in invalid.value.problems] == ["assets.kubelet", "assets.runc"]
    assert "coordinator assets" in invalid.value.remedy


@pytest.mark.parametrize("assets", [(), (KUBECTL,), (asset("kubelet", "/usr/bin/kubelet"),)])
def test_without_a_kubelet_where_its_unit_looks_nothing_is_compiled(assets: tuple[Asset, ...]) -> None:
    with pytest.raises(Invalid) as invalid:
        compiled(catalogue=CatalogueDouble.catalogue(assets=assets))
    assert invalid.value.code == "asset-missing"
    assert "--path /usr/local/bin/kubelet" in invalid.value.remedy


# --- files, settings ---


def test_text_files_stay_readable_and_others_are_base64() -> None:
    files = [
        {"path": "/etc/motd", "content": "h\u00e9llo\n"},
        {"path": "/etc/blob", "base64": "AP/+", "mode": "0600"},
        {"path": "/etc/only-workers", "content": "x", "roles": ["node"]},
    ]
    manifests = compiled(files=files)
    text, blob = manifests["control-plane-a"].files
    assert (text.content, text.encoding, text.mode) == ("h\u00e9llo\n", "text", 0o644)
    assert (blob.content, blob.encoding, blob.mode) == ("AP/+", "base64", 0o600)
    assert [file.path for file in manifests["workers"].files] == ["/etc/motd", "/etc/blob", "/etc/only-workers"]
    written = {r.key: r for r in plan(manifests["control-plane-a"], facts())}
    assert "extra-file:/etc/blob" in written


def test_every_setting_of_the_spec_arrives() -> None:
    manifests = compiled(
        HA,
        nodeName="private-dns",
        components={
            "kubeAPIServer": {"extraArgs": {"audit-log-maxage": 90}},
            "etcd": {"extraArgs": {"snapshot-count": 5}},
        },
    )
    manifest = manifests["control-plane-a"]
    assert manifest.node_name == "private-dns"
    assert manifest.components.kube_apiserver == {"audit-log-maxage": "90"}
    assert manifest.etcd[0].extra_args == {"snapshot-count": "5"}
    assert manifest.cluster.name == "prod.example.com"
    assert manifest.cluster.uid == "7f3a1c"
    assert (manifest.network.pod_cidr, manifest.network.service_cidr) == ("100.96.0.0/11", "100.64.0.0/16")
    assert manifest.network.cni == "calico"
    assert manifest.api.endpoint == "api.internal.prod.example.com"
    assert manifest.api.extra_sans == ("api.prod.example.com",)
    assert manifest.trust.service_account_issuer == "https://api.internal.prod.example.com:6443"
    assert manifests["workers"].group.labels == {"example.com/pool": "general"}
    assert manifests["workers"].group.kubelet == {"maxPods": 110}


def test_a_second_etcd_cluster_gets_ports_of_its_own() -> None:
    members = [{"name": "a", "zone": "eu-west-1a", "group": "control-plane-a"}]
    manifest = compiled(etcdClusters=[{"name": name, "members": members} for name in ("main", "events")])[
        "control-plane-a"
    ]
    ports = [port for e in manifest.etcd for port in (e.client_port, e.peer_port, e.metrics_port)]
    assert len(ports) == len(set(ports)) == 6
    rehearse(manifest, "eu-west-1a")


def test_a_group_that_names_no_zone_is_in_every_zone_that_has_a_subnet() -> None:
    document = yaml.safe_load(HA.read_text())
    del document["instanceGroups"][3]["zones"]
    assert compiled(HA, **document)["workers"].group.zones == ("eu-west-1a", "eu-west-1b", "eu-west-1c")
