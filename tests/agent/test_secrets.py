"""Envelopes from the store, held against the signed manifest: whatever a thief puts into the bucket is refused."""

import os
import secrets as randomness
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.aws.s3 import Object
from agent.aws.s3_errors import NoSuchKey
from agent.secrets import NodeSecrets, read_local_key
from pki.authority import Authority as SigningAuthority
from pki.certificate import load_certificate
from pki.keys import dump_private_key, make_key, make_service_account_key, public_key_pem
from pki.request import CertificateRequest
from units.envelope import (
    SERVICE_ACCOUNT,
    Context,
    Envelope,
    authority_secret,
    encode_envelope,
    later_secret,
    local_key_name,
    object_key,
    public_sha256,
    seal,
    wrap_locally,
)
from units.errors import BootwrightError, Fatal, Invalid, Refused
from units.host import Secrets
from units.manifest import Authority, Cluster, Manifest, Trust

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
PREFIX = "demo/"


@dataclass
class StoreDouble:
    objects: dict[str, bytes] = field(default_factory=dict)
    gets: list[str] = field(default_factory=list)

    def get(self, key: str, *, max_bytes: int, if_none_match: str | None = None) -> Object:
        self.gets.append(key)
        if key not in self.objects:
            raise NoSuchKey("s3-no-such-key", key)
        return Object(self.objects[key][: max_bytes + 1], "")


class ClockDouble:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0

    def wait(self, seconds: float, reason: str) -> None: ...


def unreachable_kms(envelope: Envelope) -> bytes:
    raise AssertionError("KMS has no part in a local key")


class SealedCluster:
    """A sealed cluster: its CAs, its service-account key, and a local key."""

    def __init__(self, path: Path) -> None:
        self.local_key = randomness.token_bytes(32)
        self.key_file = path / "secrets.key"
        self.write_key(self.local_key)
        self.store = StoreDouble()
        self.authorities = {name: SigningAuthority.create(name, NOW) for name in ("kubernetes", "front-proxy")}
        self.service_account = make_service_account_key()
        for name, authority in self.authorities.items():
            self.seal(authority_secret(name), dump_private_key(authority.key).pem)
        self.seal(SERVICE_ACCOUNT, self.service_account.pem)

    def write_key(self, key: bytes, mode: int = 0o600) -> None:
        self.key_file.unlink(missing_ok=True)
        self.key_file.write_bytes(key)
        self.key_file.chmod(mode)

    def seal(self, name: str, plaintext: bytes, *, key: bytes | None = None, **context: str) -> bytes:
        data_key = randomness.token_bytes(32)
        local = key or self.local_key
        body = encode_envelope(
            seal(
                plaintext,
                key=local_key_name(local),
                context=Context(**{"cluster": "demo", "uid": "u-1", "name": name, **context}),
                data_key=data_key,
                wrapped_key=wrap_locally(data_key, local_key=local),
                nonce=randomness.token_bytes(12),
                public_sha256=public_sha256(plaintext) if b"PRIVATE KEY" in plaintext else None,
            )
        )
        self.store.objects[PREFIX + object_key(name)] = body
        return body

    def manifest(self) -> Manifest:
        trust = Trust(
            authorities=tuple(
                Authority(name=name, bundle=authority.certificate.pem.decode())
                for name, authority in self.authorities.items()
            ),
            service_account_keys=(public_key_pem(self.service_account).decode(),),
            service_account_issuer="https://demo",
            secrets_key=local_key_name(self.local_key),
        )
        return Manifest.model_construct(cluster=Cluster(name="demo", uid="u-1", region="eu-west-1"), trust=trust)

    def node(
        self, unwrap: Callable[[Envelope], bytes] = unreachable_kms, *, authority: Authority | None = None
    ) -> NodeSecrets:
        manifest = self.manifest()
        if authority is not None:
            trust = manifest.trust.model_copy(update={"authorities": (authority,)})
            manifest = manifest.model_copy(update={"trust": trust})
        return NodeSecrets(
            manifest,
            self.store,
            PREFIX,
            unwrap_with_kms=unwrap,
            clock=ClockDouble(),
            local_key=self.key_file,
        )


@pytest.fixture
def cluster(tmp_path) -> SealedCluster:
    return SealedCluster(tmp_path)


def refused(node: NodeSecrets, name: str = "authority-kubernetes") -> BootwrightError:
    with pytest.raises(BootwrightError) as caught:
        node.open(name)
    assert caught.value.remedy
    return caught.value


def port(node: NodeSecrets) -> Secrets:
    """The type checker's word that the port is implemented."""
    return node


def test_the_service_account_key_opens(cluster) -> None:
    assert port(cluster.node()).open(SERVICE_ACCOUNT) == cluster.service_account.pem


def test_a_certificate_is_issued_by_the_authority_of_its_profile(cluster) -> None:
    request = CertificateRequest(profile="kube-controller-manager")
    key = make_key()
    issued = load_certificate(cluster.node().issue(request, public_key_pem(key)))
    assert issued.common_name == request.common_name
    issued.parsed.verify_directly_issued_by(cluster.authorities["kubernetes"].certificate.parsed)
    assert issued.not_before < NOW < issued.not_after


def test_an_authority_is_opened_once_for_many_certificates(cluster) -> None:
    node = cluster.node()
    for _ in range(3):
        node.issue(CertificateRequest(profile="kube-scheduler"), public_key_pem(make_key()))
    assert len(cluster.store.gets) == 1


def test_an_envelope_of_another_secret_under_this_ones_name(cluster) -> None:
    objects = cluster.store.objects
    objects[PREFIX + object_key("authority-kubernetes")] = objects[PREFIX + object_key("authority-front-proxy")]
    assert refused(cluster.node()).code == "secret-wrong-context"


@pytest.mark.parametrize("context", [{"cluster": "other"}, {"uid": "u-2"}])
def test_an_envelope_of_another_cluster(cluster, context) -> None:
    cluster.seal("authority-kubernetes", make_key().pem, **context)
    assert refused(cluster.node()).code == "secret-wrong-context"


def test_an_envelope_under_another_key_than_the_signed_one(cluster) -> None:
    """A thief with a key of his own: the manifest names the only key that may seal."""
    theirs = randomness.token_bytes(32)
    cluster.seal("authority-kubernetes", make_key().pem, key=theirs)
    error = refused(cluster.node())
    assert (error.code, error.exit_code) == ("secret-wrong-key", 3)


def test_an_envelope_that_claims_the_signed_key_but_was_sealed_with_another(cluster) -> None:
    theirs = randomness.token_bytes(32)
    body = cluster.seal("authority-kubernetes", make_key().pem, key=theirs)
    forged = body.replace(local_key_name(theirs).encode(), local_key_name(cluster.local_key).encode())
    cluster.store.objects[PREFIX + object_key("authority-kubernetes")] = forged
    assert refused(cluster.node()).code == "secret-tampered"


@pytest.mark.parametrize("name", ["authority-kubernetes", SERVICE_ACCOUNT])
def test_a_swapped_secret_that_opens_is_not_the_signed_one(cluster, name) -> None:
    """Whoever may seal secrets still cannot put another CA under the cluster."""
    cluster.seal(name, make_key().pem)
    error = refused(cluster.node(), name)
    assert (error.code, error.exit_code) == ("secret-swapped", 3)
    assert "signed manifest" in error.message


def test_no_certificate_comes_from_a_swapped_authority(cluster) -> None:
    cluster.seal("authority-kubernetes", make_key().pem)
    with pytest.raises(Refused):
        cluster.node().issue(CertificateRequest(profile="kube-scheduler"), public_key_pem(make_key()))


@pytest.mark.parametrize("place", [10, 100, 300, 500, -10])
def test_a_flipped_byte_anywhere_is_refused(cluster, place) -> None:
    key = PREFIX + object_key("authority-kubernetes")
    body = bytearray(cluster.store.objects[key])
    body[place] ^= 1
    cluster.store.objects[key] = bytes(body)
    assert refused(cluster.node()).exit_code in (2, 3)


def test_what_is_no_key_is_no_authority(cluster) -> None:
    cluster.seal("authority-kubernetes", b"hello")
    with pytest.raises(Invalid) as caught:
        cluster.node().open("authority-kubernetes")
    assert "hello" not in str(caught.value)


def test_a_missing_secret_is_named(cluster) -> None:
    error = refused(cluster.node(), "authority-etcd-peers")
    assert (error.code, type(error)) == ("secret-missing", Fatal)
    assert "demo/secrets/control-plane/authority-etcd-peers.json" in error.message


def test_kms_is_asked_for_what_kms_wrapped(cluster) -> None:
    arn = "awskms:arn:aws:kms:eu-west-1:123456789012:key/abc"
    data_key = randomness.token_bytes(32)
    plaintext = dump_private_key(cluster.authorities["kubernetes"].key).pem
    sealed = seal(
        plaintext,
        key=arn,
        context=Context(cluster="demo", uid="u-1", name="authority-kubernetes"),
        data_key=data_key,
        wrapped_key=b"w" * 100,
        nonce=b"n" * 12,
        public_sha256=None,
    )
    cluster.store.objects[PREFIX + object_key("authority-kubernetes")] = encode_envelope(sealed)
    manifest = cluster.manifest()
    trust = manifest.trust.model_copy(update={"secrets_key": arn})
    node = NodeSecrets(
        manifest.model_copy(update={"trust": trust}),
        cluster.store,
        PREFIX,
        unwrap_with_kms=lambda envelope: data_key if envelope.key == arn else b"",
        clock=ClockDouble(),
        local_key=cluster.key_file,
    )
    assert node.open("authority-kubernetes") == plaintext


# A key that is being replaced


def test_while_two_authorities_are_trusted_the_first_one_signs_with_its_own_envelope(cluster) -> None:
    """Both envelopes lie in the store under names of their own; the signed manifest says which one signs."""
    old, new = cluster.authorities["kubernetes"], SigningAuthority.create("kubernetes", NOW)
    later = later_secret("authority-kubernetes", new.certificate.spki_sha256)
    cluster.seal(later, dump_private_key(new.key).pem)
    both = (old.certificate.pem.decode(), new.certificate.pem.decode())
    for bundle, secret, signer in (
        (both, "authority-kubernetes", old),
        (both[::-1], later, new),
        (both[1:], later, new),
    ):
        authority = Authority(name="kubernetes", bundle="".join(bundle), secret=secret)
        node = cluster.node(authority=authority)
        issued = load_certificate(node.issue(CertificateRequest(profile="kube-scheduler"), public_key_pem(make_key())))
        issued.parsed.verify_directly_issued_by(signer.certificate.parsed)


def test_an_envelope_of_the_authority_that_only_is_trusted_is_a_swapped_one(cluster) -> None:
    new = SigningAuthority.create("kubernetes", NOW)
    later = later_secret("authority-kubernetes", new.certificate.spki_sha256)
    cluster.seal(later, dump_private_key(cluster.authorities["kubernetes"].key).pem)
    pems = (new.certificate.pem.decode(), cluster.authorities["kubernetes"].certificate.pem.decode())
    authority = Authority(name="kubernetes", bundle="".join(pems), secret=later)
    with pytest.raises(Refused) as caught:
        cluster.node(authority=authority).issue(
            CertificateRequest(profile="kube-scheduler"), public_key_pem(make_key())
        )
    assert caught.value.code == "secret-swapped"


# The local key file


def test_a_key_that_others_can_read_is_refused(cluster) -> None:
    cluster.write_key(cluster.local_key, mode=0o640)
    assert refused(cluster.node()).code == "secrets-key-exposed"


@pytest.mark.root
def test_a_key_that_another_user_owns_is_refused(cluster) -> None:
    os.chown(cluster.key_file, 65534, -1)
    assert refused(cluster.node()).code == "secrets-key-exposed"


@pytest.mark.parametrize("key", [b"", b"x" * 31, b"x" * 32, b"x" * 33])
def test_another_key_than_the_manifest_names_is_refused(cluster, key) -> None:
    cluster.write_key(key)
    assert refused(cluster.node()).code == "secrets-key-other"


def test_a_missing_or_linked_key_says_what_to_do(cluster, tmp_path) -> None:
    real = tmp_path / "elsewhere"
    cluster.key_file.rename(real)
    assert refused(cluster.node()).code == "secrets-key-missing"
    cluster.key_file.symlink_to(real)
    assert refused(cluster.node()).code == "secrets-key-missing"
    assert read_local_key(real, named=local_key_name(cluster.local_key)) == cluster.local_key


def test_nothing_secret_prints(cluster) -> None:
    node = cluster.node()
    node.open("authority-kubernetes")
    node.issue(CertificateRequest(profile="kube-scheduler"), public_key_pem(make_key()))
    assert "PRIVATE" not in repr(node)
    assert repr(node).startswith("NodeSecrets(local:")
