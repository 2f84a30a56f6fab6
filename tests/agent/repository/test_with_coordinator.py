"""Both ends together: what the coordinator signs, prints and seals is what the agent reads, verifies and opens."""

import pytest

from agent.secrets import NodeSecrets
from agent.user_data import parse_user_data
from coordinator.directory_store import DirectoryStore
from coordinator.userdata import Enrolment, render_userdata
from tests.coordinator.workshop import CLUSTER, LOCAL_KEY, ClockDouble, Workshop
from units.envelope import SERVICE_ACCOUNT, authority_secret, public_sha256
from units.manifest import Cluster, Manifest, Trust

RELEASE = b'{"serial": 7}\n'


@pytest.fixture
def workshop(bench, tmp_path) -> Workshop:
    """The coordinator's store is a directory; the bench serves it as the bucket."""
    made = Workshop(tmp_path / "keys", DirectoryStore(tmp_path / "store"), ClockDouble())
    bench.clock.time = made.clock.now
    return made


@pytest.fixture
def serve(bench, tmp_path):
    def serve() -> None:
        root = tmp_path / "store"
        bench.objects.clear()
        for path in root.rglob("*"):
            if path.is_file():
                bench.objects[f"{CLUSTER}/{path.relative_to(root).as_posix()}"] = path.read_bytes()

    return serve


def enrolled(workshop):
    userdata = render_userdata(
        Enrolment("s3://demo-bucket", CLUSTER, region="eu-west-1"), "control-plane", workshop.repository.read()
    )
    return parse_user_data(userdata.encode())


def test_a_node_enrolled_by_the_printed_userdata_verifies_what_was_published(bench, workshop, serve) -> None:
    workshop.found()
    workshop.put_target("groups/control-plane.json", RELEASE)
    settings = enrolled(workshop)
    serve()
    found = bench.node(settings).refresh()
    assert (found.condition, found.release) == ("Fresh", RELEASE)
    assert not bench.node(settings).changed_since()


def test_refresh_and_publish_of_the_coordinator_show_up(bench, workshop, serve) -> None:
    workshop.found()
    workshop.put_target("groups/control-plane.json", RELEASE)
    settings = enrolled(workshop)
    serve()
    bench.node(settings).refresh()
    workshop.clock.advance(days=1)
    bench.clock.time = workshop.clock.now
    workshop.repository.refresh(workshop.signing)
    serve()
    assert bench.node(settings).changed_since()
    assert bench.node(settings).refresh().release == RELEASE
    workshop.put_target("groups/control-plane.json", b"next")
    serve()
    assert bench.node(settings).refresh().release == b"next"


def test_what_the_coordinator_sealed_opens_with_the_local_key(bench, workshop, serve, tmp_path) -> None:
    founded = workshop.found()
    serve()
    key = tmp_path / "secrets.key"
    key.write_bytes(LOCAL_KEY)
    key.chmod(0o600)
    document = founded.document
    manifest = Manifest.model_construct(
        cluster=Cluster(name=CLUSTER, uid=document.uid, region="eu-west-1"),
        trust=Trust(
            authorities=document.authorities,
            service_account_keys=document.service_account_keys,
            service_account_issuer="https://x",
            secrets_key=document.secrets_key,
        ),
    )
    node = NodeSecrets(
        manifest,
        bench.s3(),
        f"{CLUSTER}/",
        unwrap_with_kms=lambda _envelope: pytest.fail("a local key"),
        clock=bench.clock,
        local_key=key,
    )
    assert public_sha256(node.open(SERVICE_ACCOUNT)) == public_sha256(document.service_account_keys[0].encode())
    for authority in document.authorities:
        assert b"PRIVATE KEY" in node.open(authority_secret(authority.name))
