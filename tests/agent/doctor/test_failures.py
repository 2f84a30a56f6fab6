"""The twenty most likely failures of a joining node: `agent status`, `agent doctor` and `coordinator validate` all
name the cause.

docs/troubleshooting.md lists them in words; tests/docs/test_troubleshooting.py holds both lists together.
"""

import dataclasses
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.aws.ec2 import Ec2Access
from agent.aws.volumes import Ec2Volumes
from agent.doctor.finding import Examined
from agent.doctor.listeners import listeners
from agent.doctor.patient import OneTry
from agent.issuer_client import IssuerClient
from agent.linux.probes import LoopbackProbes
from agent.volume_memory import VolumeMemory
from agent.volumes import NodeVolumes
from pki.certificate import combine
from pki.keys import load_private_key, make_key
from pki.request import CertificateRequest
from tests.agent.conftest import Answer, ScriptedServerDouble
from tests.agent.doctor.imds import INSTANCE
from tests.agent.doctor.ward import Ward, free_port
from tests.agent.ec2_double import RegionDouble
from tests.agent.repository.conftest import BUCKET, METADATA
from tests.agent.test_volumes import DisksDouble
from tests.real_etcd.cluster import real_cluster
from units.errors import Retryable
from units.manifest import EtcdCluster, EtcdMember, Release, encode_release


def named_by_all(
    ward: Ward, code: str, check: str, *words: str, doctor: str = "", reaches_store: bool = True
) -> Examined:
    """Boots; then `agent status` shows `code` and the words with something to do, the doctor's first cause is `check`,
    and `coordinator validate` says code and words too: from the store, or else from the console.
    """
    ward.boot()
    screen = ward.screen()
    assert f"{code} since" in screen, screen
    assert "->" in screen
    cause = ward.cause()
    assert (cause.check, cause.finding.code) == (check, doctor or code), cause
    assert cause.finding.fix
    for word in words:
        assert word in screen, screen
        assert word in cause.finding.found, cause
    assert (ward.sent is not None) == reaches_store
    told = ward.from_afar()
    assert f"{code}: " in told, told
    assert "has not yet joined" in told or reaches_store, told
    for word in (*words, "what to do: "):
        assert word in told, told
    return cause


def test_a_healthy_worker_boots_and_nothing_is_wrong(worker: Ward) -> None:
    assert worker.boot().stage == "ready", worker.screen()
    assert worker.from_afar() == ""
    bad = [one for one in worker.diagnose() if one.finding.state in ("fail", "warn")]
    assert bad == []


def test_a_healthy_control_plane_node_boots_and_nothing_is_wrong(control_plane: Ward) -> None:
    assert control_plane.boot().stage == "ready", control_plane.screen()
    with control_plane.path("/proc/self/mountinfo").open("a") as table:
        table.write("30 22 259:2 / /var/lib/etcd/main rw,relatime - ext4 /dev/nvme1n1 rw\n")
    bad = [one for one in control_plane.diagnose() if one.finding.state in ("fail", "warn")]
    assert bad == []


def test_01_no_imds(worker: Ward) -> None:
    worker.imds_url = f"http://127.0.0.1:{free_port()}"
    named_by_all(worker, "imds-unreachable", "imds", "Connection refused", reaches_store=False)


def test_02_imds_turned_off(worker: Ward) -> None:
    worker.imds_instance.view = dataclasses.replace(worker.imds_instance.view, endpoint_enabled=False)
    named_by_all(worker, "imds-disabled", "imds", "turned off", reaches_store=False)


def test_02_a_hop_limit_that_eats_the_token(worker: Ward) -> None:
    """The answer dies on its way: the request never ends."""
    worker.imds_instance.faults.set_imds(INSTANCE, absent="hang")
    cause = named_by_all(worker, "imds-unreachable", "imds", reaches_store=False)
    assert "hop limit" in cause.finding.fix


def test_03_no_instance_profile(worker: Ward) -> None:
    worker.imds_instance.view = dataclasses.replace(worker.imds_instance.view, role="")
    cause = named_by_all(worker, "imds-no-credentials", "credentials", "no role credentials", reaches_store=False)
    assert "instance profile" in cause.finding.fix


def test_04_a_bucket_in_another_region(worker: Ward) -> None:
    body = b"<Error><Code>PermanentRedirect</Code></Error>"
    worker.bench.overrides["*"] = Answer(301, body, {"x-amz-bucket-region": "eu-north-1"})
    named_by_all(worker, "s3-wrong-region", "s3", "lies in eu-north-1", reaches_store=False)


def test_05_a_bucket_that_does_not_exist(worker: Ward, moto_endpoint: str) -> None:
    worker.endpoint = moto_endpoint
    worker.enroll()
    named_by_all(worker, "s3-no-such-bucket", "s3", f"'{BUCKET}' does not exist", reaches_store=False)


def test_06_access_denied_on_the_metadata(worker: Ward) -> None:
    worker.bench.deny(f"{METADATA}timestamp.json")
    named_by_all(worker, "s3-access-denied", "s3", "timestamp.json to role nodes")


def test_07_a_name_that_does_not_resolve(worker: Ward) -> None:
    worker.endpoint = "http://s3.eu-west-1.amazonaws.invalid"
    worker.enroll()
    named_by_all(
        worker, "s3-unreachable", "dns", "Name or service not known", doctor="dns-not-resolved", reaches_store=False
    )


def test_08_a_clock_ten_minutes_off(worker: Ward) -> None:
    worker.ahead = 600
    worker.ports["issuer"] = lambda manifest: IssuerClient(manifest, worker.patient.imds(), now=worker.now)
    cause = named_by_all(worker, "clock-wrong", "clock", "ahead of")
    assert "10 min" in cause.finding.found


def test_09_metadata_that_expired_long_ago(worker: Ward) -> None:
    worker.bench.publisher.lifetimes["timestamp"] = -31
    worker.publish()
    named_by_all(worker, "trust-freeze-expired", "trust", "freeze attack")


def test_10_an_old_state_of_the_repository_put_back(worker: Ward) -> None:
    old = dict(worker.bench.objects)
    worker.bench.publisher.publish()
    assert worker.boot().stage == "ready"
    worker.bench.objects.clear()
    worker.bench.objects.update(old)
    named_by_all(worker, "trust-rollback", "trust", "put an old state")


def test_11_a_document_of_another_group(worker: Ward) -> None:
    manifest = worker.manifest()
    other = manifest.model_copy(update={"group": manifest.group.model_copy(update={"name": "other"})})
    release = Release(serial=8, published="2026-06-01T00:00:00Z", stable=other)
    worker.bench.publisher.publish({worker.group: encode_release(release)})
    named_by_all(worker, "manifest-for-another-group", "trust", "group 'other'")


@pytest.fixture
def small_disk(worker: Ward) -> Iterator[Ward]:
    """A real file system of one megabyte below /var/lib/bootwright."""
    place = worker.path("/var/lib/bootwright")
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], check=True)
    try:
        yield worker
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.root
def test_12_a_full_disk(small_disk: Ward) -> None:
    with pytest.raises(OSError, match="No space left"):
        small_disk.path("/var/lib/bootwright/log").write_bytes(b"x" * 2**21)
    named_by_all(small_disk, "trust-disk-full", "disk", "full", doctor="disk-full")


def test_13_a_kernel_without_a_module(worker: Ward) -> None:
    worker.path("/sys/module/br_netfilter/initstate").unlink()
    worker.path("/sys/module/br_netfilter").rmdir()
    worker.tools.no_modules.add("br_netfilter")
    named_by_all(worker, "module-missing", "kernel", "kernel module br_netfilter")


def test_13_a_kernel_without_a_sysctl(worker: Ward) -> None:
    worker.path("/proc/sys/vm/overcommit_memory").unlink()
    named_by_all(worker, "sysctl-missing", "kernel", "this kernel has no sysctl vm.overcommit_memory")


def test_14_containerd_does_not_start(worker: Ward) -> None:
    worker.tools.broken["containerd.service"] = "containerd: failed to load TOML: /etc/containerd/config.toml"
    named_by_all(worker, "unit-not-started", "containerd", "containerd.service", "failed to load TOML")


def test_15_kubelet_crashes(worker: Ward) -> None:
    worker.tools.broken["kubelet.service"] = "failed to run Kubelet: invalid configuration: cgroupDriver"
    named_by_all(worker, "unit-not-started", "kubelet", "kubelet.service", "invalid configuration: cgroupDriver")


def test_16_a_port_taken_by_somebody_else(worker: Ward) -> None:
    """On an address of our own: the machine's other loopback addresses are not ours alone."""
    with socket.create_server(("127.77.0.1", 10250)):
        worker.listening = lambda: tuple(one for one in listeners() if one.address == "127.77.0.1")
        worker.tools.broken["kubelet.service"] = "listen tcp 127.77.0.1:10250: bind: address already in use"
        cause = named_by_all(worker, "unit-not-started", "ports", "10250", doctor="port-taken")
        assert "address already in use" in worker.screen()
        assert "pid" in cause.finding.found


@contextmanager
def ec2_of(ward: Ward, moto_endpoint: str) -> Iterator[Any]:
    """moto's EC2 behind the same endpoint as the bucket, as a lab or a proxy has it."""
    import boto3

    store = ward.bench.server.respond

    def respond(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if method != "POST":
            return store(method, path, headers, body)
        kept = {name: headers[name] for name in ("authorization", "content-type", "x-amz-date") if name in headers}
        request = urllib.request.Request(f"{moto_endpoint}/", data=body, headers=kept, method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Answer(answer.status, answer.read(), {"Content-Type": "text/xml"})

    server: ScriptedServerDouble = ward.bench.server
    server.respond = respond
    yield boto3.client(
        "ec2",
        endpoint_url=moto_endpoint,
        region_name="eu-west-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )


def test_17_a_volume_that_another_machine_holds(control_plane: Ward, moto_endpoint: str) -> None:
    ward = control_plane
    with ec2_of(ward, moto_endpoint) as ec2:
        other = ec2.run_instances(
            ImageId="ami-12c6146b", MinCount=1, MaxCount=1, Placement={"AvailabilityZone": "eu-west-1a"}
        )["Instances"][0]["InstanceId"]
        tags = [
            {"Key": "k8s.io/etcd/main", "Value": "a/a"},
            {"Key": "kubernetes.io/cluster/demo", "Value": "owned"},
        ]
        volume = ec2.create_volume(
            AvailabilityZone="eu-west-1a", Size=20, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
        )["VolumeId"]
        ec2.attach_volume(VolumeId=volume, InstanceId=other, Device="/dev/xvdbz")
        access = Ec2Access("eu-west-1", ward.patient.imds().credentials, ward.endpoint)
        ward.ports["volumes"] = lambda _manifest: NodeVolumes(
            Ec2Volumes(access, instance_id=INSTANCE),
            DisksDouble(RegionDouble(lambda: 0.0), INSTANCE),
            zone="eu-west-1a",
            instance_id=INSTANCE,
            waits=OneTry(),
            memory=VolumeMemory(ward.path("/var/lib/bootwright/volumes")),
        )
        named_by_all(ward, "volume-held", "volumes", volume, f"held by {other} (running)")


@pytest.mark.slow
def test_18_an_etcd_without_a_quorum(control_plane: Ward, tmp_path: Any) -> None:
    """One real member of two: the other never comes."""
    ward = control_plane
    with real_cluster(tmp_path / "etcd", ("a", "b"), start=False) as cluster:
        cluster.start("a")
        ports = {"metrics_port": cluster.members["a"].metrics_port, "client_port": cluster.members["a"].client_port}
        members = (EtcdMember(name="a", zone="eu-west-1a", group=ward.group),)
        ward.changes = {"etcd": (EtcdCluster(name="main", members=members, **ports),)}
        ward.publish()
        # Asked once: each look takes etcd two seconds, and the agent looks for two minutes of the node's own clock.
        said = LoopbackProbes().get(f"{cluster.members['a'].metrics_url}/readyz")
        assert said is None or said.status != 200
        ward.probes.real = lambda asked: said if f":{ports['metrics_port']}/" in asked else None
        with ward.path("/proc/self/mountinfo").open("a") as table:
            table.write("30 22 259:2 / /var/lib/etcd/main rw,relatime - ext4 /dev/nvme1n1 rw\n")
        named_by_all(ward, "etcd-not-ready", "etcd", "not ready")


def test_19_an_expired_certificate(worker: Ward) -> None:
    key = make_key()
    request = CertificateRequest(profile="kubelet-client", name="ip-127-0-0-1", lifetime=timedelta(days=1))
    long_ago = datetime.now(UTC) - timedelta(days=30)
    authority = type(worker.authority).create("kubernetes", long_ago)
    leaf = authority.issue(request, load_private_key(key).public_key(), long_ago)
    for name, content in {
        "kubelet/client.pem": combine(leaf, key),
        "ca/kubernetes.crt": authority.certificate.pem,
    }.items():
        path = worker.path(f"/etc/kubernetes/pki/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    class Silent:
        def issue(self, *_: object) -> Any:
            raise Retryable("issuer-busy", "the issuer is busy", remedy="this passes by itself")

    worker.ports["issuer"] = lambda _manifest: Silent()
    worker.boot()
    assert "client.pem has expired" in worker.screen()
    assert "client.pem has expired" in worker.from_afar()
    worker.path("/run/bootwright/status.json").unlink()  # what the issuer said last is another cause
    cause = worker.cause()
    assert (cause.check, cause.finding.code) == ("certificates", "certificate-expired")
    assert "kubelet/client.pem has expired" in cause.finding.found


@pytest.mark.parametrize("code", ["instance-wrong-profile", "instance-wrong-group"])
def test_20_an_issuer_that_refuses(worker: Ward, code: str) -> None:
    said = "profile is nodes-old, group node is bound to nodes"
    worker.api.refusal = {"code": code, "message": said, "remedy": "correct the launch template"}
    worker.ports["issuer"] = lambda manifest: IssuerClient(manifest, worker.patient.imds(), now=worker.now)
    named_by_all(worker, code, "issuer", said)


def test_21_an_api_endpoint_that_nobody_answers_at(worker: Ward) -> None:
    worker.api_port = free_port()
    worker.publish()
    worker.ports["issuer"] = lambda manifest: IssuerClient(manifest, worker.patient.imds(), now=worker.now)
    named_by_all(worker, "issuer-unreachable", "api-endpoint", "Connection refused", doctor="api-unreachable")


def test_21_an_api_endpoint_of_another_authority(worker: Ward) -> None:
    worker.api.certify(type(worker.authority).create("kubernetes", datetime.now(UTC)))
    worker.ports["issuer"] = lambda manifest: IssuerClient(manifest, worker.patient.imds(), now=worker.now)
    named_by_all(worker, "issuer-not-trusted", "api-endpoint", doctor="api-not-trusted")


def test_the_port_of_a_stranger_is_named_with_its_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mine:
        port = mine.getsockname()[1]
        (found,) = [one for one in listeners() if one.port == port]
    assert found.pid
    assert found.program
