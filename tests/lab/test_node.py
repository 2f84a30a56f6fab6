"""A control-plane node, looked at from every side: what it runs, where its data lies, what it says, what it changes."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.live import ETCD, TIMER, LiveNode, live_cluster, ready_node
from tests.lab.scenario import GROUP

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.timeout(2400)]

PKI = "/etc/kubernetes/pki"
RUNNING = {"bootwright-boot.service", TIMER, "containerd.service", "kubelet.service", ETCD}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    with live_cluster(tmp_path_factory.mktemp("node")) as scenario:
        yield ready_node(scenario)


@pytest.fixture
def alone(node: LiveNode) -> Iterator[LiveNode]:
    """The node with its timer stopped: what changes here, the test changed."""
    node.sh(f"systemctl stop {TIMER}")
    yield node
    node.sh(f"systemctl start {TIMER}")


def etcdctl_as(node: LiveNode, *, authority: str = "etcd-clients", credential: str = "") -> tuple[int, str]:
    """Exit code of reading everything, and what both ends said about it."""
    client = f"--cert {PKI}/{credential} --key {PKI}/{credential}" if credential else ""
    since = node.sh("date +%s")
    done = node.try_sh(
        "ETCDCTL_API=3 etcdctl --endpoints https://127.0.0.1:2379 --dial-timeout 2s --command-timeout 2s "
        f"--cacert {PKI}/ca/{authority}.crt {client} get lab/greeting"
    )
    return done.returncode, done.stderr + node.sh(f"journalctl --output cat --unit {ETCD} --since @{since}")


def test_etcd_is_healthy_and_keeps_what_its_client_puts(node: LiveNode) -> None:
    assert "is healthy" in node.etcdctl("endpoint", "health", "2>&1")
    node.etcdctl("put", "lab/greeting", "hello")
    assert node.etcdctl("get", "lab/greeting", "--print-value-only") == "hello"


def test_etcd_answers_nobody_without_a_certificate_of_its_clients_authority(node: LiveNode) -> None:
    assert etcdctl_as(node, credential="etcd/healthcheck-client.pem")[0] == 0
    nobody, said = etcdctl_as(node)
    assert nobody != 0
    assert "client didn't provide a certificate" in said
    stranger, said = etcdctl_as(node, credential="kubelet/client.pem")
    assert stranger != 0
    assert "certificate signed by unknown authority" in said
    plain = node.try_sh("curl --silent --show-error --max-time 3 http://127.0.0.1:2379/health")
    assert "true" not in plain.stdout


def test_etcds_certificate_is_not_accepted_under_another_authority(node: LiveNode) -> None:
    code, said = etcdctl_as(node, authority="kubernetes", credential="etcd/healthcheck-client.pem")
    assert code != 0
    assert "certificate signed by unknown authority" in said


def test_etcds_data_lies_on_its_own_volume(node: LiveNode) -> None:
    volume = node.scenario.volumes()[0]
    held = [(one["InstanceId"], one["State"]) for one in volume["Attachments"]]
    assert held == [(node.instance_id, "attached")]
    device = node.sh("findmnt --noheadings --output SOURCE /var/lib/etcd/main").removeprefix("/dev/")
    assert node.sh(f"cat /sys/class/block/{device}/serial") == volume["VolumeId"].replace("-", "")
    pid = node.sh(f"systemctl show --property=MainPID --value {ETCD}")
    assert node.sh(f"stat --format %U /proc/{pid}") == "etcd"
    assert node.sh("stat --format '%U:%G %a' /var/lib/etcd/main/data") == "etcd:etcd 700"
    database = node.sh(f"readlink /proc/{pid}/fd/* | grep 'member/snap/db$' | sort --unique")
    assert database == "/var/lib/etcd/main/data/member/snap/db"
    assert node.sh(f"findmnt --noheadings --output SOURCE --target {database}") == f"/dev/{device}"
    options = node.sh("findmnt --noheadings --output OPTIONS /var/lib/etcd/main").split(",")
    assert {"noexec", "nosuid", "nodev", "noatime"} <= set(options)


def test_the_blank_volume_was_looked_at_before_it_was_formatted_and_that_wait_had_its_name(node: LiveNode) -> None:
    volume = node.scenario.volumes()[0]["VolumeId"]
    said = node.sh("journalctl --output cat --unit bootwright-boot.service | grep --fixed-strings 'is blank: '")
    assert f"looking whether {volume} is blank: 0.0 of 2.0 GiB" in said


def test_options_that_somebody_took_from_the_mount_come_back_and_a_read_only_volume_is_refused(alone: LiveNode) -> None:
    place = "/var/lib/etcd/main"
    alone.sh(f"mount -o remount,bind,exec,suid,dev,relatime {place}")
    done = alone.agent("boot")
    assert done.returncode == 0, done.stdout + done.stderr
    options = alone.sh(f"findmnt --noheadings --output VFS-OPTIONS {place}").split(",")
    assert {"noexec", "nosuid", "nodev", "noatime"} <= set(options)
    assert "errors=remount-ro" in alone.sh(f"findmnt --noheadings --output FS-OPTIONS {place}")
    alone.sh(f"mount -o remount,bind,ro {place}")
    try:
        refused = alone.agent("boot")
        assert refused.returncode == 3
        assert "etcd-volume-read-only" in alone.agent("status").stdout
        assert "ro" in alone.sh(f"findmnt --noheadings --output VFS-OPTIONS {place}").split(",")
    finally:
        alone.sh(f"mount -o remount,bind,rw,noatime,nodev,nosuid,noexec {place}")
    assert alone.agent("boot").returncode == 0


def test_nothing_can_be_written_to_the_mount_point_below_the_volume(node: LiveNode) -> None:
    below = node.sh(
        "mkdir -p /run/lab-root && mount --bind / /run/lab-root && trap 'umount /run/lab-root' EXIT; "
        "cd /run/lab-root/var/lib/etcd/main; ls -A; if touch intruder 2>&1; then echo written; fi"
    )
    assert below.splitlines() == ["touch: cannot touch 'intruder': Operation not permitted"]


def test_a_second_boot_changes_nothing_and_says_so(alone: LiveNode) -> None:
    before = alone.fingerprint()
    done = alone.agent("boot")
    assert (done.returncode, alone.fingerprint()) == (0, before)
    assert re.search(r": nothing to change: \d+ resources are as serial 1 wants them", done.stdout)
    diff = alone.agent("diff", "--detailed-exitcode")
    assert diff.returncode == 0
    assert re.search(r"^0 to change, \d{2,} unchanged; nothing was changed$", diff.stdout, re.MULTILINE)


def test_drift_is_named_by_diff_and_mended_by_boot_and_nothing_else_is_touched(alone: LiveNode) -> None:
    before = alone.fingerprint()
    damaged = "/etc/kubernetes/manifests/kube-scheduler.yaml"
    alone.sh(f"echo '# somebody was here' >> {damaged}")
    diff = alone.agent("diff", "--detailed-exitcode")
    assert diff.returncode == 5
    assert "~ static-pod:kube-scheduler" in diff.stdout
    assert "-# somebody was here" in diff.stdout
    assert diff.stdout.splitlines()[-1].startswith("1 to change,")
    assert "somebody" in alone.sh(f"cat {damaged}")
    done = alone.agent("boot")
    assert done.returncode == 0
    assert "1 changed" in done.stdout
    changed = set(before) ^ set(alone.fingerprint())
    assert {line.split()[0] for line in changed} == {damaged, str(Path(damaged).parent)}


def test_the_status_is_complete(node: LiveNode) -> None:
    done = node.agent("status", "--json")
    status = json.loads(done.stdout)
    assert (done.returncode, status["stage"]) == (0, "ready")
    assert (status["role"], status["group"], status["serial"]) == ("control-plane", GROUP, 1)
    assert (status["instance_id"], status["boot_id"]) == (node.instance_id, node.boot_id())
    assert status["trust"] == "Fresh"
    assert set(status["metadata"]) == {"root", "timestamp", "snapshot", "targets"}
    kinds = {resource["key"].split(":")[0] for resource in status["resources"]}
    assert kinds >= {"volume", "mount", "certificate", "unit", "static-pod", "image", "asset", "kubeconfig", "sysctl"}
    assert {resource["status"] for resource in status["resources"]} <= {"changed", "unchanged"}
    assert status["units"] == dict.fromkeys(RUNNING, "active")
    (etcd,) = status["etcd"]
    assert (etcd["name"], etcd["ready"], etcd["members"], etcd["leader"]) == ("main", True, 1, "a")
    assert status["health"]["kubelet"] == "ok"
    on_disk = set(node.sh(f"find {PKI} -name '*.pem'").split())
    days = {one["path"]: one["days_left"] for one in status["certificates"] if not one["authority"]}
    assert set(days) == on_disk
    assert set(days.values()) <= {364, 365}


def test_the_screen_of_the_status_shows_the_same(node: LiveNode) -> None:
    done = node.agent("status")
    assert done.returncode == 0
    assert done.stdout.startswith(f"READY  {node.status()['node_name']}")
    for word in ("control-plane", GROUP, "etcd main", "leader a, 1 members", "kubelet/client.pem", ETCD):
        assert word in done.stdout


def test_systemd_finds_nothing_to_complain_about_in_any_unit_of_ours(node: LiveNode) -> None:
    units = node.sh("ls /etc/systemd/system/bootwright-*.service /etc/systemd/system/bootwright-*.timer").split()
    assert {Path(unit).name for unit in units} >= {ETCD, "bootwright-boot.service", TIMER}
    every = [*units, "/etc/systemd/system/kubelet.service", "containerd.service"]
    done = node.try_sh(f"SYSTEMD_LOG_LEVEL=warning systemd-analyze verify --man=no {' '.join(every)}")
    # The exit code is 0 for a misspelt key too: any line is a complaint.
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_cloud_init_accepts_the_userdata_that_the_coordinator_prints(node: LiveNode) -> None:
    printed = node.scenario.coordinator("userdata", GROUP, capture=True)
    assert len(printed.encode()) < 1024
    script = f"cat > /run/userdata <<'END'\n{printed}END\ncloud-init schema --config-file /run/userdata"
    done = node.try_sh(script)
    assert (done.returncode, "Valid schema" in done.stdout) == (0, True), done.stdout + done.stderr
    broken = node.try_sh("sed -i s/runcmd/runcmds/ /run/userdata; cloud-init schema --config-file /run/userdata")
    assert broken.returncode != 0, "cloud-init would accept anything"


def test_cloud_init_and_every_unit_end_well(node: LiveNode) -> None:
    done = node.try_sh("cloud-init status --wait --long")
    assert (done.returncode, "status: done" in done.stdout) == (0, True), done.stdout
    assert node.sh("systemctl --failed --no-legend --plain") == ""


PURPOSES = {
    "apiserver/etcd-client.pem": ("etcd-clients", "sslclient"),
    "apiserver/front-proxy-client.pem": ("front-proxy", "sslclient"),
    "apiserver/kubelet-client.pem": ("kubernetes", "sslclient"),
    "apiserver/server.pem": ("kubernetes", "sslserver"),
    "etcd/healthcheck-client.pem": ("etcd-clients", "sslclient"),
    "etcd/main-peer.pem": ("etcd-peers", "sslserver sslclient"),
    # etcd's gateway from HTTP dials its own port with it.
    "etcd/main-server.pem": ("etcd-clients", "sslserver sslclient"),
    "issuer/server.pem": ("kubernetes", "sslserver"),
    "kube-controller-manager/client.pem": ("kubernetes", "sslclient"),
    "kube-controller-manager/server.pem": ("kubernetes", "sslserver"),
    "kube-proxy/client.pem": ("kubernetes", "sslclient"),
    "kube-scheduler/client.pem": ("kubernetes", "sslclient"),
    "kube-scheduler/server.pem": ("kubernetes", "sslserver"),
    "kubelet/client.pem": ("kubernetes", "sslclient"),
    "kubelet/server.pem": ("kubernetes", "sslserver"),
}


def test_openssl_verifies_every_certificate_for_its_purpose_and_for_no_other_authority(node: LiveNode) -> None:
    assert set(node.sh(f"cd {PKI} && find . -name '*.pem' -printf '%P\\n'").split()) == set(PURPOSES)
    authorities = sorted({authority for authority, _ in PURPOSES.values()})
    script = f"cd {PKI}\n" + "\n".join(
        f"for purpose in sslclient sslserver; do openssl verify -x509_strict -purpose $purpose "
        f"-CAfile ca/{authority}.crt {path} > /dev/null 2>&1 && echo {path} {authority} $purpose; done"
        for path in PURPOSES
        for authority in authorities
    )
    verified = {tuple(line.split()) for line in node.sh(f"{script}\ntrue").splitlines()}
    wanted = {
        (path, authority, purpose) for path, (authority, purposes) in PURPOSES.items() for purpose in purposes.split()
    }
    assert verified == wanted


def test_the_node_joined(node: LiveNode) -> None:
    if node.scenario.provided.real:
        said = json.loads(node.scenario.kubectl(node.instance_id, "get", "nodes", "-o", "json"))
        ready = {
            item["metadata"]["name"]: condition["status"]
            for item in said["items"]
            for condition in item["status"]["conditions"]
            if condition["type"] == "Ready"
        }
        assert ready == {node.status()["node_name"]: "True"}
        return
    voucher = json.loads(node.sh("cat /run/bootwright/kubelet-double.json"))
    assert "DOUBLE" in voucher["double"]
    assert voucher["client"] == f"system:node:{node.status()['node_name']} system:nodes"
    pods = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler")
    assert voucher["staticPods"] == {f"{name}.yaml": "would run" for name in pods}


def test_the_coordinator_sees_the_node_and_what_was_published(node: LiveNode) -> None:
    fleet = json.loads(node.scenario.ask_coordinator("status", "--json").stdout)["nodes"]
    (seen,) = fleet
    assert (seen["instance_id"], seen["problem"]) == (node.instance_id, None)
    assert (seen["status"]["stage"], seen["status"]["serial"]) == ("ready", 1)
    table = node.scenario.ask_coordinator("status")
    assert table.returncode == 0
    assert node.instance_id in table.stdout
    assert "ready" in table.stdout
    entries = json.loads(node.scenario.ask_coordinator("history", "--json").stdout)
    assert entries[0]["what"] == f"publish new: {GROUP}, workers"
    assert entries[0]["serial"] == 1
    assert entries[-1]["what"].startswith("init cluster")


def test_a_changed_argument_is_shown_published_and_applied_by_sync_and_restarts_no_unit(alone: LiveNode) -> None:
    scenario = alone.scenario
    spec = scenario.spec.read_text()
    argument = "components:\n  kubeScheduler:\n    extraArgs:\n      v: 4\ntrust:\n"
    scenario.spec.write_text(spec.replace("trust:\n", argument))
    shown = json.loads(scenario.ask_coordinator("publish", "--json").stdout)
    assert shown["published"] is False
    items = {change["group"]: change["items"] for change in shown["changes"]}
    (item,) = items.pop(GROUP)
    assert not any(items.values()), "a worker runs no scheduler"
    assert (item["key"], item["kind"]) == ("static-pod:kube-scheduler", "change")
    changed = [(line[0], line[1:].strip()) for line in item["lines"] if line[0] in "+-"]
    assert [one for one in changed if "bootwright.io/digest:" not in one[1]] == [("+", "- --v=4")]
    assert [sign for sign, text in changed if "bootwright.io/digest:" in text] == ["-", "+"]
    assert "applied" not in alone.agent("sync").stdout, "without --yes something was published"

    before = alone.fingerprint()
    pending = scenario.ask_coordinator("publish", "--detailed-exitcode")
    assert pending.returncode == 5
    assert re.search(r"^ +\+ +- --v=4$", pending.stdout, re.MULTILINE)
    scenario.coordinator("publish", "--yes")
    done = alone.agent("sync")
    assert done.returncode == 0
    assert "serial 2 applied: 1 changed" in done.stdout
    manifests = "/etc/kubernetes/manifests"
    changed = {line.split()[0] for line in set(before) ^ set(alone.fingerprint())}
    assert changed == {f"{manifests}/kube-scheduler.yaml", manifests}
    assert "- --v=4" in alone.sh(f"cat {manifests}/kube-scheduler.yaml")
    assert alone.agent("sync").stdout == "agent sync: nothing new\n"
    assert scenario.status(alone.instance_id)["serial"] == 2


def test_a_sync_that_was_killed_half_way_is_finished_by_the_next_one(alone: LiveNode) -> None:
    """The new release is verified and remembered by then, so the next poll finds nothing new in the store."""
    scenario, manifest = alone.scenario, "/etc/kubernetes/manifests/kube-scheduler.yaml"
    spec = scenario.spec.read_text()
    scenario.spec.write_text(spec.replace("      v: 4\n", "      v: 6\n"))
    scenario.coordinator("publish", "--yes")
    alone.kill_agent("sync", at=1)  # the plan has begun, and that pod is far down in it
    assert "--v=4" in alone.sh(f"cat {manifest}")
    done = alone.agent("sync")
    assert "the last one was cut off" in done.stdout
    assert "serial 3 applied: 1 changed" in done.stdout
    assert "--v=6" in alone.sh(f"cat {manifest}")


def test_what_a_boot_needs_was_read_while_the_machine_waited_for_its_address(node: LiveNode) -> None:
    node.sh("test -s /opt/bootwright/readahead.list && xargs --arg-file=/opt/bootwright/readahead.list ls > /dev/null")
    names = ("Result", "ExecMainStatus", "ExecMainStartTimestampMonotonic", "ExecMainExitTimestampMonotonic")
    said = node.sh(f"systemctl show bootwright-readahead.service --property={','.join(names)}")
    unit = dict(line.split("=", 1) for line in said.splitlines())
    assert (unit["Result"], unit["ExecMainStatus"]) == ("success", "0")
    agent = node.sh("systemctl show bootwright-boot.service --property=ExecMainStartTimestampMonotonic --value")
    assert int(unit["ExecMainStartTimestampMonotonic"]) < int(agent)


def test_the_agents_modules_come_out_of_one_file_on_the_image(node: LiveNode) -> None:
    """Made by the image's own Python, and nothing was added to the venv since."""
    program = "from agent.modules import use_modules; print(use_modules()); import agent.commands.boot as boot"
    kind = "print(type(boot.__spec__.loader).__module__)"
    said = node.sh(f"cd /; /opt/bootwright/venv/bin/python -I -c '{program}; {kind}'")
    assert said.splitlines() == ["True", "agent.modules"]
