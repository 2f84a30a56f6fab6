"""Key files, passphrases, and the rule that a threshold counts keys, not names of keys."""

import os
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from coordinator.key_directory import KeyDirectory
from coordinator.keys import SigningKeys, make_signing_key, protect, public_half, refuse_one_key_twice, unlock
from coordinator.passphrase import Passphrase
from coordinator.pkcs8 import encrypt_pkcs8
from coordinator.root_keys import make_key_plan
from coordinator.secrets_key import LOCAL_FILE, make_local_key, open_local_key
from coordinator.state import State
from coordinator.tuf_api import SSlibKey
from tests.coordinator.workshop import PASSPHRASE, Workshop
from units.errors import Fatal, Invalid, Refused

pytestmark = pytest.mark.slow  # scrypt


def test_openssl_opens_a_key_file_with_the_passphrase_and_only_with_it(tmp_path: Path) -> None:
    key = make_signing_key()
    file = tmp_path / "key.pem"
    file.write_bytes(protect(key, b"correct horse"))

    def openssl(passphrase: str) -> subprocess.CompletedProcess[bytes]:
        command = ["openssl", "pkey", "-in", str(file), "-passin", f"pass:{passphrase}", "-pubout"]
        return subprocess.run(command, capture_output=True, check=False)

    expected = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert openssl("correct horse").stdout == expected
    assert openssl("wrong horse").returncode != 0


def test_openssl_sees_scrypt_at_owasp_strength(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(protect(make_signing_key(), b"x" * 12))
    parsed = subprocess.run(
        ["openssl", "asn1parse", "-in", str(tmp_path / "key.pem")], capture_output=True, check=True, text=True
    ).stdout
    assert ":scrypt" in parsed
    assert ":4000" in parsed  # N = 2**14, with r = 8 and p = 5: a row of OWASP's table
    assert ":aes-256-cbc" in parsed


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 127, 128, 1000])
def test_a_key_of_any_size_comes_back(size: int) -> None:
    # Any DER goes through the container; only a real key loads, so the container is checked with openssl's own layout.
    pem = encrypt_pkcs8(os.urandom(size), b"x" * 12)
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert all(len(line) <= 64 for line in pem.splitlines())


def test_a_wrong_passphrase_is_refused_and_not_repeated_in_the_message() -> None:
    content = protect(make_signing_key(), b"right-passphrase")
    with pytest.raises(Refused) as caught:
        unlock(content, b"wrong-passphrase", file="targets.pem")
    assert caught.value.code == "passphrase-wrong"
    assert "targets.pem" in str(caught.value)
    assert "wrong-passphrase" not in str(caught.value)


def test_a_key_in_the_clear_is_refused() -> None:
    plain = make_signing_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(Refused, match="no passphrase-protected key"):
        unlock(plain, b"", file="targets.pem")


def test_an_rsa_key_is_refused() -> None:
    content = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(Invalid, match="RSA"):
        unlock(content, b"secret", file="targets.pem")


def test_an_ed25519_key_signs_too() -> None:
    content = ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    assert public_half(unlock(content, b"secret", file="a"), "file:a").keytype == "ed25519"


def test_one_key_under_two_key_ids_is_refused() -> None:
    one = SSlibKey.from_crypto(make_signing_key().public_key())
    same = SSlibKey("0" * 64, one.keytype, one.scheme, dict(one.keyval))
    other = SSlibKey.from_crypto(make_signing_key().public_key())
    refuse_one_key_twice([one, other])
    with pytest.raises(Refused, match="are the same key"):
        refuse_one_key_twice([one, other, same])


def test_one_key_under_one_key_id_twice_is_refused_too() -> None:
    one = SSlibKey.from_crypto(make_signing_key().public_key())
    with pytest.raises(Refused, match="are the same key"):
        refuse_one_key_twice([one, one])


def test_one_key_in_two_spellings_of_pem_is_refused() -> None:
    one = SSlibKey.from_crypto(make_signing_key().public_key())
    respelt = {"public": one.keyval["public"].replace("\n", "\r\n")}
    with pytest.raises(Refused, match="are the same key"):
        refuse_one_key_twice([one, SSlibKey("0" * 64, one.keytype, one.scheme, respelt)])


def test_a_copied_root_key_file_does_not_make_a_second_root_key(tmp_path: Path, workshop: Workshop) -> None:
    from coordinator.directory_store import DirectoryStore
    from coordinator.root_keys import KeyPlan

    fresh = Workshop(tmp_path / "other-keys", DirectoryStore(tmp_path / "other"), workshop.clock)
    fresh.directory.prepare()
    for name in ("root-1.pem", "root-2.pem", "root-3.pem"):
        fresh.directory.write(name, workshop.directory.read("root-1.pem") or b"")
    with pytest.raises(Refused, match="are the same key"):
        fresh.found(KeyPlan(root_keys=3, threshold=2))


def test_a_missing_key_file_is_named_with_its_directory(workshop: Workshop) -> None:
    (workshop.directory.path / "targets.pem").unlink()
    with pytest.raises(Refused) as caught:
        workshop.put_target("assets.json", b"{}")
    assert caught.value.code == "signing-key-missing"
    assert "file:targets.pem" in caught.value.message
    assert str(workshop.directory.path) in caught.value.message


def test_another_clusters_key_file_is_refused(workshop: Workshop) -> None:
    workshop.directory.write("targets.pem", workshop.directory.read("online.pem") or b"")
    with pytest.raises(Refused, match="is not the key"):
        workshop.put_target("assets.json", b"{}")


def test_a_wrong_passphrase_stops_a_commit_before_anything_is_written(workshop: Workshop) -> None:
    before = [item.key for item in workshop.store.list("")]
    workshop.passphrase = Passphrase("something else entirely")
    with pytest.raises(Refused, match="the passphrase does not open it"):
        workshop.put_target("assets.json", b"{}")
    assert [item.key for item in workshop.store.list("")] == before


def test_no_passphrase_is_asked_for_where_no_key_file_is(workshop: Workshop) -> None:
    for name in ("targets.pem", "online.pem"):
        (workshop.directory.path / name).unlink()
    keys = SigningKeys(workshop.directory, Passphrase(), lambda *_: None)  # type: ignore[arg-type,return-value]
    state: State = workshop.repository.read()
    with pytest.raises(Refused, match="needs 1 of"):
        keys.signers(state.root, "targets")


def test_a_key_directory_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.mkdir()
    path.chmod(0o750)
    with pytest.raises(Refused, match="0750"):
        KeyDirectory(path).prepare()


def test_files_in_the_key_directory_are_for_their_owner_only(workshop: Workshop) -> None:
    assert workshop.directory.path.stat().st_mode & 0o777 == 0o700
    written = ["init.json", "root.json", "floor.json", "sealed-service-account.json"]
    assert {(workshop.directory.path / name).stat().st_mode & 0o777 for name in written} == {0o600}


def test_two_commands_do_not_make_keys_in_one_directory_at_once(tmp_path: Path) -> None:
    directory = KeyDirectory(tmp_path / "keys")
    directory.prepare()
    with directory.locked(), pytest.raises(Fatal, match="another coordinator"), KeyDirectory(directory.path).locked():
        pass


def test_a_local_secrets_key_is_made_once_and_opens_with_the_passphrase(tmp_path: Path) -> None:
    directory = KeyDirectory(tmp_path / "keys")
    directory.prepare()
    make_local_key(directory, Passphrase(PASSPHRASE))
    first = open_local_key(directory, Passphrase(PASSPHRASE))
    make_local_key(directory, Passphrase(PASSPHRASE))
    assert open_local_key(directory, Passphrase(PASSPHRASE)) == first
    assert len(first) == 32
    assert first not in (directory.read(LOCAL_FILE) or b"")
    with pytest.raises(Refused, match="the passphrase does not open it"):
        open_local_key(directory, Passphrase("another passphrase"))


def test_a_threshold_above_one_gets_one_spare_key() -> None:
    assert make_key_plan(root_keys=None, threshold=2, targets=None, online=None).root_keys == 3
    assert make_key_plan(root_keys=None, threshold=1, targets=None, online=None).is_weak


@pytest.mark.parametrize(("root_keys", "threshold"), [(1, 2), (3, 0), (11, 2), (0, 0)])
def test_an_impossible_threshold_is_refused(root_keys: int, threshold: int) -> None:
    with pytest.raises(Invalid, match="root keys"):
        make_key_plan(root_keys=root_keys, threshold=threshold, targets=None, online=None)


def test_content_and_freshness_do_not_share_a_key() -> None:
    uri = "awskms:arn:aws:kms:eu-west-1:111122223333:key/a"
    with pytest.raises(Invalid, match="are the same key"):
        make_key_plan(root_keys=1, threshold=1, targets=uri, online=uri)
