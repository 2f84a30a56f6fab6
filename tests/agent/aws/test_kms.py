import base64
import json

import pytest

from agent.aws.credentials import Credentials
from agent.aws.kms import Kms
from units.envelope import Context, Envelope, open_envelope, seal
from units.errors import BootwrightError, Refused

KEYS = Credentials("AKIDTEST", "secret", "token", source="role demo-control-plane")
CONTEXT = Context(cluster="demo", uid="u-1", name="authority-kubernetes")
ARN = "arn:aws:kms:eu-west-1:123456789012:key/12345678-1234-1234-1234-123456789012"


def envelope(
    arn: str = ARN, context: Context = CONTEXT, wrapped: bytes = b"w" * 40, data_key: bytes = b"d" * 32
) -> Envelope:
    return seal(
        b"the private key",
        key=f"awskms:{arn}",
        context=context,
        data_key=data_key,
        wrapped_key=wrapped,
        nonce=b"n" * 12,
        public_sha256=None,
    )


@pytest.fixture
def key(moto_endpoint):
    """A KMS key in moto, and a way to make data keys with it."""
    import boto3

    client = boto3.client(
        "kms", endpoint_url=moto_endpoint, region_name="eu-west-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    arn = client.create_key()["KeyMetadata"]["Arn"]

    def generate(context: Context = CONTEXT) -> tuple[bytes, bytes]:
        made = client.generate_data_key(KeyId=arn, KeySpec="AES_256", EncryptionContext=context.as_kms())
        return made["Plaintext"], made["CiphertextBlob"]

    return arn, generate


@pytest.fixture
def kms(moto_endpoint, waits) -> Kms:
    return Kms(lambda: KEYS, endpoint=moto_endpoint, waits=waits)


def test_an_envelope_sealed_under_kms_opens(kms, key) -> None:
    arn, generate = key
    data_key, wrapped = generate()
    sealed = envelope(arn, wrapped=wrapped, data_key=data_key)
    assert open_envelope(sealed, data_key=kms.unwrap(sealed)) == b"the private key"


def test_kms_refuses_another_context(kms, key) -> None:
    """moto checks the encryption context as KMS does (trust.md, question 3)."""
    arn, generate = key
    data_key, wrapped = generate()
    moved = envelope(arn, CONTEXT.model_copy(update={"name": "authority-front-proxy"}), wrapped, data_key)
    with pytest.raises(Refused) as caught:
        kms.unwrap(moved)
    assert caught.value.code == "secret-tampered"


@pytest.fixture
def scripted(server, waits) -> Kms:
    return Kms(lambda: KEYS, endpoint=server.url, waits=waits)


@pytest.mark.parametrize(
    ("status", "kind", "code", "exit_code"),
    [
        (400, "InvalidCiphertextException", "secret-tampered", 3),
        (400, "IncorrectKeyException", "secret-tampered", 3),
        (400, "AccessDeniedException", "kms-access-denied", 4),
        (400, "UnrecognizedClientException", "kms-access-denied", 4),
        (400, "DisabledException", "kms-key-unusable", 1),
        (400, "KMSInvalidStateException", "kms-key-unusable", 1),
        (400, "NotFoundException", "kms-key-unusable", 1),
        (400, "ThrottlingException", "kms-busy", 4),
        (500, "KMSInternalException", "kms-busy", 4),
        (400, "Surprise", "kms-unexpected", 1),
    ],
)
def test_each_refusal_has_its_meaning(scripted, server, answer, status, kind, code, exit_code) -> None:
    server.script(answer(status, json.dumps({"__type": f"com.amazonaws#{kind}", "message": "words"}).encode()))
    with pytest.raises(BootwrightError) as caught:
        scripted.unwrap(envelope())
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert caught.value.remedy
    assert "authority-kubernetes" in caught.value.message or kind in caught.value.message or ARN in caught.value.message


def test_the_request_pins_key_and_context_and_is_signed_for_kms(scripted, server, answer) -> None:
    server.script(answer(200, json.dumps({"Plaintext": base64.b64encode(b"k" * 32).decode()}).encode()))
    assert scripted.unwrap(envelope()) == b"k" * 32
    _, _, headers, body = server.requests[0]
    assert headers["x-amz-target"] == "TrentService.Decrypt"
    assert "/eu-west-1/kms/aws4_request" in headers["authorization"]
    asked = json.loads(body)
    assert (asked["KeyId"], asked["EncryptionContext"]) == (ARN, CONTEXT.as_kms())


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"Plaintext": "!!"}', b"[" * 5000])
def test_an_answer_without_sense_is_an_error_and_no_key(scripted, server, answer, body) -> None:
    server.script(answer(200, body))
    with pytest.raises(BootwrightError) as caught:
        scripted.unwrap(envelope())
    assert caught.value.code == "kms-unexpected"


def test_a_busy_kms_is_asked_again(scripted, server, answer) -> None:
    good = json.dumps({"Plaintext": base64.b64encode(b"k" * 32).decode()}).encode()
    server.script(answer(500, b"{}"), answer(400, b'{"__type": "ThrottlingException"}'), answer(200, good))
    assert scripted.unwrap(envelope()) == b"k" * 32


def test_an_unreachable_kms_is_told_after_a_minute(waits, clock) -> None:
    with pytest.raises(BootwrightError) as caught:
        Kms(lambda: KEYS, endpoint="http://127.0.0.1:1", waits=waits).unwrap(envelope())
    assert caught.value.code == "kms-unreachable"
    assert clock.now == pytest.approx(60)


@pytest.mark.parametrize(
    "arn", ["arn:aws:s3:::bucket", "arn:aws:kms:eu-west-1:1:alias/x", "arn:aws:kms:../x:123456789012:key/a"]
)
def test_what_is_no_key_arn_is_never_asked_for(waits, arn) -> None:
    with pytest.raises(BootwrightError) as caught:
        Kms(lambda: KEYS, waits=waits).unwrap(envelope(arn))
    assert caught.value.code == "kms-key-invalid"
