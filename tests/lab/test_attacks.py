"""What a thief of the bucket, and bad luck, can do to a node: nothing, and each time it says what happened."""

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from coordinator.draft import Draft, NewTarget
from coordinator.layout import TIMESTAMP, group_target
from tests.lab.bucket import StolenBucket
from tests.lab.flips import CONTENT, ENVELOPES, SERVICE_ACCOUNT_FILE, SIGNED, ContentFlip, EnvelopeFlip, SignedFlip
from tests.lab.live import TIMER, LiveNode, live_cluster
from tests.lab.operator import Operator
from tests.lab.scenario import GROUP, Scenario
from tests.lab.verdicts import recovers, refused, tells_the_store, tells_whoever_asks, warned
from units.envelope import object_key

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]

# A machine that trusts nothing but its user-data and has never applied anything.
FORGET = "rm -rf /var/lib/bootwright/trust /var/lib/bootwright/generations"
STRAY = "no-such-group"


@dataclass(frozen=True, slots=True)
class World:
    node: LiveNode
    bucket: StolenBucket
    stray: LiveNode  # launched with user-data for a group that nobody published
    timestamp_before_userdata: bytes

    @property
    def scenario(self) -> Scenario:
        return self.node.scenario


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    early: list[bytes] = []

    def remember(scenario: Scenario) -> None:
        early.append(StolenBucket(scenario).read(TIMESTAMP))

    with live_cluster(tmp_path_factory.mktemp("attacks"), before_publish=remember) as scenario:
        instance = scenario.launch(GROUP)
        user_data = scenario.coordinator("userdata", GROUP, capture=True).replace(GROUP, STRAY)
        stray = scenario.client.run_instance(STRAY, user_data=user_data, profile="control-plane")
        scenario.wait_until_ready(instance)
        node = LiveNode(scenario, instance)
        node.sh(f"systemctl stop {TIMER}")
        yield World(node, StolenBucket(scenario), LiveNode(scenario, stray), early[0])


@pytest.fixture
def node(world: World) -> LiveNode:
    return world.node


@pytest.fixture
def bucket(world: World) -> Iterator[StolenBucket]:
    yield world.bucket
    world.bucket.restore()


def test_a_node_of_an_unknown_group_says_so_from_its_first_second_in_s3_and_on_its_console(world: World) -> None:
    stray, client = world.stray, world.scenario.client

    def story() -> list[dict[str, Any]]:
        return world.bucket.versions(f"status/{stray.instance_id}.json")

    def tried_again() -> bool:
        return [status["stage"] for status in story()].count("retrying") > 1

    client.wait_until("the stray node has tried twice", tried_again, 180)
    told = story()
    assert (told[0]["stage"], told[0]["group"], told[0]["conditions"]) == ("booting", STRAY, [])
    first = next(number for number, status in enumerate(told) if status["stage"] == "retrying")
    (condition,) = told[first]["conditions"]
    assert condition["code"] == "trust-group-unknown"
    assert f"no release for group '{STRAY}'" in condition["message"]
    assert "coordinator history" in condition["remedy"]
    # While it tries again, too, and since when.
    assert all(status["conditions"] == [condition] for status in told[first:])
    console = stray.machine.console()
    assert "trust-group-unknown" in console
    assert "remedy: check `group` in the user-data" in console
    assert stray.sh("ls -A /etc/kubernetes 2> /dev/null; true") == ""
    client.terminate(stray.instance_id)  # it would go on trying, and see every attack that follows
    seen = json.loads(world.scenario.ask_coordinator("status", "--json").stdout)["nodes"]
    assert {one["instance_id"] for one in seen} == {stray.instance_id, world.node.instance_id}


@pytest.mark.parametrize("flip", SIGNED.values(), ids=SIGNED.keys())
def test_a_flipped_bit_in_signed_data_is_named_and_changes_nothing(
    node: LiveNode, bucket: StolenBucket, flip: SignedFlip
) -> None:
    key = flip.key(bucket)
    bucket.flip(key, behind=flip.behind)
    refused(node, script=FORGET, code=flip.code, exit_code=3, says=key.removeprefix("tuf/metadata/"))
    tells_the_store(node, flip.code)


def test_metadata_that_is_no_json_any_more_is_called_damaged(node: LiveNode, bucket: StolenBucket) -> None:
    body = bucket.read(TIMESTAMP)
    bucket.put(TIMESTAMP, b"z" + body[1:])
    refused(node, script=FORGET, code="trust-damaged", exit_code=3, says="timestamp.json is not TUF metadata any more")
    tells_whoever_asks(node, code="trust-damaged", exit_code=3)


def test_a_sync_of_a_running_node_refuses_as_a_boot_does(node: LiveNode, bucket: StolenBucket) -> None:
    recovers(node)
    bucket.flip(TIMESTAMP, behind=b'"expires":"')
    refused(node, code="trust-unsigned", exit_code=3, says="timestamp.json", command="sync")


@pytest.mark.parametrize("flip", CONTENT.values(), ids=CONTENT.keys())
def test_a_flipped_bit_in_what_is_installed_is_named_and_nothing_of_it_stays(
    node: LiveNode, bucket: StolenBucket, flip: ContentFlip
) -> None:
    key = bucket.asset(GROUP, flip.name)
    sha256 = key.rpartition("/")[2]
    bucket.flip(key)
    script = f"{flip.take_away}; rm -f /opt/bootwright/assets/sha256/{sha256[:2]}/{sha256}"
    seen = refused(node, script=script, code="asset-digest-mismatch", exit_code=3, says=key)
    assert flip.resource in seen.said
    assert node.sh(f"find /var/lib/bootwright/assets -name '*{sha256}*'") == ""

    bucket.restore()
    recovers(node)
    assert node.sh(f"sha256sum < /var/lib/bootwright/assets/sha256/{sha256[:2]}/{sha256}").split()[0] == sha256


@pytest.mark.parametrize("flip", ENVELOPES.values(), ids=ENVELOPES.keys())
def test_a_flipped_bit_in_an_envelope_is_named_and_the_key_is_not_used(
    node: LiveNode, bucket: StolenBucket, flip: EnvelopeFlip
) -> None:
    bucket.flip(object_key(flip.name), behind=f'"{flip.field}": "'.encode(), skip=flip.skip)
    refused(node, script=f"rm {flip.needed_by}", code=flip.code, exit_code=3, says=f"'{flip.name}'")

    bucket.restore()
    recovers(node)
    assert node.sh(f"stat --format %a {flip.needed_by}") == "600"


def test_another_groups_document_under_this_groups_name_is_refused(node: LiveNode, bucket: StolenBucket) -> None:
    bucket.put(bucket.release(GROUP), bucket.read(bucket.release("workers")))
    refused(
        node,
        script=FORGET,
        code="trust-wrong-hash",
        exit_code=3,
        says=f".{GROUP}.json is not the content that was signed",
    )


def test_the_state_from_before_the_userdata_is_too_old_for_a_fresh_node(
    world: World, node: LiveNode, bucket: StolenBucket
) -> None:
    """Everything older still lies in the bucket: putting the old timestamp back restores that whole state."""
    bucket.put(TIMESTAMP, world.timestamp_before_userdata)
    refused(node, script=FORGET, code="trust-rollback", exit_code=3, says="user-data demands at least")


@pytest.mark.parametrize("cache", ["with its cache", "with a cache lost in a power cut"])
def test_a_state_older_than_what_this_node_has_seen_is_refused(
    node: LiveNode, bucket: StolenBucket, cache: str
) -> None:
    old = bucket.read(TIMESTAMP)
    node.scenario.coordinator("refresh")
    recovers(node)
    bucket.put(TIMESTAMP, old)
    script = "rm -r /var/lib/bootwright/trust/metadata" if "lost" in cache else "true"
    refused(node, script=script, code="trust-rollback", exit_code=3, says="genuine but older")


@pytest.fixture
def operator(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Operator]:
    for name, value in world.scenario.operator_environment().items():
        monkeypatch.setenv(name, value)
    operator = Operator(world.scenario)
    yield operator
    operator.refresh()


def test_a_timestamp_that_expired_within_the_month_lets_a_fresh_node_boot_and_says_so(
    node: LiveNode, operator: Operator
) -> None:
    operator.refresh(days_ago=20)
    warned(node, "TrustDegraded", script=FORGET)


def test_a_running_node_keeps_what_it_runs_past_every_expiry_and_says_so(node: LiveNode, operator: Operator) -> None:
    recovers(node)
    operator.refresh(days_ago=60)
    warned(node, "TrustStale")


def test_a_timestamp_that_expired_long_ago_is_refused_by_a_fresh_node(node: LiveNode, operator: Operator) -> None:
    operator.refresh(days_ago=60)
    refused(node, script=FORGET, code="trust-freeze-expired", exit_code=3, says="more than 30 days ago")


@pytest.fixture
def denied(world: World) -> Iterator[Callable[[str, str], None]]:
    """A policy that takes an action on some objects away from the control plane's role."""
    iam = world.scenario.client.aws("iam")

    def deny(action: str, resource: str) -> None:
        statement = {"Effect": "Deny", "Action": action, "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_role_policy(RoleName="control-plane", PolicyName="lab-deny", PolicyDocument=document)

    yield deny
    iam.delete_role_policy(RoleName="control-plane", PolicyName="lab-deny")


def test_a_fresh_node_that_may_not_read_says_what_it_may_not(
    node: LiveNode, denied: Callable[[str, str], None]
) -> None:
    denied("s3:GetObject", "arn:aws:s3:::*/tuf/*")
    refused(
        node,
        script=FORGET,
        code="s3-access-denied",
        exit_code=4,
        says="S3 denies s3:GetObject on s3://bootwright-demo/",
    )
    tells_the_store(node, "s3-access-denied")
    tells_whoever_asks(node, code="s3-access-denied", exit_code=4)


def test_a_running_node_that_may_not_read_any_more_keeps_what_it_runs(
    node: LiveNode, denied: Callable[[str, str], None]
) -> None:
    recovers(node)
    denied("s3:GetObject", "arn:aws:s3:::*/tuf/*")
    warned(node, "TrustStale")


def test_a_node_that_may_not_decrypt_says_so(node: LiveNode, denied: Callable[[str, str], None]) -> None:
    denied("kms:Decrypt", "*")
    script = f"rm {SERVICE_ACCOUNT_FILE}"
    refused(node, script=script, code="kms-access-denied", exit_code=4, says="KMS denies kms:Decrypt")


@pytest.fixture
def user_data(world: World) -> Iterator[Callable[[str, str], None]]:
    """Replaces a word in the node's user-data, and lets the node find it as on its first boot."""
    ec2, instance = world.scenario.client.aws("ec2"), world.node.instance_id
    genuine = world.scenario.coordinator("userdata", GROUP, capture=True)

    def change(old: str, new: str) -> None:
        text = genuine.replace(old, new) if old else genuine
        # moto 5.2 decodes this one parameter twice.
        ec2.modify_instance_attribute(InstanceId=instance, UserData={"Value": base64.b64encode(text.encode())})
        world.node.sh(f"{FORGET}; rm /etc/bootwright/agent.json")

    yield change
    change("", "")
    recovers(world.node)


def test_a_bucket_that_is_missing_is_named(node: LiveNode, user_data: Callable[[str, str], None]) -> None:
    user_data("s3://bootwright-demo", "s3://bootwright-gone")
    refused(node, code="s3-no-such-bucket", exit_code=1, says="the bucket 'bootwright-gone' does not exist")
    tells_whoever_asks(node, code="s3-no-such-bucket", exit_code=1)


def test_a_node_without_imds_says_so(world: World, node: LiveNode) -> None:
    world.scenario.client.fault_imds(node.instance_id, absent="reset")
    try:
        refused(node, code="imds-unreachable", exit_code=4, says="169.254.169.254 does not answer")
    finally:
        world.scenario.client.clear_fault(node.instance_id)


def test_a_document_that_was_signed_for_another_group_is_refused_and_a_publish_mends_it(
    node: LiveNode, bucket: StolenBucket, operator: Operator
) -> None:
    """Not the bucket's thief but the operator's mistake: every signature is right."""
    workers = bucket.read(bucket.release("workers"))
    custom = {"serial": 1, "manifest": "0" * 64, "published": "2026-01-01T00:00:00Z"}
    operator.sign(Draft("by mistake", "the lab", {group_target(GROUP): NewTarget(workers, custom)}))
    refused(
        node, code="manifest-for-another-group", exit_code=3, says="is for cluster 'demo.example.com' group 'workers'"
    )
    node.scenario.coordinator("publish", "--yes", "--repair")
    recovers(node)


def test_after_all_of_it_the_node_is_what_it_was(node: LiveNode, bucket: StolenBucket) -> None:
    del bucket
    seen = node.observe("boot", script=FORGET)
    assert (seen.exit_code, seen.changes, "nothing to change" in seen.said) == (0, "", True), seen.said
    assert "is healthy" in node.etcdctl("endpoint", "health", "2>&1")
