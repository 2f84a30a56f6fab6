"""The machine half of the lab: what a power cut takes, what a volume carries over, what the image holds."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import console, disks, image, network
from tests.lab.layers import Layer, build
from tests.lab.machine import Machine, MachineError, State
from tests.lab.processes import ProcessMark, kill_session, mark, spawn
from tests.lab.region.machines import Instance

# Side by side with a lab that is up, and with another worker of the same run.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
BRIDGE = network.Bridge(f"bw-test{WORKER}", (f"10.98.{WORKER}.1/24",))
VOLUME = "vol-0123456789abcdef0"
LINK = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0123456789abcdef0"
# Neither IMDS nor a bucket is here: what needs them stays off.
QUIET = ("cloud-init=disabled", "systemd.mask=bootwright-boot.service")

Launch = Callable[..., Machine]

pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def baked() -> image.Image:
    return image.bake()


@pytest.fixture(scope="module")
def bridge() -> Iterator[network.Bridge]:
    network.up(BRIDGE)
    yield BRIDGE
    network.down(BRIDGE)


@pytest.fixture
def launch(baked: image.Image, bridge: network.Bridge, tmp_path: Path) -> Iterator[Launch]:
    made: list[Machine] = []

    def make(number: int = 1, memory_mib: int = 512) -> Machine:
        instance = Instance(
            id=f"i-{WORKER:x}{os.getpid():08x}{number:08x}",
            image_id=baked.id,
            instance_type="t3.small",
            memory_mib=memory_mib,
            zone="eu-west-1a",
            private_ip=f"10.98.{WORKER}.{10 + number}",
            prefix_length=24,
            gateway=f"10.98.{WORKER}.1",
            mac=f"02:00:00:98:{WORKER:02x}:{number:02x}",
            hostname=f"ip-10-98-{WORKER}-{10 + number}.eu-west-1.compute.internal",
            directory=tmp_path / f"machine{number}",
        )
        machine = Machine(State(instance, baked.path, bridge.name, QUIET))
        made.append(machine)
        machine.start()
        machine.wait_reachable()
        return machine

    yield make
    for machine in made:
        machine.power_cut()


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "volumes" / f"{VOLUME}.img"
    disks.create_volume(path, 1)
    return path


def said(machine: Machine, script: str) -> str:
    """What a shell script in the guest printed; it must succeed."""
    done = machine.exec(["sh", "-c", script])
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _command_lines() -> str:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(path.read_text())
    return "\n".join(found)


@pytest.mark.lab
def test_a_machine_boots_with_no_failed_unit_and_the_name_and_address_it_was_given(launch: Launch) -> None:
    machine = launch()
    assert machine.wait_booted() == "running", said(machine, "systemctl --failed")
    assert said(machine, "hostname") == machine.instance.hostname.partition(".")[0]
    assert machine.address in said(machine, "ip -4 -brief address show vec0")


@pytest.mark.lab
def test_the_image_needs_nothing_that_is_not_in_it(launch: Launch) -> None:
    machine = launch()
    imports = "import tuf.ngclient, botocore.session, cryptography.x509, systemd.journal, pydantic, psutil, yaml"
    said(machine, f"/opt/bootwright/venv/bin/python -I -c '{imports}'")
    said(machine, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python /opt/bootwright/venv/bin/python -c 'import etcd3'")
    assert machine.exec(["/opt/bootwright/venv/bin/python", "-I", "-c", "import boto3"]).returncode == 1
    assert said(machine, "command -v gcc cc pip pip3 || true") == ""
    assert said(machine, "readlink /usr/local/bin/agent") == "/opt/bootwright/venv/bin/agent"
    assert said(machine, "systemctl start containerd && systemctl is-active containerd") == "active"
    assert said(machine, "systemctl is-enabled containerd etcd || true").split() == ["disabled", "disabled"]
    assert "1.0.0" in said(machine, """echo '{"cniVersion":"1.0.0"}' | CNI_COMMAND=VERSION /opt/cni/bin/bridge""")
    # systemd-analyze exits with 0 for a misspelt key: any line is a failure.
    assert said(machine, "systemd-analyze verify --man=no /etc/systemd/system/bootwright-sync.* 2>&1") == ""
    assert "cpu MHz" in said(machine, "cat /proc/cpuinfo")
    assert "System clock synchronized: yes" in said(machine, "timedatectl status")


@pytest.mark.lab
def test_a_power_cut_takes_what_was_not_synced_and_nothing_else(launch: Launch, volume: Path) -> None:
    machine = launch()
    machine.attach_volume(VOLUME, volume)
    said(machine, f"udevadm settle && mkfs.ext4 -q {LINK} && mount {LINK} /mnt && echo kept > /mnt/kept && sync")
    said(machine, "echo lost > /mnt/lost")
    machine.power_cut()
    assert not machine.is_alive()
    machine.start()
    machine.wait_reachable()
    said(machine, f"mount {LINK} /mnt")
    assert said(machine, "ls /mnt").split() == ["kept", "lost+found"]


@pytest.mark.lab
def test_a_volume_carries_its_data_and_its_name_to_another_machine(launch: Launch, volume: Path) -> None:
    first, second = launch(1), launch(2)
    first.attach_volume(VOLUME, volume)
    first.attach_volume(VOLUME, volume)
    assert said(first, "cat /sys/block/ubdb/serial") == VOLUME.replace("-", "")
    assert int(said(first, "cat /sys/block/ubdb/size")) * 512 == disks.GIB
    said(first, f"udevadm settle && mkfs.ext4 -q {LINK} && mount {LINK} /mnt && echo data > /mnt/data")
    with pytest.raises(MachineError, match="currently open"):
        first.detach_volume(VOLUME)
    said(first, "umount /mnt")
    first.detach_volume(VOLUME)
    first.detach_volume(VOLUME)
    assert said(first, "ls /sys/block") == "ubda"
    second.attach_volume(VOLUME, volume)
    assert said(second, f"udevadm settle && mount {LINK} /mnt && cat /mnt/data") == "data"


@pytest.mark.lab
def test_a_reboot_from_inside_keeps_disks_and_plugged_volumes(launch: Launch, volume: Path) -> None:
    machine = launch()
    machine.attach_volume(VOLUME, volume)
    before = said(machine, "echo here > /root/note; cat /proc/sys/kernel/random/boot_id")
    machine.exec(["systemctl", "reboot"])
    deadline = time.monotonic() + 60
    while machine.exec(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip() in {before, ""}:
        assert time.monotonic() < deadline, machine.console_tail()
    assert said(machine, "cat /root/note") == "here"
    assert said(machine, "cat /sys/block/ubdb/serial") == VOLUME.replace("-", "")


@pytest.mark.lab
def test_the_power_button_lets_the_guest_finish_its_work(launch: Launch, volume: Path) -> None:
    machine = launch()
    machine.attach_volume(VOLUME, volume)
    said(machine, f"udevadm settle && mkfs.ext4 -q {LINK} && mount {LINK} /mnt && echo unsynced > /mnt/file")
    machine.shutdown(timeout=60)
    assert not machine.is_alive()
    machine.start()
    machine.wait_reachable()
    assert said(machine, f"mount {LINK} /mnt && cat /mnt/file") == "unsynced"


@pytest.mark.lab
def test_another_process_can_find_ask_and_stop_a_machine(launch: Launch) -> None:
    machine = launch()
    script = (
        "import sys; from pathlib import Path; from tests.lab.machine import Machine;"
        "m = Machine.at(Path(sys.argv[1])); print(m.is_alive(), m.exec(['id', '-un']).stdout.strip());"
        "m.power_cut(); print(m.is_alive())"
    )
    command = [sys.executable, "-c", script, str(machine.directory)]
    checkout = Path(__file__).parents[2]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=checkout)
    assert done.stdout.split() == ["True", "root", "False"]
    assert not machine.is_alive()
    assert not Path(f"/sys/class/net/{network.tap_name(machine.instance.id)}").exists()


@pytest.mark.lab
def test_the_second_console_line_is_a_root_shell_that_needs_no_network(launch: Launch) -> None:
    machine = launch()
    machine.wait_booted()
    terminal = os.open(console.terminal_of(machine.socket), os.O_RDWR | os.O_NOCTTY)
    try:
        os.write(terminal, b"echo $((6 * 7))-$(id -un)\r")
        deadline, screen = time.monotonic() + 30, b""
        while b"42-root" not in screen:
            assert time.monotonic() < deadline, screen
            screen += os.read(terminal, 4096)
    finally:
        os.close(terminal)


@pytest.mark.lab
def test_a_baked_image_is_found_by_its_id(baked: image.Image) -> None:
    assert image.find(baked.id) == baked


@pytest.mark.lab
def test_an_image_nobody_baked_is_named_in_the_error() -> None:
    with pytest.raises(FileNotFoundError, match="no image ami-00000000000000000"):
        image.find("ami-00000000000000000")


def test_nothing_that_comes_in_over_the_bridge_is_routed_on(bridge: network.Bridge) -> None:
    assert Path(f"/proc/sys/net/ipv4/conf/{bridge.name}/forwarding").read_text().strip() == "0"


def test_a_bridge_left_behind_is_taken_over(bridge: network.Bridge) -> None:
    name = f"bw-left{WORKER}"
    left = network.Bridge(name, (f"10.97.{WORKER}.1/24",))
    network.up(network.Bridge(name, (f"10.96.{WORKER}.1/24",)))
    network.plug(f"bw-tap{WORKER}", name)
    try:
        network.up(left)
        network.plug(f"bw-tap{WORKER}", name)
        shown = subprocess.run(["ip", "-4", "-o", "address", "show", "dev", name], capture_output=True, check=True)
        assert b"10.97." in shown.stdout
        assert b"10.96." not in shown.stdout
    finally:
        network.down(left)
    assert not Path(f"/sys/class/net/{name}").exists()
    assert not Path(f"/sys/class/net/bw-tap{WORKER}").exists()
    network.down(left)


def test_a_recycled_process_id_is_never_killed() -> None:
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        seen = mark(bystander.pid)
        earlier = ProcessMark(bystander.pid, seen.started - 1)
        assert not earlier.is_alive()
        kill_session(earlier, frozenset({"sleep"}))
        assert seen.is_alive()
        kill_session(seen, frozenset())
        assert not seen.is_alive()
    finally:
        bystander.kill()
        bystander.wait()


def test_helpers_are_killed_even_when_their_leader_has_gone(tmp_path: Path) -> None:
    output = tmp_path / "output"
    leader = spawn(["sh", "-c", "sleep 61 & echo $!; wait"], output)
    deadline = time.monotonic() + 30
    while not output.exists() or not output.read_text().endswith("\n"):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    helper = mark(int(output.read_text()))
    while Path(f"/proc/{helper.pid}/comm").read_text() != "sleep\n":
        assert time.monotonic() < deadline
    os.kill(leader.pid, signal.SIGKILL)
    os.waitpid(leader.pid, 0)
    kill_session(leader, frozenset({"another name"}))
    assert helper.is_alive()
    kill_session(leader, frozenset({"sleep"}))
    assert not helper.is_alive()


def test_a_layer_is_built_once_and_keeps_its_modification_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOTWRIGHT_CACHE", str(tmp_path))
    runs, script = tmp_path / "runs", tmp_path / "script.sh"
    script.write_text(f"echo run >> {runs}\n")
    first = build(Layer("once", None, str(script), {}, ()))
    before = first.stat().st_mtime_ns
    assert build(Layer("once", None, str(script), {}, ())) == first
    # Copy-on-write files hold this time, and refuse the image when it differs.
    assert first.stat().st_mtime_ns == before
    assert build(Layer("once", None, str(script), {}, ("another input",))) != first
    assert runs.read_text().split() == ["run", "run"]


def test_an_interrupted_layer_leaves_neither_an_image_nor_a_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOTWRIGHT_CACHE", str(tmp_path))
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    started = tmp_path / "started"
    slow = scripts / "slow.sh"
    slow.write_text(
        f'mount -t tmpfs tmp "$1/lost+found"; echo content > "$1/file"; touch {started}; read -r < {scripts}/gate\n'
    )
    os.mkfifo(scripts / "gate")
    builder = os.fork()
    if builder == 0:
        build(Layer("slow", None, str(slow), {}, ()))
        os._exit(0)
    deadline = time.monotonic() + 60
    while not started.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(builder, signal.SIGKILL)
    os.waitpid(builder, 0)
    while str(scripts) in _command_lines():
        assert time.monotonic() < deadline, "the script runs on"
        time.sleep(0.02)
    assert list((tmp_path / "layers").glob("*.img")) == []
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    slow.write_text('echo whole > "$1/file"\n')
    assert build(Layer("slow", None, str(slow), {}, ())).exists()
