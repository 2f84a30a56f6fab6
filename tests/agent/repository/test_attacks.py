"""Every attack of trust.md's list, each refused under its own name, with nothing that the node remembers any lower.

T1 to T13, T16 and T23 here; T14, T15, T22, T25 in test_expiry, T17 in test_repository, T18 to T21 in test_crash.
"""

import copy
import json

import pytest

M = "demo/tuf/metadata/"
RELEASE = b'{"serial": 1}\n'


def release_key(bench, body: bytes = RELEASE, group: str = "control-plane") -> str:
    import hashlib

    return f"demo/tuf/targets/groups/{hashlib.sha256(body).hexdigest()}.{group}.json"


# T1, T2: the release document


def test_t1_a_changed_release_of_the_same_length(bench, publisher) -> None:
    publisher.objects[release_key(bench)] = b'{"serial": 9}\n'
    with bench.refused("trust-wrong-hash", "control-plane.json", "changed"):
        bench.node().refresh()


def test_t2_another_groups_release_under_this_groups_name(bench, publisher) -> None:
    other = next(key for key in publisher.objects if key.endswith(".node.json"))
    publisher.objects[release_key(bench)] = publisher.objects[other]
    with bench.refused("trust-endless", "control-plane.json"):
        bench.node().refresh()
    publisher.objects[release_key(bench)] = publisher.objects[other][: len(RELEASE)]
    with bench.refused("trust-wrong-hash", "control-plane.json"):
        bench.node().refresh()


@pytest.mark.parametrize("place", [0, -2])
@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("1.root.json", {"trust-root-pin"}),
        ("timestamp.json", {"trust-unsigned", "trust-damaged"}),
        ("1.snapshot.json", {"trust-wrong-hash"}),
        ("1.targets.json", {"trust-unsigned", "trust-damaged"}),
    ],
)
def test_a_flipped_byte_in_any_metadata(bench, publisher, name, codes, place) -> None:
    settings = publisher.settings()
    flip(publisher, f"{M}{name}", place)
    error = refusal(bench, settings)
    assert error.code in codes
    assert error.exit_code == 3
    assert name in error.message


def flip(publisher, key: str, place: int) -> None:
    body = bytearray(publisher.objects[key])
    body[place] ^= 1
    publisher.objects[key] = bytes(body)


def refusal(bench, settings):
    from units.errors import BootwrightError

    with pytest.raises(BootwrightError) as caught:
        bench.node(settings).refresh()
    return caught.value


@pytest.mark.parametrize("place", [0, 20, -2])
def test_a_flipped_byte_in_a_newer_root(bench, publisher, booted, place) -> None:
    publisher.new_root("timestamp")
    publisher.refresh()
    flip(publisher, f"{M}2.root.json", place)
    error = refusal(bench, None)
    assert error.code in {"trust-root-pin", "trust-unsigned", "trust-damaged", "trust-root-floor"}
    assert error.exit_code == 3


# T3, T4, T10: forged signatures


def test_t3_a_whole_repository_of_other_keys(bench, publisher, thief) -> None:
    settings = publisher.settings()
    publisher.objects.update(thief().objects)
    with bench.refused("trust-root-pin", "another repository's root"):
        bench.node(settings).refresh()


def test_t3_a_whole_repository_of_other_keys_behind_the_genuine_root(bench, publisher, thief) -> None:
    root = publisher.objects[f"{M}1.root.json"]
    publisher.objects.update(thief().objects)
    publisher.objects[f"{M}1.root.json"] = root
    with bench.refused("trust-unsigned", "timestamp.json", "not signed by the keys"):
        bench.node().refresh()


def test_t3_only_the_targets_are_forged(bench, publisher, thief) -> None:
    """With the online keys stolen: snapshot and timestamp fit the forged targets."""
    publisher.signers["targets"] = thief().signers["targets"]
    publisher.publish({"control-plane": b"evil"})
    with bench.refused("trust-unsigned", "2.targets.json"):
        bench.node(publisher.settings(targets_version=1)).refresh()


def test_t4_a_new_root_that_only_its_own_keys_signed(bench, publisher, thief, booted) -> None:
    forged = thief()
    forged.new_root()
    publisher.objects[f"{M}2.root.json"] = forged.objects[f"{M}2.root.json"]
    with bench.refused("trust-unsigned", "2.root.json"):
        bench.node().refresh()


def test_t10_one_of_three_root_keys_is_not_enough(bench, publisher, booted) -> None:
    settings = publisher.settings()
    publisher.new_root("targets", signers=publisher.root_signers[:1])
    with bench.refused("trust-unsigned", "2.root.json"):
        bench.node(settings).refresh()


# T5, T6, T7: old but genuine


def test_t5_an_older_repository_on_a_node_that_saw_the_newer_one(bench, publisher) -> None:
    old = copy.deepcopy(publisher.objects)
    settings = publisher.settings()
    publisher.publish({"control-plane": b"fixed"})
    bench.node(settings).refresh()
    publisher.objects.clear()
    publisher.objects.update(old)
    with bench.refused("trust-rollback", "timestamp.json", "older"):
        bench.node(settings).refresh()
    assert bench.node(settings).kept().release == b"fixed"


def test_t5_only_the_timestamp_is_put_back(bench, publisher) -> None:
    old = publisher.objects[f"{M}timestamp.json"]
    settings = publisher.settings()
    publisher.publish({"control-plane": b"fixed"})
    bench.node(settings).refresh()
    publisher.objects[f"{M}timestamp.json"] = old
    with bench.refused("trust-rollback", "timestamp.json"):
        bench.node(settings).refresh()


def test_t5_stolen_online_keys_roll_the_targets_back(bench, publisher) -> None:
    settings = publisher.settings()
    publisher.publish({"control-plane": b"fixed"})
    bench.node(settings).refresh()
    publisher.snapshot.meta["targets.json"].version = 1
    publisher.snapshot.version += 1
    publisher.write_snapshot()
    publisher.refresh()
    with bench.refused("trust-rollback", "snapshot.json"):
        bench.node(settings).refresh()


def test_t6_an_older_repository_on_a_fresh_node_is_stopped_by_user_datas_floor(bench, publisher) -> None:
    old = copy.deepcopy(publisher.objects)
    publisher.publish({"control-plane": b"fixed"})
    settings = publisher.settings()
    publisher.objects.clear()
    publisher.objects.update(old)
    with bench.refused("trust-rollback", "targets.json", "user-data demands at least 2"):
        bench.node(settings).refresh()
    assert not list(bench.state.glob("*.json"))


@pytest.mark.parametrize("baked", [True, False])
def test_t7_a_hidden_root_with_keys_that_it_revokes(bench, publisher, baked) -> None:
    """The thief has the old online and targets keys, and hides the root that took them away."""
    if baked:
        bench.baked.write_bytes(publisher.objects[f"{M}1.root.json"])
    revoked = dict(publisher.signers)
    publisher.new_root("targets", "snapshot", "timestamp")
    publisher.publish({"control-plane": b"fixed"})
    settings = publisher.settings()
    del publisher.objects[f"{M}2.root.json"]
    publisher.signers = revoked
    publisher.publish({"control-plane": b"evil"})
    if baked:
        with bench.refused("trust-root-floor", "somebody hides it"):
            bench.node(settings).refresh()
    else:
        with bench.refused("trust-object-missing", "2.root.json", exit_code=4):
            bench.node(settings).refresh()


def test_t7_a_hidden_root_is_named_even_when_the_rest_is_honest(bench, publisher) -> None:
    bench.baked.write_bytes(publisher.objects[f"{M}1.root.json"])
    publisher.new_root("timestamp")
    publisher.refresh()
    settings = publisher.settings()
    del publisher.objects[f"{M}2.root.json"]
    with bench.refused("trust-root-floor", "version 1, but version 2"):
        bench.node(settings).refresh()


def test_t7_a_root_that_this_node_saw_cannot_be_hidden_by_wiping_its_cache(bench, publisher) -> None:
    settings = publisher.settings()
    revoked = dict(publisher.signers)
    publisher.new_root("targets", "snapshot", "timestamp")
    publisher.publish()
    bench.node(settings).refresh()
    import shutil

    shutil.rmtree(bench.state / "metadata")
    del publisher.objects[f"{M}2.root.json"]
    publisher.signers = revoked
    publisher.publish({"control-plane": b"evil"})
    with bench.refused("trust-root-floor", "version 1, but version 2"):
        bench.node(settings).refresh()


# T8: parts of different states


def test_t8_old_targets_under_the_new_name(bench, publisher, booted) -> None:
    old = publisher.objects[f"{M}1.targets.json"]
    settings = publisher.settings()
    publisher.publish({"control-plane": b"fixed"})
    publisher.objects[f"{M}2.targets.json"] = old
    with bench.refused("trust-mix-and-match", "2.targets.json", "holds version 1, not 2"):
        bench.node(settings).refresh()


def test_t8_an_old_snapshot_under_the_new_name(bench, publisher, booted) -> None:
    old = publisher.objects[f"{M}1.snapshot.json"]
    settings = publisher.settings()
    publisher.publish({"control-plane": b"fixed"})
    publisher.objects[f"{M}2.snapshot.json"] = old
    with bench.refused("trust-mix-and-match", "2.snapshot.json", "holds version 1, not 2"):
        bench.node(settings).refresh()


def test_t8_an_old_root_under_a_new_name(bench, publisher, booted) -> None:
    publisher.objects[f"{M}2.root.json"] = publisher.objects[f"{M}1.root.json"]
    with bench.refused("trust-mix-and-match", "2.root.json", "holds version 1, not 2"):
        bench.node().refresh()


# T9: delegations


def test_t9_a_delegated_role_never_speaks_for_a_group(bench, publisher) -> None:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import DelegatedRole, Delegations, Metadata, MetaFile, TargetFile, Targets

    signer = CryptoSigner.generate_ed25519()
    role = DelegatedRole("helper", [signer.public_key.keyid], 1, terminating=False, paths=["groups/*"])
    publisher.targets.delegations = Delegations({signer.public_key.keyid: signer.public_key}, {"helper": role})
    evil = b"evil"
    delegated = Targets(1, expires=publisher.expires("targets"))
    delegated.targets["groups/workers.json"] = TargetFile.from_data("groups/workers.json", evil, ["sha256"])
    metadata = Metadata(delegated)
    metadata.sign(signer)
    publisher.objects[f"{M}1.helper.json"] = metadata.to_bytes()
    publisher.objects[release_key(bench, evil, "workers")] = evil
    publisher.snapshot.meta["helper.json"] = MetaFile(1)
    publisher.publish()
    with bench.refused("trust-group-unknown", "'workers'", exit_code=4):
        bench.node(publisher.settings(group="workers")).refresh()
    assert f"{M}1.helper.json" not in bench.gets


# T11, T12: resources


@pytest.mark.parametrize(
    ("name", "size"),
    [("2.root.json", 512_001), ("timestamp.json", 16_385), ("2.targets.json", 5_000_001)],
)
def test_t11_endless_metadata(bench, publisher, booted, name, size) -> None:
    settings = publisher.settings()
    publisher.publish({"control-plane": b"fixed"})
    publisher.objects[f"{M}{name}"] = b"x" * size
    with bench.refused("trust-endless", name, "longer"):
        bench.node(settings).refresh()


def test_t11_endless_release(bench, publisher) -> None:
    publisher.objects[release_key(bench)] = RELEASE + b"x"
    with bench.refused("trust-endless", "14 bytes were signed"):
        bench.node().refresh()


def test_t12_a_slow_drip_ends_with_a_deadline(bench, publisher, booted, server, waits) -> None:
    import time

    from agent.aws.credentials import Credentials
    from agent.aws.http import Timeouts
    from agent.aws.s3 import S3, Bucket
    from agent.repository import Repository

    def drip(handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
        try:
            while True:
                handler.wfile.write(b"{")
                time.sleep(0.02)
        except OSError:
            pass

    bench.server.raw = drip
    bucket = Bucket("demo-bucket", "eu-west-1", server.url)
    keys = Credentials("AKID", "s")
    s3 = S3(bucket, lambda: keys, waits=waits, timeouts=Timeouts(1, 1, 0.3), limit=0)
    node = Repository(publisher.settings(), s3, clock=bench.clock, state_dir=bench.state, baked_root=bench.baked)
    with bench.refused("s3-unreachable", "no complete answer within", exit_code=4):
        node.refresh()


@pytest.mark.parametrize(
    "hostile", [b"", b"[]", b"{}", b"null", b"[" * 10_000, b'{"signed": 1, "signatures": []}', b"\xff"]
)
@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "1.targets.json"])
def test_metadata_without_sense_is_damage_and_never_a_crash(bench, publisher, name, hostile) -> None:
    publisher.objects[f"{M}{name}"] = hostile
    with bench.refused("trust-damaged", name):
        bench.node().refresh()


@pytest.mark.parametrize("hashes", [{"sha256": "../../secrets"}, {"sha256": "A" * 64}, {"sha512": "a" * 128}])
def test_a_target_without_a_plain_sha256_is_refused(bench, publisher, hashes) -> None:
    publisher.targets.targets["groups/control-plane.json"].hashes = hashes
    publisher.publish()
    with bench.refused("trust-wrong-hash", "names no sha256"):
        bench.node().refresh()


# T13: fast-forward


@pytest.mark.parametrize("rotated", [("timestamp",), ("timestamp", "snapshot")])
def test_t13_a_fast_forward_is_undone_by_new_keys(bench, publisher, rotated) -> None:
    """A thief of the online keys signs version 2^31-1: honest versions are then lower, until the keys are rotated."""
    settings = publisher.settings()
    honest = (publisher.timestamp.version, publisher.snapshot.version)
    publisher.timestamp.version = publisher.snapshot.version = 2**31 - 2
    publisher.publish()
    bench.node(settings).refresh()
    publisher.timestamp.version, publisher.snapshot.version = (version + 1 for version in honest)
    publisher.publish({"control-plane": b"honest again"})
    with bench.refused("trust-rollback", "older"):
        bench.node(settings).refresh()
    publisher.new_root(*rotated)
    publisher.publish()
    found = bench.node(settings).refresh()
    assert found.release == b"honest again"
    assert found.versions["timestamp"] < 100
    floors = json.loads((bench.state / "floors.a.json").read_bytes())
    assert floors["versions"]["timestamp"] == found.versions["timestamp"]


def test_t13_new_online_keys_do_not_lower_the_floor_of_the_targets(bench, publisher) -> None:
    settings = publisher.settings()
    publisher.publish({"control-plane": b"fixed"})
    old_targets = 1
    bench.node(settings).refresh()
    publisher.new_root("timestamp", "snapshot")
    publisher.snapshot.meta["targets.json"].version = old_targets
    publisher.snapshot.version += 1
    publisher.write_snapshot()
    publisher.refresh()
    with bench.refused("trust-rollback", "targets.json", "this node has seen 2"):
        bench.node(settings).refresh()


# T16: the pin


def test_t16_a_pin_that_does_not_fit_the_genuine_root(bench, publisher) -> None:
    with bench.refused("trust-root-pin", "is enrolled with 0000000000000000"):
        bench.node(publisher.settings(root_sha256="0" * 64)).refresh()


def test_t16_a_pin_that_does_not_fit_the_baked_root(bench, publisher) -> None:
    bench.baked.write_bytes(publisher.objects[f"{M}1.root.json"])
    with bench.refused("trust-root-pin"):
        bench.node(publisher.settings(root_sha256="0" * 64)).refresh()


def test_t16_a_pin_that_does_not_fit_the_end_of_the_chain(bench, publisher) -> None:
    bench.baked.write_bytes(publisher.objects[f"{M}1.root.json"])
    publisher.new_root("timestamp")
    publisher.refresh()
    with bench.refused("trust-root-pin", "2.root.json"):
        bench.node(publisher.settings(root_sha256="0" * 64)).refresh()


def test_a_repository_of_another_cluster_under_this_ones_name(bench, publisher, thief) -> None:
    """Same shape, honest keys of their own: the pin tells them apart, with and without an image's root."""
    other = thief()
    settings = publisher.settings()
    bench.baked.write_bytes(publisher.objects[f"{M}1.root.json"])
    publisher.objects.clear()
    publisher.objects.update(other.objects)
    with bench.refused("trust-unsigned", "timestamp.json"):
        bench.node(settings).refresh()
