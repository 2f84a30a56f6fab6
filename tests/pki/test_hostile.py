"""Bytes from outside: whatever they are, the answer is a value or a PkiError, never another exception."""

import base64
import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki import keys
from pki.certificate import load_certificates, load_credential
from pki.chain import load_authorities, verify_chain
from pki.errors import PkiError
from pki.keys import PrivateKeyPem, make_key, public_key_pem
from pki.profiles import Usage
from pki.renewal import problems
from pki.request import CertificateRequest, build_csr, check_csr, csr_public_key

# A serial number below 1 is read with a warning; whoever made such a certificate, its signature is not ours.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

KUBELET = CertificateRequest(profile="kubelet-server", name="i-1", ip_addresses=("10.0.0.1",))
KEY = make_key()
CSR = build_csr(KUBELET, KEY)


def der_of(pem: bytes) -> tuple[bytes, bytes]:
    label, body = re.search(rb"-----BEGIN ([A-Z ]+)-----(.*?)-----END", pem, re.DOTALL).groups()
    return label, base64.b64decode(body)


def pem_of(label: bytes, der: bytes) -> bytes:
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, base64.encodebytes(der), label)


# Where (as a part of the whole, because lengths differ from run to run), how many bytes go, which bytes come.
EDITS = st.lists(st.tuples(st.integers(0, 999), st.integers(0, 2), st.binary(max_size=2)), min_size=1, max_size=4)


def damaged(pem: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """A PEM whose DER has a few bytes replaced, removed or inserted: it still gets past the base64."""
    label, der = der_of(pem)
    body = bytearray(der)
    for where, removed, inserted in edits:
        at = where * len(body) // 1000
        body[at : at + removed] = inserted
    return pem_of(label, bytes(body))


@settings(max_examples=400, deadline=None)
@given(EDITS)
def test_a_damaged_csr_proves_nothing(edits) -> None:
    csr = damaged(CSR, edits)
    original = keys.spki_sha256(keys.load_private_key(KEY).public_key())
    with contextlib.suppress(PkiError):
        # Only an edit outside of what is signed may pass, and then with the very same key.
        assert keys.spki_sha256(csr_public_key(csr)) == original
    with contextlib.suppress(PkiError):
        check_csr(csr, KUBELET)


@settings(max_examples=400, deadline=None)
@given(EDITS)
def test_a_damaged_certificate_is_never_vouched_for(cluster, edits) -> None:
    issued = cluster.issue("kubelet-server", name="i-1", dns_names=())
    pem = damaged(issued.pem, edits)
    reasons = problems(pem + issued.key.pem, issued.request, issued.bundle, cluster.now, "n")
    assert reasons or der_of(pem) == der_of(issued.pem)
    with contextlib.suppress(PkiError):
        verify_chain(pem, issued.bundle, Usage.SERVER, cluster.now)
    with contextlib.suppress(PkiError):
        load_authorities(pem)


@settings(max_examples=200, deadline=None)
@given(EDITS)
def test_a_damaged_key_is_refused_or_another_key(edits) -> None:
    with contextlib.suppress(PkiError):
        keys.load_private_key(PrivateKeyPem(damaged(KEY.pem, edits)))
    with contextlib.suppress(PkiError):
        keys.load_public_key(damaged(public_key_pem(KEY), edits))


@given(st.binary(max_size=2000))
def test_noise_is_refused_by_every_reader(noise: bytes) -> None:
    readers = (csr_public_key, load_certificates, load_credential, load_authorities, keys.load_public_key)
    for reader in readers:
        with pytest.raises(PkiError):
            reader(noise)
    with pytest.raises(PkiError):
        keys.load_private_key(PrivateKeyPem(noise))


def test_the_longest_input_is_bounded_for_every_reader(cluster) -> None:
    long = cluster.issue("admin").pem * 200
    for reader in (csr_public_key, load_certificates, load_credential, load_authorities, keys.load_public_key):
        with pytest.raises(PkiError) as caught:
            reader(long)
        assert caught.value.code == "pem-too-long"
