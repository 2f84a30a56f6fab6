"""validate.sh on a throw-away copy of this machine: every complaint comes of what was spoiled, and goes with it."""

from pathlib import Path

import pytest

from tests.lab.image import PACKER
from tests.packer.throwaway import Throwaway

pytestmark = pytest.mark.root


@pytest.fixture
def machine(tmp_path: Path) -> Throwaway:
    return Throwaway(tmp_path)


@pytest.mark.parametrize(
    ("etcd", "containerd", "complaints"),
    [
        (
            "3.4.23-4+b4",
            "1.6.20~ds1",
            ["etcd 3.4.23-4+b4 is too old for a node: 3.5 or newer", "containerd 1.6.20~ds1"],
        ),
        ("3.10.0", "1.10.1", []),
        ("3.5.0", "1.7.0", []),
    ],
)
def test_versions_that_never_start_are_named(
    machine: Throwaway, etcd: str, containerd: str, complaints: list[str]
) -> None:
    record = f'{{"etcd": "{etcd}", "containerd": "{containerd}"}}'
    machine.says(f"mkdir -p /opt/bootwright; echo '{record}' > /opt/bootwright/image.json")
    found = [line for line in machine.validate("versions") if "too old" in line]
    assert len(found) == len(complaints)
    assert all(any(line.startswith(words) for line in found) for words in complaints)


def own_files(machine: Throwaway) -> None:
    machine.says("cp -r --no-preserve=ownership /run/packer/rootfs/etc /")


@pytest.mark.parametrize(
    ("name", "goes_by"), [("90_dpkg.cfg", False), ("99-a.cfg", False), ("99-c.cfg", True), ("99_a.cfg", True)]
)
def test_a_file_that_cloud_init_reads_after_ours_is_named(machine: Throwaway, name: str, goes_by: bool) -> None:
    own_files(machine)
    machine.says(f"echo 'datasource_list: [ NoCloud ]' > /etc/cloud/cloud.cfg.d/{name}")
    complaint = f"cloud-init goes by /etc/cloud/cloud.cfg.d/{name} in what it does with user-data"
    assert (complaint in machine.validate("system", LC_ALL="en_US.UTF-8")) == goes_by


def test_no_leap_second_is_stepped_that_the_clock_smears() -> None:
    """Amazon's 169.254.169.123 does (EC2 user guide, "Set the time reference")."""
    assert "\nleapsectz" not in (PACKER / "rootfs/etc/chrony/chrony.conf").read_text()


IO = "nvme_core.io_timeout=4294967295"
NO_IO = "the kernel gets no nvme_core.io_timeout of "
BOOT = {
    "Debian, right": (f"grub/grub.cfg:    linux /boot/vmlinuz-6 ro {IO} quiet", ""),
    "Debian, wrong": ("grub/grub.cfg:    linux /boot/vmlinuz-6 ro quiet", NO_IO),
    "Debian, recovery wrong": (f"grub/grub.cfg: linux /vmlinuz-6 {IO}\\n\\tlinux /vmlinuz-6 single", NO_IO),
    "Debian, another value": (f"grub/grub.cfg: linux /vmlinuz-6 {IO}0", NO_IO),
    "Amazon, grub2 wrong": ("grub2/grub.cfg: linux /boot/vmlinuz-6 ro", NO_IO),
    "Amazon, entry right": (f"loader/entries/6.1.conf:options root=UUID=1 {IO}", ""),
    "Amazon, entry wrong": ("loader/entries/6.1.conf:options root=UUID=1 ro", NO_IO),
    "Amazon, entry by a variable": ("loader/entries/6.1.conf:options $kernelopts", ""),
    "a kernel, and nothing else": ("vmlinuz-6.1:", "no file gives the kernel in /boot its arguments"),
    "no boot loader": ("empty:", ""),
}


@pytest.mark.parametrize("case", BOOT)
def test_every_kernel_waits_for_its_volumes_wherever_it_gets_its_arguments(machine: Throwaway, case: str) -> None:
    (name, _, text), complaint = BOOT[case][0].partition(":"), BOOT[case][1]
    machine.says(
        f"rm -rf /boot/*; mkdir -p /boot/grub2 $(dirname /boot/{name}); printf '{text}\\n' > /boot/{name}\n"
        f"echo 'kernelopts=ro {IO}' > /boot/grub2/grubenv"
    )
    found = [line for line in machine.validate("system") if "kernel" in line]
    assert len(found) == bool(complaint)
    assert all(line.startswith(complaint) for line in found)


SPOILED = {
    "systemctl unmask -q dnf-makecache.timer": ("units", "dnf-makecache.timer is not masked"),
    "systemctl unmask -q dnf-automatic.timer": ("units", "dnf-automatic.timer is not masked"),
    "systemctl unmask -q apt-daily-upgrade.service": ("units", "apt-daily-upgrade.service is not masked"),
    "echo [Swap] > /etc/systemd/system/dev-xvdb.swap": ("system", "/etc/systemd/system/dev-xvdb.swap makes swap"),
    "d=/usr/lib/systemd/system-generators; touch $d/zram-generator": ("system", "zram-generator makes swap"),
    "touch /etc/amazon-linux-release; echo pool 2.amazon.pool.ntp.org iburst > /etc/chrony.conf": (
        "system",
        "chrony does not ask Amazon's clock: /etc/chrony.conf is not ours",
    ),
}


@pytest.mark.parametrize("command", SPOILED)
def test_each_thing_that_is_amiss_is_named_and_harden_mends_it(machine: Throwaway, command: str) -> None:
    check, complaint = SPOILED[command]
    own_files(machine)
    machine.says("systemctl mask -q $(sed -n '/local units=/,/)/s/[^ ]*(\\|)//gp' /run/packer/install.sh)")
    assert complaint not in machine.validate(check)
    machine.says(command)
    assert complaint in machine.validate(check)
    # What names no packages has none to ask for; the boot loader is a double.
    mend = Throwaway(
        machine.folder, {"update-grub": "exit 0", "update-initramfs": "exit 0", "dpkg-query": "echo installed"}
    )
    mend.run("rm -f /etc/amazon-linux-release" if "unmask" in command else "true")
    mend.says("bash /run/packer/install.sh " + ("packages" if check == "units" else "harden"))
    assert complaint not in machine.validate(check)


ADMIN = (
    "useradd --create-home --uid 1777 admin; echo 'admin ALL=(ALL) NOPASSWD:ALL' > /etc/sudoers.d/90-cloud-init-users"
)
LEFT = {
    f"mkdir -p /etc/sudoers.d; {ADMIN}": (
        "/etc/sudoers.d/90-cloud-init-users is left over from this machine",
        "user admin is left over from this machine",
    ),
    "echo '127.0.1.1 ip-10-0-0-7.internal ip-10-0-0-7' >> /etc/hosts": (
        "/etc/hosts names this machine: 127.0.1.1 ip-10-0-0-7.internal ip-10-0-0-7",
    ),
    "mkdir -p /var/lib/amazon/ssm/i-1": ("/var/lib/amazon/ssm is left over from this machine",),
}


@pytest.mark.parametrize("command", LEFT)
def test_what_is_left_of_the_build_machine_is_named_and_clean_takes_it_away(machine: Throwaway, command: str) -> None:
    """On a copy of a machine that may have users and names of its own: those are taken away before."""
    # This machine's disk has more than an image's to look for private keys in.
    machine = Throwaway(machine.folder, {"grep": '[[ $1 != -rlIs ]] || exit 1; exec /usr/bin/grep "$@"'})
    machine.says("sed -i '/:[0-9]*:[1-5][0-9][0-9][0-9]:/d' /etc/passwd; echo '127.0.0.1 localhost' > /etc/hosts")
    assert not set(LEFT[command]) & set(machine.validate("clean"))
    machine.says(command)
    assert set(LEFT[command]) <= set(machine.validate("clean"))
    machine.says("bash /run/packer/install.sh clean; test ! -e /home/admin; id root")
    assert not [line for line in machine.validate("clean") if line.startswith(("/etc/hosts", "user ")) or "ssm" in line]
    assert machine.says("cat /etc/hosts").split("\n")[0] == "127.0.0.1 localhost"


@pytest.mark.parametrize(("name", "recorded"), [("cni", "1.7.1"), ("kubelet", "1.36.1"), ("kubelet", "")])
def test_a_pinned_version_that_is_not_the_recorded_one_is_named(machine: Throwaway, name: str, recorded: str) -> None:
    pins = {name.upper(): f"{recorded}:{'0' * 64}"} if recorded else {}
    image = f'{{"{name}": "{recorded}"}}' if recorded else "{}"
    machine.says(f"mkdir -p /opt/bootwright; echo '{image}' > /opt/bootwright/image.json")
    complaint = f"{name} 9.9.9 is pinned, but {recorded or 'nothing'} is recorded"
    assert complaint not in machine.validate("versions", **pins)
    assert complaint in machine.validate("versions", **{name.upper(): f"9.9.9:{'0' * 64}"})


SITE = "/opt/bootwright/venv/lib/python3*/site-packages"
LIBRARIES = {
    "true": "",
    "rm -r a_b-1.0.dist-info": "A.b 1.0 is locked, but not in the venv",
    "mv a_b-1.0.dist-info a_b-2.0.dist-info; sed -i s/1.0/2.0/ a_b-2.0.dist-info/METADATA": (
        "A.b 1.0 is locked, but the venv has 2.0"
    ),
    "rm a_b/late.py": "A.b lacks 1 of its files, a_b/late.py first",
    "rm /opt/bootwright/venv/requirements.txt": "/opt/bootwright/venv/requirements.txt locks no library",
}


@pytest.mark.parametrize("command", LIBRARIES)
def test_a_library_that_is_locked_and_not_there_is_named(machine: Throwaway, command: str) -> None:
    machine.says(
        "rm -rf /opt/bootwright; python3 -m venv --without-pip /opt/bootwright/venv\n"
        f"cd {SITE}; mkdir a_b a_b-1.0.dist-info; touch a_b/late.py\n"
        "printf 'Name: a_b\\nVersion: 1.0\\n' > a_b-1.0.dist-info/METADATA\n"
        "printf 'a_b/late.py,,\\na_b/__pycache__/late.pyc,,\\n' > a_b-1.0.dist-info/RECORD\n"
        "echo 'A.b==1.0 --hash=sha256:00' > /opt/bootwright/venv/requirements.txt\n"
    )
    machine.says(f"cd {SITE}; {command}")
    found = [line for line in machine.validate("python") if "lock" in line or "A.b" in line]
    assert len(found) == bool(LIBRARIES[command])
    assert all(line.startswith(LIBRARIES[command]) for line in found)


def test_what_is_not_read_ahead_is_named(machine: Throwaway) -> None:
    programs = ("containerd", "containerd-shim-runc-v2", "ctr", "runc", "etcd", "systemctl")
    there = Throwaway(machine.folder, dict.fromkeys(programs, "exit 0"))
    kubelet = f"/opt/bootwright/assets/sha256/00/{'0' * 64}"
    there.says(
        f"mkdir -p $(dirname {kubelet}) /opt/bootwright/pins; touch {kubelet}; cd /opt/bootwright\n"
        f"echo 1.36.2 {'0' * 64} > pins/kubelet; ls /run/doubles/* {kubelet} > readahead.list"
    )
    assert not [line for line in there.validate("python") if "list does not name /opt/bootwright/assets" in line]
    assert not [line for line in there.validate("python") if "list does not name /run/doubles" in line]
    there.says("echo > /opt/bootwright/readahead.list")
    found = there.validate("python")
    assert f"/opt/bootwright/readahead.list does not name {kubelet}" in found
    for name in programs:
        assert f"/opt/bootwright/readahead.list does not name /run/doubles/{name}" in found
