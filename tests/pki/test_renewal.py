from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from pki.authority import Authority
from pki.certificate import load_certificate
from pki.chain import bundle
from pki.errors import PkiError
from pki.keys import load_private_key, make_key
from pki.profiles import PROFILES
from pki.renewal import problems, renew_at

YEAR = timedelta(days=365)


def judge(issued, now, *, request=None, bundle_pem=None, pem=None) -> tuple[str, ...]:
    return problems(pem or issued.combined, request or issued.request, bundle_pem or issued.bundle, now, "node-1")


@pytest.mark.parametrize("name", PROFILES)
def test_a_fresh_certificate_may_stay(cluster, name: str) -> None:
    assert judge(cluster.issue(name), cluster.now) == ()


@pytest.mark.parametrize("name", PROFILES)
def test_at_60_percent_of_its_life_every_certificate_is_due_and_at_55_none(cluster, name: str) -> None:
    issued = cluster.issue(name)
    certificate = load_certificate(issued.pem)
    for node in range(50):
        at = renew_at(certificate, f"node-{node}")
        assert 0.55 <= (at - certificate.not_before) / certificate.lifetime <= 0.60
    assert judge(issued, certificate.not_before + certificate.lifetime * 0.54) == ()
    (reason,) = judge(issued, certificate.not_before + certificate.lifetime * 0.60)
    assert reason.startswith("due for renewal since ")


def test_a_certificate_is_due_from_the_very_moment_it_should_be_renewed(cluster) -> None:
    issued = cluster.issue("kube-proxy")
    at = renew_at(load_certificate(issued.pem), "node-1")
    assert judge(issued, at - timedelta(seconds=1)) == ()
    assert judge(issued, at) == (f"due for renewal since {at:%Y-%m-%dT%H:%MZ}",)


@given(st.text())
def test_a_node_always_renews_at_the_same_moment(cluster, key: str) -> None:
    certificate = cluster.authorities["kubernetes"].certificate
    assert renew_at(certificate, key) == renew_at(certificate, key)


def test_nodes_spread_over_the_window(cluster) -> None:
    certificate = load_certificate(cluster.issue("kube-proxy").pem)
    tenths = {
        int(((renew_at(certificate, f"i-{n:017x}") - certificate.not_before) / certificate.lifetime - 0.55) * 200)
        for n in range(500)
    }
    assert tenths >= set(range(10))


def test_an_expired_certificate_is_named_so(cluster) -> None:
    issued = cluster.issue("kube-proxy")
    assert judge(issued, cluster.now + YEAR + timedelta(days=1)) == (
        f"expired on {cluster.now + YEAR:%Y-%m-%dT%H:%MZ}",
    )


def test_the_last_second_of_a_life_still_counts(cluster) -> None:
    issued = cluster.issue("kube-proxy")
    assert judge(issued, cluster.now + YEAR)[0].startswith("due for renewal")
    assert judge(issued, cluster.now + YEAR + timedelta(seconds=1))[0].startswith("expired")


def test_a_certificate_of_the_future_is_named_so(cluster) -> None:
    issued = cluster.issue("kube-proxy", now=cluster.now + timedelta(days=2))
    (reason,) = judge(issued, cluster.now)
    assert reason.startswith("not yet valid: from ")


def test_a_foreign_key_is_a_reason(cluster) -> None:
    issued = cluster.issue("kube-proxy")
    assert judge(issued, cluster.now, pem=issued.pem + make_key().pem) == ("the private key is not the certificate's",)


@pytest.mark.parametrize("pem", [b"\n", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_an_unreadable_file_is_a_reason(cluster, pem: bytes) -> None:
    (reason,) = judge(cluster.issue("kube-proxy"), cluster.now, pem=pem)
    assert reason.startswith("unreadable: ")


def test_an_unreadable_key_is_a_reason_that_does_not_quote_it(cluster) -> None:
    issued = cluster.issue("kube-proxy")
    broken = b"-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n"
    assert judge(issued, cluster.now, pem=issued.pem + broken) == (
        "unreadable: the private key is not an unencrypted PEM",
    )


def test_a_new_node_name_changes_subject_and_names(cluster) -> None:
    issued = cluster.issue("kubelet-server")
    wanted = cluster.request("kubelet-server", name="i-1", dns_names=())
    assert judge(issued, cluster.now, request=wanted) == (
        f"subject is 'CN={issued.request.common_name},O=system:nodes', not 'CN=system:node:i-1,O=system:nodes'",
        "alternative names are missing: DNS:i-1",
        f"alternative names are not wanted: DNS:{issued.request.name}",
    )


def test_another_address_is_a_reason(cluster) -> None:
    issued = cluster.issue("etcd-peer")
    wanted = cluster.request("etcd-peer", ip_addresses=("10.99.0.6",))
    assert judge(issued, cluster.now, request=wanted) == (
        "alternative names are missing: IP:10.99.0.6",
        "alternative names are not wanted: IP:10.99.0.5",
    )


def test_another_usage_is_a_reason(cluster) -> None:
    client = cluster.issue("kubelet-client")
    reasons = judge(client, cluster.now, request=cluster.request("kubelet-server"))
    assert "usages are client, not server" in reasons


def test_a_longer_life_than_wanted_is_a_reason_and_a_shorter_is_none(cluster) -> None:
    issued = cluster.issue("kube-proxy")
    short = cluster.request("kube-proxy", lifetime=timedelta(days=3))
    assert judge(issued, cluster.now, request=short) == ("its life is 365 days, 1:00:00, longer than 3 days, 0:00:00",)
    brief = cluster.issue("kube-proxy", lifetime=timedelta(days=3))
    assert judge(brief, cluster.now, request=cluster.request("kube-proxy")) == ()


def test_an_authority_that_left_the_bundle_is_a_reason(cluster) -> None:
    issued = cluster.issue("kube-proxy")
    new = Authority.create("kubernetes", cluster.now).certificate.pem
    assert judge(issued, cluster.now, bundle_pem=bundle(new, issued.bundle)) == ()
    assert judge(issued, cluster.now, bundle_pem=new) == (
        "signed by an authority that is not in the bundle: kubernetes-ca",
    )


def test_an_authority_of_another_name_is_a_reason(cluster) -> None:
    issued = cluster.issue("kube-proxy")
    other = cluster.authorities["front-proxy"].certificate.pem
    assert "signed by an authority that is not in the bundle: kubernetes-ca" in judge(
        issued, cluster.now, bundle_pem=other
    )


def test_at_the_end_of_an_authority_a_renewal_that_gains_nothing_is_not_asked_for(cluster) -> None:
    old = Authority.create("kubernetes", cluster.now, lifetime=timedelta(days=10))
    issued = cluster.issue("kube-proxy", by=old)
    late = cluster.now + timedelta(days=9)
    assert judge(issued, late) == ()
    # Once there is an authority that lives longer, it is.
    new = Authority.create("kubernetes", late).certificate.pem
    (reason,) = judge(issued, late, bundle_pem=bundle(new, issued.bundle))
    assert reason.startswith("due for renewal")


def test_an_authority_that_is_not_valid_now_is_a_reason(cluster) -> None:
    old = Authority.create("kubernetes", cluster.now, lifetime=timedelta(days=10))
    issued = cluster.issue("kube-proxy", by=old)
    after = cluster.now + timedelta(days=11)
    assert judge(issued, after) == (
        f"its authority kubernetes-ca is not valid at {after:%Y-%m-%dT%H:%MZ}",
        f"expired on {cluster.now + timedelta(days=10):%Y-%m-%dT%H:%MZ}",
    )


def test_the_first_and_the_last_second_of_an_authority_still_count(cluster) -> None:
    authority = Authority.create("kubernetes", cluster.now, lifetime=timedelta(days=10))
    issued = cluster.issue("kube-proxy", by=authority)
    assert judge(issued, authority.certificate.not_before) == ()
    assert judge(issued, authority.certificate.not_after) == ()


def signed_by_hand(cluster, issued, *, ca: bool) -> bytes:
    """What `Authority` never makes: a node's name in a CA certificate, or a leaf without usages."""
    authority = cluster.authorities["kubernetes"]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issued.request.common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(authority.certificate.parsed.subject)
        .public_key(load_private_key(issued.key).public_key())
        .serial_number(1)
        .not_valid_before(cluster.now)
        .not_valid_after(cluster.now + YEAR)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    signed = builder.sign(authority.key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM) + issued.key.pem


def test_a_ca_certificate_in_place_of_a_leaf_is_a_reason(cluster) -> None:
    issued = cluster.issue("kube-proxy")
    assert judge(issued, cluster.now, pem=signed_by_hand(cluster, issued, ca=True)) == (
        "it is a CA certificate",
        "usages are none, not client",
    )
    assert judge(issued, cluster.now, pem=signed_by_hand(cluster, issued, ca=False)) == ("usages are none, not client",)


def test_every_reason_is_named_at_once(cluster) -> None:
    issued = cluster.issue("etcd-peer")
    wanted = cluster.request("kubelet-server", name="i-1", dns_names=(), lifetime=timedelta(days=1))
    reasons = judge(
        issued,
        cluster.now + timedelta(days=500),
        request=wanted,
        bundle_pem=cluster.authorities["kubernetes"].certificate.pem,
        pem=issued.pem + make_key().pem,
    )
    assert [reason.split(" ")[0] for reason in reasons] == (
        ["the", "subject", "alternative", "alternative", "usages", "its", "signed", "expired"]
    )


def test_an_unreadable_bundle_is_an_error_because_no_new_certificate_heals_it(cluster) -> None:
    with pytest.raises(PkiError):
        judge(cluster.issue("kube-proxy"), cluster.now, bundle_pem=b"x")
