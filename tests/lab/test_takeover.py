"""The life of one etcd member, in order: a first boot cut off, an agent killed, a power cut, a new machine.

One lab and one volume serve all of it, so each test begins where the one before ended.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from agent.aws.volumes import FORMATTED, INTENT
from coordinator.aws.kms import decrypt_data_key
from coordinator.documents import ClusterDocument, decode_document
from coordinator.layout import CLUSTER as CLUSTER_TARGET
from coordinator.location import Where, locate
from tests.lab.disk_search import Secret, found_in, secret_of
from tests.lab.live import ETCD, TIMER, LiveNode, live_cluster
from tests.lab.region.client import LabClient
from tests.lab.scenario import BUCKET, CLUSTER, GROUP, Scenario
from units.envelope import SERVICE_ACCOUNT, authority_secret, decode_envelope, object_key, open_envelope
from units.volumes import volume_uuid

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]

RECORD = f"{CLUSTER}/etcd/main/cluster.json"
MOUNT = "/var/lib/etcd/main"

# Nothing is left of bootwright's work but the volume, and the machine's enrolment.
WIPE = f"""
systemctl stop {TIMER} kubelet.service {ETCD}
ctr --namespace k8s.io tasks list --quiet | xargs -r -n 1 ctr --namespace k8s.io tasks kill --signal SIGKILL
ctr --namespace k8s.io images list --quiet | xargs -r ctr --namespace k8s.io images remove --sync > /dev/null
systemctl stop containerd.service
umount {MOUNT}
rm -rf /etc/kubernetes /etc/containerd /etc/crictl.yaml /etc/systemd/system/kubelet.service \
    /etc/systemd/system/{ETCD} /etc/sysctl.d/99-bootwright.conf /etc/modules-load.d/bootwright.conf \
    /usr/local/bin/kubelet /var/lib/kubelet/config.yaml /var/lib/bootwright /run/bootwright
systemctl daemon-reload
"""

KILL_THE_UNITS = """
rm -f /run/bootwright/status.json
systemctl restart --no-block bootwright-boot.service
while :; do
    status=$(< /run/bootwright/status.json)
    if [[ $status =~ \\"waiting_for\\":\\ \\"([0-9]+)/ ]]; then break; fi
done 2> /dev/null
systemctl kill --signal=KILL --kill-whom=main bootwright-boot.service
"""

FILES = (
    "/etc/kubernetes /etc/containerd /etc/systemd/system /etc/hosts /etc/crictl.yaml /etc/sysctl.d /etc/modules-load.d "
    "/usr/local/bin /var/lib/kubelet/config.yaml /var/lib/bootwright"
)


@pytest.fixture(scope="module")
def scenario(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenario]:
    with live_cluster(tmp_path_factory.mktemp("takeover")) as scenario:
        yield scenario


@pytest.fixture(scope="module")
def first(scenario: Scenario) -> LiveNode:
    """A node whose power failed in its first boot: the file system is made, and EC2 knows only the intent."""
    client = scenario.client
    tagging = {"service": "ec2", "action": "CreateTags", "role": "control-plane"}
    client.fault_api(**tagging, times=1)  # the intent goes through; the first matching fault wins
    client.fault_api(**tagging, code="RequestLimitExceeded")
    node = LiveNode(scenario, scenario.launch(GROUP))

    def formatted() -> bool:
        return "is formatted" in str(scenario.status(node.instance_id).get("waiting_for"))

    client.wait_until("the first boot has made the file system", formatted, 180)
    cut_off = scenario.status(node.instance_id)["boot_id"]
    tags = volume_tags(scenario)
    assert INTENT in tags
    assert FORMATTED not in tags
    node.machine.power_cut()
    client.clear_fault()
    scenario.wait_until_ready(node.instance_id, other_boot_than=cut_off)
    return node


def volume_tags(scenario: Scenario) -> dict[str, str]:
    (volume,) = scenario.volumes()
    return {tag["Key"]: tag["Value"] for tag in volume["Tags"]}


def file_system_made(node: LiveNode) -> int:
    """When, in seconds since 1970, as the super block has it."""
    return int(
        node.sh(
            f'date +%s --date "$(dumpe2fs -h $(findmnt -no SOURCE {MOUNT}) 2> /dev/null | '
            "sed -n 's/^Filesystem created: *//p')\""
        )
    )


def nothing_left_to_do(node: LiveNode) -> bool:
    done = node.agent("diff", "--detailed-exitcode")
    assert done.stdout.startswith("0 to change"), done.stdout
    return done.returncode == 0


def test_a_first_boot_cut_off_between_mkfs_and_its_record_converges_without_a_second_mkfs(
    scenario: Scenario, first: LiveNode
) -> None:
    tags, (volume,) = volume_tags(scenario), scenario.volumes()
    assert tags[FORMATTED] == volume_uuid(volume["VolumeId"])
    assert INTENT not in tags
    assert first.sh(f"findmnt --noheadings --output UUID {MOUNT}") == tags[FORMATTED]
    booted = int(first.sh("awk '/^btime/ {print $2}' /proc/stat"))
    assert file_system_made(first) <= booted, "the volume was formatted again after the power cut"
    assert nothing_left_to_do(first)


def contents(node: LiveNode) -> dict[str, str]:
    """Path -> sha256 of what bootwright wrote, but for certificates, which are new each time they are issued."""
    kept = "! -name '*.pem' ! -name .etcd-lock ! -path '*/trust/*' ! -path '*/volumes/*'"
    lines = node.sh(f"find {FILES} -type f {kept} -print0 | sort -z | xargs -0 sha256sum").splitlines()
    return {path: digest for digest, path in (line.split(maxsplit=1) for line in lines)}


def test_an_agent_killed_again_and_again_goes_on_from_where_it_was(first: LiveNode) -> None:
    first.etcdctl("put", "lab/kept", "through-kills")
    keys = [resource["key"] for resource in first.status()["resources"]]
    before, made = contents(first), file_system_made(first)
    first.sh(WIPE)
    moments = [
        1 + keys.index(key)
        for key in (
            "asset:/usr/local/bin/kubelet",
            "volume:main",
            "etcd-bootstrap:main",
            "etcd-established:main",
            keys[keys.index("unit:containerd.service") + 2],  # the second image
            "static-pod:kube-apiserver",
            "unit:kubelet.service",
        )
    ]
    for moment in moments:
        first.kill_agent(at=moment)
    done = first.agent("boot")
    assert done.returncode == 0, done.stdout
    assert contents(first) == before
    assert file_system_made(first) == made
    assert first.etcdctl("get", "lab/kept", "--print-value-only") == "through-kills"
    assert first.sh(f"systemctl is-active {ETCD} containerd kubelet").split() == ["active"] * 3
    assert nothing_left_to_do(first)


def test_systemd_starts_a_killed_agent_again(first: LiveNode) -> None:
    first.sh(KILL_THE_UNITS)
    show = "systemctl show --value --property"
    assert first.sh(f"{show} Result bootwright-boot.service") == "signal"
    first.scenario.client.wait_until(
        "the boot unit is active again",
        lambda: first.sh(f"{show} ActiveState bootwright-boot.service") == "active",
        60,
    )
    assert first.sh(f"{show} NRestarts bootwright-boot.service") == "1"
    first.sh(f"systemctl start {TIMER}")


def member(node: LiveNode) -> dict[str, Any]:
    """What etcd itself says of its one member, and of the cluster it belongs to."""
    said = json.loads(node.etcdctl("member", "list", "--write-out", "json"))
    (one,) = said["members"]
    return {"cluster": said["header"]["cluster_id"], **one}


def record(client: LabClient) -> tuple[str, dict[str, Any]]:
    found = client.aws("s3").get_object(Bucket=BUCKET, Key=RECORD)
    return found["VersionId"], json.loads(found["Body"].read())


def cluster_keys(scenario: Scenario) -> list[Secret]:
    """The private half of every authority and of the service-account key, opened as the coordinator opens them."""
    here = locate(Where(file=scenario.spec, keys=scenario.directory / "keys"))
    repository = here.open_repository()
    document = decode_document(ClusterDocument, repository.read_target(repository.read(), CLUSTER_TARGET))
    names = [*(authority_secret(authority.name) for authority in document.authorities), SERVICE_ACCOUNT]
    secrets = []
    for name in names:
        stored = repository.store.get(object_key(name))
        assert stored is not None
        envelope = decode_envelope(stored.body)
        context = envelope.context.as_kms()
        data_key = decrypt_data_key(here.aws, envelope.key, envelope.wrapped_key_bytes, context)
        secrets.append(secret_of(name, open_envelope(envelope, data_key=data_key)))
    return secrets


@pytest.fixture
def as_operator(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in scenario.operator_environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("as_operator")
def test_a_ready_node_survives_a_power_cut_and_no_key_of_the_cluster_was_on_its_disks(
    scenario: Scenario, first: LiveNode
) -> None:
    """Keys that must be found are searched for with those that must not: else an empty search would pass."""
    first.etcdctl("put", "lab/before", "the-power-cut-of-a-ready-node")
    was, boot_id = member(first), first.boot_id()
    leaf = secret_of(
        "leaf", first.sh("sed -n '/BEGIN PRIVATE/,/END PRIVATE/p' /etc/kubernetes/pki/kubelet/client.pem").encode()
    )
    first.sh("sync")
    first.machine.power_cut(stay_off=True)

    run = scenario.client.run
    (volume,) = scenario.volumes()
    disks = [run.machine(first.instance_id) / "root.cow", run.volume(volume["VolumeId"]).with_suffix(".cow")]
    stored = Secret("value in etcd", (b"the-power-cut-of-a-ready-node",))
    keys = cluster_keys(scenario)
    assert len(keys) >= 5
    found = dict(found_in(disks, [*keys, leaf, stored]))
    assert disks[1].name in found.pop("value in etcd")  # a backup taken meanwhile lay on the other, too
    assert found == {"leaf": {disks[0].name}}

    first.machine.power_on()
    scenario.wait_until_ready(first.instance_id, other_boot_than=boot_id)
    assert first.etcdctl("get", "lab/before", "--print-value-only") == "the-power-cut-of-a-ready-node"
    assert member(first) == was
    assert nothing_left_to_do(first)


def test_a_new_machine_takes_over_volume_member_and_data(scenario: Scenario, first: LiveNode) -> None:
    client = scenario.client
    first.etcdctl("put", "lab/heir", "gets-it")
    was, made, marker = member(first), file_system_made(first), first.sh(f"cat {MOUNT}/.etcd-volume.json")
    tags, recorded, (volume,) = volume_tags(scenario), record(client), scenario.volumes()
    assert recorded[1]["state"] == "established"
    client.terminate(first.instance_id)
    client.wait_for_state(first.instance_id, "terminated")

    heir = LiveNode(scenario, scenario.launch(GROUP))
    scenario.wait_until_ready(heir.instance_id)
    assert heir.etcdctl("get", "lab/heir", "--print-value-only") == "gets-it"
    assert heir.etcdctl("get", "lab/before", "--print-value-only") == "the-power-cut-of-a-ready-node"
    assert member(heir) == was
    (now,) = scenario.volumes()
    assert now["VolumeId"] == volume["VolumeId"]
    assert [one["InstanceId"] for one in now["Attachments"]] == [heir.instance_id]
    assert (volume_tags(scenario), record(client)) == (tags, recorded)
    assert (file_system_made(heir), heir.sh(f"cat {MOUNT}/.etcd-volume.json")) == (made, marker)
    assert heir.sh("cat /run/bootwright/etcd-main.env") == "INITIAL_CLUSTER_STATE=existing"
    assert nothing_left_to_do(heir)
