"""Keys in KMS, against moto: envelopes are bound to their context, signatures verify, regions come from ARNs."""

import base64
from pathlib import Path

import pytest

from coordinator.aws import kms
from coordinator.aws.kms import KmsSigner
from coordinator.aws.session import Aws
from coordinator.directory_store import DirectoryStore
from coordinator.founding import FoundingRequest, FoundingTools, found_cluster
from coordinator.keys import SigningKeys
from coordinator.root_keys import KeyPlan
from coordinator.secrets_key import KmsSecretsKey, seal_fresh
from coordinator.state import Lifetimes
from tests.coordinator.workshop import CLUSTER, ClockDouble, Workshop, seed_cheap_keys
from units.envelope import Context, decode_envelope, object_key, open_envelope
from units.errors import BootwrightError, Fatal, Invalid

pytestmark = pytest.mark.slow  # a moto server and scrypt

CONTEXT = Context(cluster=CLUSTER, uid="u-1", name="authority-kubernetes")


class RawKmsSignerDouble(KmsSigner):
    """moto hashes a DIGEST once more (trust.md 1.7), so under moto the message itself is sent."""

    MESSAGE_TYPE = "RAW"

    def message(self, payload: bytes) -> bytes:
        return payload


def make_key(aws: Aws, usage: str, spec: str, region: str = "eu-west-1") -> str:
    created = aws.client("kms", region=region).create_key(KeyUsage=usage, KeySpec=spec)
    return f"awskms:{created['KeyMetadata']['Arn']}"


@pytest.fixture
def secrets_key(aws: Aws) -> str:
    return make_key(aws, "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT")


def test_an_envelope_opens_with_its_own_context_and_with_no_other(aws: Aws, secrets_key: str) -> None:
    envelope = seal_fresh(b"private", KmsSecretsKey(aws, secrets_key), CONTEXT, "0" * 64)
    data_key = kms.decrypt_data_key(aws, secrets_key, envelope.wrapped_key_bytes, CONTEXT.as_kms())
    assert open_envelope(envelope, data_key=data_key) == b"private"
    other = CONTEXT.model_copy(update={"cluster": "other.example.com"})
    with pytest.raises(BootwrightError):
        kms.decrypt_data_key(aws, secrets_key, envelope.wrapped_key_bytes, other.as_kms())


def test_every_envelope_has_a_data_key_and_a_nonce_of_its_own(aws: Aws, secrets_key: str) -> None:
    key = KmsSecretsKey(aws, secrets_key)
    first, second = (seal_fresh(b"private", key, CONTEXT, "0" * 64) for _ in range(2))
    assert first.wrapped_key != second.wrapped_key
    assert first.nonce != second.nonce


def test_the_region_comes_from_the_arn(aws: Aws) -> None:
    far = make_key(aws, "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT", region="ap-southeast-2")
    assert kms.region_of(far) == "ap-southeast-2"
    plain, wrapped = kms.generate_data_key(aws, far, CONTEXT.as_kms())
    assert kms.decrypt_data_key(aws, far, wrapped, CONTEXT.as_kms()) == plain


@pytest.mark.parametrize("uri", ["awskms:alias/mine", "awskms:1234abcd", "arn:aws:s3:eu-west-1:1:key/a", ""])
def test_what_is_no_kms_arn_is_refused(uri: str) -> None:
    with pytest.raises(Invalid, match="is not the ARN of a KMS key"):
        kms.region_of(uri)


def test_a_missing_key_is_named(aws: Aws) -> None:
    uri = "awskms:arn:aws:kms:eu-west-1:123456789012:key/00000000-0000-0000-0000-000000000000"
    with pytest.raises(Fatal, match="kms:GenerateDataKey on arn:aws:kms"):
        kms.generate_data_key(aws, uri, {})


@pytest.mark.parametrize(("usage", "spec"), [("SIGN_VERIFY", "RSA_2048"), ("SIGN_VERIFY", "ECC_NIST_P384")])
def test_a_signing_key_of_another_kind_is_refused(aws: Aws, usage: str, spec: str) -> None:
    with pytest.raises(Invalid, match="ECC_NIST_P256"):
        kms.public_key(aws, make_key(aws, usage, spec))


def test_a_cluster_whose_online_and_targets_keys_never_leave_kms(
    aws: Aws, secrets_key: str, tmp_path: Path, clock: ClockDouble
) -> None:
    plan = KeyPlan(
        targets=make_key(aws, "SIGN_VERIFY", "ECC_NIST_P256"), online=make_key(aws, "SIGN_VERIFY", "ECC_NIST_P256")
    )
    desk = Workshop(tmp_path / "keys", DirectoryStore(tmp_path / "store"), clock)
    seed_cheap_keys(desk.directory.path, plan)
    signing = SigningKeys(desk.directory, desk.passphrase, lambda uri, key: RawKmsSignerDouble(aws, uri, key))
    founded = found_cluster(
        FoundingRequest(CLUSTER, plan, secrets_key, Lifetimes(), "tests"),
        FoundingTools(
            store=desk.store,
            directory=desk.directory,
            passphrase=desk.passphrase,
            repository=desk.repository,
            signing=signing,
            kms_public_key=lambda uri: kms.public_key(aws, uri),
            secrets_key=lambda uri: KmsSecretsKey(aws, uri),
            clock=clock,
            say=lambda _text: None,
        ),
    )
    assert founded.document.secrets_key == secrets_key
    assert sorted(file.name for file in desk.directory.path.glob("*.pem")) == ["root-1.pem"]
    (desk.directory.path / "root-1.pem").unlink()  # offline from now on
    assert desk.repository.refresh(signing).state.timestamp.version == 2
    stored = desk.store.get(object_key("authority-kubernetes"))
    assert stored is not None
    envelope = decode_envelope(stored.body)
    assert envelope.key == secrets_key
    wrapped = base64.b64decode(envelope.wrapped_key)
    plain = open_envelope(envelope, data_key=kms.decrypt_data_key(aws, secrets_key, wrapped, envelope.context.as_kms()))
    assert plain.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_only_a_digest_is_sent_to_kms(aws: Aws) -> None:
    uri = make_key(aws, "SIGN_VERIFY", "ECC_NIST_P256")
    signer = KmsSigner(aws, uri, kms.public_key(aws, uri))
    assert (signer.MESSAGE_TYPE, len(signer.message(b"x" * 100_000))) == ("DIGEST", 32)
