"""`kubeconfig`: whom it names, for how long, and which names nobody gets."""

import base64
from datetime import timedelta

import pytest
import yaml

from coordinator.kubeconfig import Kubeconfig, KubeconfigRequest, Person, make_kubeconfig
from pki.certificate import Certificate, load_certificate, load_certificates
from pki.chain import verify_chain
from pki.profiles import Usage
from tests.coordinator.workshop import CLUSTER, LOCAL_KEY, Workshop
from units.cluster_objects import VIEWERS, cluster_objects
from units.envelope import Envelope, unwrap_locally
from units.errors import BootwrightError, Invalid

SERVER = "https://api.prod.example.com:6443"


def unwrap(envelope: Envelope) -> bytes:
    return unwrap_locally(envelope, local_key=LOCAL_KEY)


def made(workshop: Workshop, hours: float = 18, **person: object) -> Kubeconfig:
    request = KubeconfigRequest(CLUSTER, SERVER, timedelta(hours=hours), Person(**person))
    return make_kubeconfig(workshop.repository, request, unwrap, workshop.clock())


def certificate_in(kubeconfig: Kubeconfig) -> Certificate:
    (user,) = yaml.safe_load(kubeconfig.text)["users"]
    return load_certificate(base64.b64decode(user["user"]["client-certificate-data"]))


@pytest.mark.parametrize(
    ("person", "user", "groups"),
    [
        ({}, "kubernetes-admin", ("kubeadm:cluster-admins",)),
        ({"read_only": True}, "kubernetes-viewer", (VIEWERS,)),
        ({"read_only": True, "user": "jane"}, "jane", (VIEWERS,)),
        ({"user": "jane@example.com"}, "jane@example.com", ()),
        ({"user": "jane", "groups": ("team-b", "oidc:team-a", "team-b")}, "jane", ("oidc:team-a", "team-b")),
    ],
)
def test_it_names_whom_it_was_asked_for(workshop: Workshop, person: dict, user: str, groups: tuple[str, ...]) -> None:
    kubeconfig = made(workshop, **person)
    certificate = certificate_in(kubeconfig)
    assert (certificate.common_name, certificate.organizations) == (user, groups)
    assert (kubeconfig.user, kubeconfig.groups) == (user, groups)
    assert certificate.not_after == workshop.clock() + timedelta(hours=18)
    (cluster,) = yaml.safe_load(kubeconfig.text)["clusters"]
    authority = base64.b64decode(cluster["cluster"]["certificate-authority-data"])
    verify_chain(certificate.pem, authority, Usage.CLIENT, workshop.clock())
    assert len(load_certificates(authority)) == 1


@pytest.mark.parametrize(
    "person",
    [
        {"user": "system:admin"},
        {"user": "System:Node:x"},
        {"user": "jane", "groups": ("system:masters",)},
        {"user": "jane", "groups": ("team-a", "system:nodes")},
        {"user": "jane", "groups": ("bootwright:agents",)},
        {"user": "bootwright:agent:ip-10-0-0-1"},
        {"user": "jane\nO=system:masters"},
        {"user": "jane", "groups": ("a,O=system:masters",)},
        {"user": "j" * 65},
        {"groups": ("team-a",)},
        {"read_only": True, "groups": ("team-a",)},
        {"break_glass": True, "user": "jane"},
        {"break_glass": True, "read_only": True},
    ],
    ids=str,
)
def test_names_that_nobody_gets(workshop: Workshop, person: dict) -> None:
    with pytest.raises(BootwrightError) as caught:
        made(workshop, hours=1, **person)
    assert (caught.value.exit_code, caught.value.code) == (2, "kubeconfig-person")


def test_the_glass_is_broken_for_an_hour_and_no_longer(workshop: Workshop) -> None:
    assert certificate_in(made(workshop, hours=1, break_glass=True)).organizations == ("system:masters",)
    with pytest.raises(Invalid) as caught:
        made(workshop, hours=1.01, break_glass=True)
    assert caught.value.code == "kubeconfig-break-glass"


@pytest.mark.parametrize("hours", [0, 0.01, 24 * 366])
def test_a_life_too_short_or_too_long(workshop: Workshop, hours: float) -> None:
    with pytest.raises(Invalid, match="lifetime"):
        made(workshop, hours=hours, user="jane")


def test_nothing_prints_the_private_key(workshop: Workshop) -> None:
    kubeconfig = made(workshop)
    assert "client-key-data" in kubeconfig.text
    assert repr(kubeconfig) == "Kubeconfig(kubernetes-admin)"


def test_readers_are_bound_to_what_kubernetes_calls_view() -> None:
    (binding,) = [value for value in cluster_objects() if value["metadata"]["name"] == VIEWERS]
    assert binding["roleRef"]["name"] == "view"
    assert binding["subjects"][0]["name"] == VIEWERS
