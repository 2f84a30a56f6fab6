"""What the agent asks of the world, exactly: requests, files and libraries. Times are the bench's (`make bench`)."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.bench.cloud import Cloud, running_cloud
from tests.bench.fleet import Published, found_cluster
from tests.bench.issuer_double import IssuerDouble
from tests.bench.node_venv import NodeVenv, node_venv
from tests.bench.nodes import WORKERS, Counts, Node, bake_node, first_boot

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

# An IMDSv2 token, the instance's identity, its role and keys, its zone; user-data is asked for at first boot only.
IMDS_BOOT, IMDS_POLL = 7, 3
MOST_OPENED = 250  # by a worker, from exec to the end of its first boot; before it, 830 of them were modules
AWS_SDKS = {"boto3", "botocore", "s3transfer", "requests"}
HEAVY = AWS_SDKS | {"cryptography", "google", "jinja2", "pydantic", "securesystemslib", "systemd", "tuf", "yaml"}


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with running_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud) -> Published:
    published = found_cluster(tmp_path_factory.mktemp("operator"), cloud, asset_bytes=1_000_000)
    published.operator.run("publish", "--yes")
    return published


@pytest.fixture(scope="module")
def venv() -> NodeVenv:
    return node_venv()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud, published: Published, venv: NodeVenv) -> Counts:
    return bake_node(tmp_path_factory.mktemp("fresh"), published, cloud, venv).counted("boot")


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud, published: Published, venv: NodeVenv) -> Node:
    return first_boot(tmp_path_factory.mktemp("settled"), published, cloud, venv)[0]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, cloud: Cloud, published: Published, venv: NodeVenv) -> Counts:
    """The first boot of a worker as it comes out of the image."""
    folder = tmp_path_factory.mktemp("worker")
    issuer = IssuerDouble(folder, published.manifest(WORKERS), cloud)
    try:
        return bake_node(folder / "node", published, cloud, venv, WORKERS).counted("boot")
    finally:
        issuer.close()


@pytest.fixture(scope="module")
def boot(settled: Node) -> Counts:
    """Of a machine on which everything is present."""
    return settled.counted("boot")


@pytest.fixture(scope="module")
def poll(settled: Node) -> Counts:
    """Of the same machine, with nothing new published."""
    return settled.counted("sync")


def exact(counts: Counts) -> dict[str, int]:
    """Without the status object: sent as the agent starts, as it has verified, as it ends, and every two seconds."""
    assert counts.requests["s3 PUT status"] >= 3
    return {what: count for what, count in counts.requests.items() if not what.endswith(" status")}


def test_a_poll_is_two_gets_and_on_a_control_plane_node_three_for_etcd(poll: Counts) -> None:
    """The record that names etcd's generation, and where each of the two other members is."""
    assert poll.requests == {"imds": IMDS_POLL, "s3 GET": 2 + 1 + 2}


def test_a_poll_reads_eight_files_once_each_and_three_of_etcd(poll: Counts) -> None:
    trust = "var/lib/bootwright/trust"
    assert Counter(poll.state_files) == dict.fromkeys(
        (
            "etc/bootwright/agent.json",
            "run/bootwright/cluster-objects",
            "run/bootwright/lock",
            "run/bootwright/status.json",
            f"{trust}/floors.a.json",
            f"{trust}/floors.b.json",
            f"{trust}/release.json",
            f"{trust}/verified.json",
            "etc/hosts",
            "run/bootwright/etcd-peers-main.json",
            "var/lib/etcd/main/.generation",
        ),
        1,
    )


def test_a_poll_lists_one_folder_once(poll: Counts) -> None:
    """Of a control-plane node: whether the issuer has left it a node to label."""
    assert poll.state_folders == ("run/bootwright-issuer/issued",)


def test_a_poll_loads_no_library(poll: Counts) -> None:
    assert not HEAVY & set(poll.modules)


def test_a_boot_with_everything_present_asks_for_what_a_poll_does(boot: Counts) -> None:
    # GET: those of a poll, etcd's record for its generation, and where each of the three members is.
    assert exact(boot) == {"imds": IMDS_BOOT, "s3 GET": 6}


def test_a_boot_with_everything_present_changes_nothing_of_the_machine(boot: Counts) -> None:
    assert set(boot.calls) == {
        "etcd_storage.generation_key",
        "etcd_storage.room",
        "images.held",
        "kernel.module_loaded",
        "kernel.sysctl",
        "mounts.mounted",
        "probes.get",
        "systemd.state",
        "users.account",
        "volumes.held",
        "volumes.outgrown",
    }


def test_a_boot_with_everything_present_reads_each_file_of_the_node_once_or_twice(boot: Counts) -> None:
    """Twice: a certificate is read by its plan, and by the report of what expires."""
    etc = {name: times for name, times in Counter(boot.state_files).items() if name.startswith("etc/")}
    assert etc
    assert max(etc.values()) <= 2


def test_a_first_boot_fetches_no_asset_that_is_baked(first: Counts) -> None:
    # GET: 6 documents of TUF (one of them the root that is not there), 6 envelopes, etcd's record and its members'
    # before and after each write. PUT: etcd's record twice, and where this member is.
    assert exact(first) == {"imds": IMDS_BOOT, "kms Decrypt": 6, "s3 GET": 25, "s3 PUT": 3}


def test_a_worker_opens_few_files_until_it_is_up(worker: Counts) -> None:
    """Folders too, and a file as often as it is opened: on a new volume each is a round trip (peers.md 4.3)."""
    assert worker.calls["systemd.start"] >= 1  # kubelet, last of all
    assert len(worker.opened) <= MOST_OPENED


def test_the_modules_of_a_boot_come_out_of_one_file(worker: Counts) -> None:
    """But for those before it, and the harness's own."""
    own = [name for name in worker.opened if name.endswith((".py", ".pyc")) and "/harness/" not in name]
    assert [name.rpartition("/")[2].partition(".")[0] for name in own] == ["__init__", "modules"]
    assert sum(name.endswith("/agent.modules") for name in worker.opened) == 1


def test_of_a_boot_the_status_is_written_a_few_times(boot: Counts) -> None:
    """Not once for each of ninety resources; at each turn of the story, and twice a second."""
    assert boot.state_files.count("run/bootwright/.status.json.tmp") <= 20


def test_a_workers_first_boot_asks_for_its_manifest_and_its_certificates(worker: Counts) -> None:
    # IMDS: as a control plane, and the instance's own credentials, which prove to the issuer what it is.
    assert exact(worker) == {"imds": IMDS_BOOT + 1, "s3 GET": 6}


@pytest.mark.parametrize("counts", ["first", "boot"])
def test_a_boot_loads_no_aws_sdk(counts: str, request: pytest.FixtureRequest) -> None:
    """ADR 0004. EC2's adapter alone uses botocore, and the sandbox's volumes are doubles."""
    found: Counts = request.getfixturevalue(counts)
    assert not AWS_SDKS & set(found.modules)
