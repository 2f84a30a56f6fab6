"""install.sh's steps, each on a throw-away copy of this machine: what they refuse, what they leave behind."""

import json
from pathlib import Path

import pytest

from tests.packer.throwaway import Throwaway

pytestmark = pytest.mark.root

PIN = "1.2.3:" + "a" * 64


@pytest.fixture
def machine(tmp_path: Path) -> Throwaway:
    return Throwaway(tmp_path)


@pytest.mark.parametrize(
    ("base", "pinned", "says"),
    [
        ("debian-12", {}, "has etcd 3.4 and containerd 1.6"),
        ("debian-12", {"ETCD": PIN}, "has containerd 1.6"),
        ("debian-12", {"CONTAINERD": PIN}, "has etcd 3.4"),
        ("debian-12", {"CONTAINERD": PIN, "ETCD": PIN}, ""),
        ("ubuntu-24.04", {}, "has etcd 3.4"),
        ("ubuntu-24.04", {"ETCD": PIN}, ""),
        ("amazon-linux-2023", {}, "has no etcd"),
        ("amazon-linux-2023", {"ETCD": PIN}, ""),
        ("debian-13", {}, ""),
    ],
)
def test_a_base_whose_own_is_too_old_wants_it_pinned(
    machine: Throwaway, base: str, pinned: dict[str, str], says: str
) -> None:
    machine.become(base)
    words = " ".join(f"{name}={value}" for name, value in pinned.items())
    done = machine.run(f"{words} bash /run/packer/install.sh check")
    assert done.returncode == (1 if says else 0), done.stderr
    assert says in done.stderr
    assert [name for name in ("ETCD", "CONTAINERD") if says and f"{name}=VERSION:SHA256" in done.stderr] == [
        name for name, word in (("ETCD", "etcd"), ("CONTAINERD", "containerd")) if word in says
    ]


APT = {"apt-get": 'echo "apt-get $*" >> /calls', "dpkg": 'echo "dpkg $*" >> /calls', "dpkg-query": "exit 1"}
TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer", "dnf-makecache.timer", "dnf-automatic.timer")
SERVICES = ("apt-daily.service", "apt-daily-upgrade.service", "unattended-upgrades.service")


def with_systemd(machine: Throwaway, **doubles: str) -> Throwaway:
    """Where systemd seems to run: what it is told is in /calls."""
    offline = 'SYSTEMD_OFFLINE=1 exec /usr/bin/systemctl "$@"'
    systemctl = f'echo "systemctl $*" >> /calls; [[ $1 == stop || $1 == *restart ]] || {offline}'
    return Throwaway(machine.folder, {**APT, "systemctl": systemctl, **doubles})


INSTALL = "mkdir /run/systemd /run/systemd/system; bash /run/packer/install.sh"


def test_nothing_of_the_distribution_holds_apts_lock_and_who_else_does_is_waited_for(machine: Throwaway) -> None:
    calls = with_systemd(machine).says(f"{INSTALL} packages >&2; cat /calls").splitlines()
    stop = next(index for index, call in enumerate(calls) if call.startswith("systemctl stop "))
    asked = [index for index, call in enumerate(calls) if call.startswith("apt-get ")]
    assert set(calls[stop].split()[2:]) == {*TIMERS, *SERVICES}
    masks = [call.split()[3:] for call in calls[:stop] if call.startswith("systemctl mask ")]
    assert masks == [calls[stop].split()[2:]], "else a timer begins what was just stopped"
    assert len(asked) == 2
    assert stop < asked[0]
    assert all("-o DPkg::Lock::Timeout=600" in calls[index] for index in asked)
    assert calls.index("dpkg --configure -a --force-confold") < asked[0]


def test_in_a_chroot_nothing_is_stopped(machine: Throwaway) -> None:
    calls = with_systemd(machine).says("bash /run/packer/install.sh packages >&2; cat /calls")
    assert "systemctl mask" in calls
    assert "systemctl stop" not in calls


def test_a_list_of_packages_that_cannot_be_read_ends_the_build(machine: Throwaway) -> None:
    """Instead of a build without packages, which would go on."""
    machine.become("debian-13")
    broken = "cp -r /run/packer /run/copy; rm /run/copy/packages.txt; bash /run/copy/install.sh packages"
    done = with_systemd(machine).run(broken)
    assert done.returncode != 0
    assert "packages.txt: No such file" in done.stderr


def test_what_runs_already_takes_up_its_new_configuration(machine: Throwaway) -> None:
    units = "cd /usr/lib/systemd/system; rm -f chronyd.service sshd.service; touch chrony.service ssh.service"
    calls = with_systemd(machine).says(f"{units}; {INSTALL} services >&2; cat /calls").splitlines()
    assert calls == [
        "systemctl restart chrony.service",
        "systemctl restart systemd-journald.service",
        "systemctl try-reload-or-restart ssh.service",
    ]


def test_amazons_chrony_reads_our_configuration(machine: Throwaway) -> None:
    machine.become("amazon-linux-2023")
    units = "rm -f /usr/lib/systemd/system/chrony.service; touch /usr/lib/systemd/system/chronyd.service"
    calls = with_systemd(machine).says(f"echo pool > /etc/chrony.conf; {units}; {INSTALL} services >&2; cat /calls")
    assert "systemctl restart chronyd.service" in calls
    assert machine.says("readlink /etc/chrony.conf").strip() == "/etc/chrony/chrony.conf"


PACKAGES = 'printf "installed containerd 1.7.24\\ninstalled runc 1.1.15\\n"'
BOOTWRIGHT = "/opt/bootwright/venv/lib/python3.13/site-packages/bootwright-0.1.0.dist-info"


def test_a_machine_without_etcd_has_an_inventory_all_the_same(machine: Throwaway) -> None:
    """A worker of a stock image: its agent need not run containerd to learn a version at every boot."""
    venv = "rm -rf /opt/bootwright; mkdir -p /opt/bootwright/venv; echo 'version = 3.99.1' > $_/pyvenv.cfg"
    library = f"mkdir -p {BOOTWRIGHT}; printf 'Name: bootwright\\nVersion: 0.1.0\\n' > {BOOTWRIGHT}/METADATA"
    asked = Throwaway(machine.folder, {"dpkg-query": PACKAGES})
    said = asked.says(f"{venv}; {library}; bash /run/packer/install.sh inventory; cat /opt/bootwright/image.json")
    image = json.loads(said)
    assert (image["containerd"], image["runc"]) == ("1.7.24", "1.1.15")
    assert "etcd" not in image
    assert image["python"] == "3.99.1", "the agent's, not the distribution's"


# update-grub(8) and grubby(8), as far as they are called; the real ones want the disk that this machine boots from.
UPDATE_GRUB_DOUBLE = """
for part in /etc/default/grub /etc/default/grub.d/*.cfg; do [[ ! -e $part ]] || . "$part"; done
printf 'linux /boot/vmlinuz-6 ro %s\\n' "$GRUB_CMDLINE_LINUX" > /boot/grub/grub.cfg
"""
GRUBBY_DOUBLE = """
[[ $1 == --update-kernel=ALL && $2 == --args=* && $# == 2 ]] || exit 1
sed -i "s/^options.*/& ${2#--args=}/" /boot/loader/entries/*.conf
"""
ARGUMENTS = "nvme_core.io_timeout=4294967295 systemd.unified_cgroup_hierarchy=1"


def test_grub_is_told_the_kernels_arguments_beside_those_it_has(machine: Throwaway) -> None:
    with_grub = Throwaway(machine.folder, {"update-grub": UPDATE_GRUB_DOUBLE, "update-initramfs": "touch /initramfs"})
    own = "rm -rf /etc/default/grub* /boot/*; mkdir -p /boot/grub; echo 'GRUB_CMDLINE_LINUX=own=1' > /etc/default/grub"
    for _ in range(2):
        with_grub.says(f"{own}; bash /run/packer/install.sh harden; test -e /initramfs")
        assert with_grub.says("cat /boot/grub/grub.cfg") == f"linux /boot/vmlinuz-6 ro own=1 {ARGUMENTS}\n"
    assert [line for line in with_grub.validate("system") if "kernel" in line] == []


def test_grubby_puts_them_into_the_entry_of_every_kernel(machine: Throwaway) -> None:
    machine.become("amazon-linux-2023")
    with_grubby = Throwaway(machine.folder, {"grubby": GRUBBY_DOUBLE, "update-initramfs": "exit 0"})
    kernels = "for k in 1 2; do echo options root=/dev/xvda1 > /boot/loader/entries/$k.conf; done"
    with_grubby.says(f"rm -rf /boot/*; mkdir -p /boot/loader/entries; {kernels}; bash /run/packer/install.sh harden")
    said = with_grubby.says("cat /boot/loader/entries/*.conf").splitlines()
    assert said == [f"options root=/dev/xvda1 {ARGUMENTS}"] * 2
    assert [line for line in with_grubby.validate("system") if "kernel" in line] == []
