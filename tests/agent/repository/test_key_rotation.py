"""A node follows the coordinator's key rotations with its own verifier, and a stolen old key is worth nothing to it."""

import json

import pytest
from tuf.api.metadata import Metadata, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from coordinator.root_keys import KeyPlan
from coordinator.rotation.roots import RootRequest, RootTools, rotate_root
from tests.agent.repository.test_with_coordinator import enrolled, serve, workshop
from tests.coordinator.workshop import CLUSTER
from units.errors import BootwrightError, Refused

__all__ = ["serve", "workshop"]  # fixtures

pytestmark = pytest.mark.slow  # a new key file is stretched for real

FIRST, SECOND = b'{"serial": 1}\n', b'{"serial": 2}\n'
METADATA = f"{CLUSTER}/tuf/metadata/"
COMPACT = JSONSerializer(compact=True)


def rotate(desk, role, **changes):
    tools = RootTools(
        store=desk.store,
        directory=desk.directory,
        signing=desk.signing,
        passphrase=desk.passphrase,
        kms_public_key=pytest.fail,
        clock=desk.clock,
    )
    return rotate_root(RootRequest(role, **changes), tools, by="tests")


@pytest.fixture
def settings(bench, workshop, serve):
    """A node's, enrolled before any rotation, that has verified the first release."""
    workshop.found(KeyPlan(root_keys=3, threshold=2))
    workshop.put_target("groups/control-plane.json", FIRST)
    settings = enrolled(workshop)
    serve()
    assert bench.node(settings).refresh().release == FIRST
    return settings


@pytest.mark.parametrize("role", ["root", "targets", "timestamp"])
def test_a_node_at_the_old_root_follows(bench, workshop, serve, settings, role) -> None:
    rotate(workshop, role, replaced="root-1.pem" if role == "root" else None)
    serve()
    node = bench.node(settings)
    assert node.changed_since()  # the poll of every minute sees a new root by itself
    found = node.refresh()
    assert (found.condition, found.release, found.versions["root"]) == ("Fresh", FIRST, 2)
    workshop.put_target("groups/control-plane.json", SECOND)
    serve()
    assert bench.node(settings).refresh().release == SECOND


def test_a_node_that_slept_through_many_rotations_follows(bench, workshop, serve, settings) -> None:
    for role in ("targets", "timestamp", "targets"):
        rotate(workshop, role)
    rotate(workshop, "root", replaced="root-1.pem")
    workshop.put_target("groups/control-plane.json", SECOND)
    serve()
    found = bench.node(settings).refresh()
    assert (found.release, found.versions["root"]) == (SECOND, 5)


def test_a_fresh_node_with_the_old_pin_follows_and_with_the_new_pin_refuses_the_old_root(
    bench, workshop, serve, settings, tmp_path
) -> None:
    serve()
    before = dict(bench.objects)
    rotate(workshop, "targets")
    new = enrolled(workshop)
    assert (settings.root_version, new.root_version) == (1, 2)
    serve()
    bench.state = tmp_path / "fresh-1"
    assert bench.node(settings).refresh().versions["root"] == 2
    bench.objects.clear()
    bench.objects.update(before)  # the thief hides the new root
    bench.state = tmp_path / "fresh-2"
    with pytest.raises(BootwrightError):
        bench.node(new).refresh()


def stolen_signers(desk, *roles):
    state = desk.repository.read()
    return desk.signing.signers(state.root, *roles)


def forged_targets(bench, signer, release=b'{"evil": true}\n') -> None:
    """The thief of the targets key writes his own content under the version that the snapshot names."""
    version = max(int(key.removeprefix(METADATA).split(".")[0]) for key in bench.objects if ".targets.json" in key)
    key = f"{METADATA}{version}.targets.json"
    metadata = Metadata[Targets].from_bytes(bench.objects[key])
    target = metadata.signed.targets["groups/control-plane.json"]
    forged = type(target).from_data("groups/control-plane.json", release, ["sha256"])
    metadata.signed.targets["groups/control-plane.json"] = forged
    metadata.sign(signer)
    bench.objects[key] = metadata.to_bytes(COMPACT)
    bench.objects[f"{CLUSTER}/tuf/targets/groups/{forged.hashes['sha256']}.control-plane.json"] = release


def test_a_stolen_targets_key_signs_nothing_any_more(bench, workshop, serve, settings, tmp_path) -> None:
    (thief,) = stolen_signers(workshop, "targets")["targets"]
    serve()
    forged_targets(bench, thief)
    bench.state = tmp_path / "before"
    assert b"evil" in bench.node(settings).refresh().release  # the theft was real
    rotate(workshop, "targets")
    serve()
    forged_targets(bench, thief)
    for place in ("trust", "after"):  # a node with a cache, and a fresh one
        bench.state = tmp_path / place
        with pytest.raises(Refused):
            bench.node(settings).refresh()


def test_a_stolen_online_key_signs_no_freshness_any_more(bench, workshop, serve, settings) -> None:
    signers = stolen_signers(workshop, "timestamp")["timestamp"]
    rotate(workshop, "timestamp")
    serve()
    key = f"{METADATA}timestamp.json"
    metadata = Metadata[Timestamp].from_bytes(bench.objects[key])
    metadata.signed.version += 1
    metadata.sign(signers[0])
    bench.objects[key] = metadata.to_bytes(COMPACT)
    with pytest.raises(Refused):
        bench.node(settings).refresh()


def fast_forward(bench, signer) -> None:
    key = f"{METADATA}timestamp.json"
    metadata = Metadata[Timestamp].from_bytes(bench.objects[key])
    metadata.signed.version = 2**31 - 1
    metadata.sign(signer)
    bench.objects[key] = metadata.to_bytes(COMPACT)


def test_a_fast_forwarded_timestamp_recovers_by_rotation(bench, workshop, serve, settings) -> None:
    """T13: the thief's version was seen by the nodes, and the honest object was restored in the bucket."""
    (thief,) = stolen_signers(workshop, "timestamp")["timestamp"]
    serve()
    fast_forward(bench, thief)
    assert bench.node(settings).refresh().versions["timestamp"] == 2**31 - 1
    workshop.put_target("groups/control-plane.json", SECOND)
    serve()
    with pytest.raises(Refused):
        bench.node(settings).refresh()  # locked out: honest versions are older than the thief's
    rotate(workshop, "timestamp")
    serve()
    found = bench.node(settings).refresh()
    assert found.release == SECOND
    assert found.versions["timestamp"] < 100


def test_a_fast_forward_that_was_left_in_the_bucket_is_rotated_away(bench, workshop, serve, settings, tmp_path) -> None:
    (thief,) = stolen_signers(workshop, "timestamp")["timestamp"]
    file = tmp_path / "store" / "tuf/metadata/timestamp.json"
    serve()
    fast_forward(bench, thief)
    file.write_bytes(bench.objects[f"{METADATA}timestamp.json"])
    bench.node(settings).refresh()
    rotate(workshop, "timestamp")
    workshop.put_target("groups/control-plane.json", SECOND)
    serve()
    assert bench.node(settings).refresh().release == SECOND
    assert json.loads(file.read_bytes())["signed"]["version"] > 2**31
