import base64
import json
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from units import envelope as envelopes
from units.envelope import Context, Envelope
from units.errors import BootwrightError, Invalid, Refused

CONTEXT = Context(cluster="demo.example", uid="u-1", name="authority-kubernetes")
LOCAL_KEY = bytes(range(32))
DATA_KEY = bytes(range(32, 64))


def sealed(plaintext: bytes = b"the key", context: Context = CONTEXT) -> Envelope:
    return envelopes.seal(
        plaintext,
        key=envelopes.local_key_name(LOCAL_KEY),
        context=context,
        data_key=DATA_KEY,
        wrapped_key=envelopes.wrap_locally(DATA_KEY, local_key=LOCAL_KEY),
        nonce=b"n" * 12,
        public_sha256="0" * 64,
    )


def opened(envelope: Envelope) -> bytes:
    return envelopes.open_envelope(envelope, data_key=envelopes.unwrap_locally(envelope, local_key=LOCAL_KEY))


def test_what_was_sealed_opens_again_after_a_trip_through_json() -> None:
    data = envelopes.encode_envelope(sealed(b"-----BEGIN"))
    assert opened(envelopes.decode_envelope(data)) == b"-----BEGIN"
    assert set(json.loads(data)) == {"v", "key", "context", "wrappedKey", "nonce", "ciphertext", "publicSha256"}
    assert b"-----BEGIN" not in data


def _flip_base64(text: str) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[-1] ^= 1
    return base64.b64encode(bytes(raw)).decode()


@pytest.mark.parametrize("field", ["wrappedKey", "nonce", "ciphertext"])
def test_a_flipped_bit_in_any_part_is_refused(field: str) -> None:
    document = json.loads(envelopes.encode_envelope(sealed()))
    document[field] = _flip_base64(document[field])
    with pytest.raises(Refused) as caught:
        opened(envelopes.decode_envelope(json.dumps(document).encode()))
    assert caught.value.code == "secret-tampered"


@pytest.mark.parametrize("part", ["cluster", "uid", "name"])
def test_a_context_rewritten_to_fit_another_node_does_not_authenticate(part: str) -> None:
    document = json.loads(envelopes.encode_envelope(sealed()))
    document["context"][part] = "other"
    rewritten = envelopes.decode_envelope(json.dumps(document).encode())
    envelopes.require(rewritten, key=rewritten.key, context=rewritten.context)
    with pytest.raises(Refused) as caught:
        opened(rewritten)
    assert caught.value.code == "secret-tampered"


@pytest.mark.parametrize(
    ("key", "context", "code"),
    [
        ("local:" + "0" * 16, CONTEXT, "secret-wrong-key"),
        (envelopes.local_key_name(LOCAL_KEY), CONTEXT.model_copy(update={"uid": "u-2"}), "secret-wrong-context"),
        (envelopes.local_key_name(LOCAL_KEY), CONTEXT.model_copy(update={"name": "x"}), "secret-wrong-context"),
    ],
)
def test_another_key_or_context_is_refused_before_a_key_is_used(key: str, context: Context, code: str) -> None:
    with pytest.raises(Refused) as caught:
        envelopes.require(sealed(), key=key, context=context)
    assert caught.value.code == code
    assert caught.value.remedy


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.update(v=2),
        lambda d: d.update(extra=1),
        lambda d: d.pop("nonce"),
        lambda d: d.update(nonce="!!"),
        lambda d: d.update(nonce="YWJ="),  # decodes like YWI=
        lambda d: d.update(key="plain"),
        lambda d: d["context"].update(role="node"),
    ],
)
def test_what_is_not_exactly_an_envelope_is_invalid(damage: Callable[[dict[str, object]], object]) -> None:
    document = json.loads(envelopes.encode_envelope(sealed()))
    damage(document)
    with pytest.raises(Invalid) as caught:
        envelopes.decode_envelope(json.dumps(document).encode())
    assert caught.value.code == "secret-envelope-invalid"
    assert caught.value.problems


def test_an_oversized_object_is_invalid() -> None:
    with pytest.raises(BootwrightError, match="at most"):
        envelopes.decode_envelope(b" " * (envelopes.MAX_BYTES + 1))


@pytest.mark.parametrize(("data_key", "nonce"), [(b"k" * 16, b"n" * 12), (b"k" * 32, b"n" * 8)])
def test_weak_keys_and_nonces_are_never_used(data_key: bytes, nonce: bytes) -> None:
    with pytest.raises(Invalid):
        envelopes.seal(
            b"x",
            key="local:" + "0" * 16,
            context=CONTEXT,
            data_key=data_key,
            wrapped_key=b"w" * 40,
            nonce=nonce,
            public_sha256=None,
        )


def test_both_halves_of_a_key_have_one_public_digest() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    private_pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public_pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert envelopes.public_sha256(private_pem) == envelopes.public_sha256(public_pem)
    with pytest.raises(Invalid, match="not an unencrypted PEM key"):
        envelopes.public_sha256(b"-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n")
