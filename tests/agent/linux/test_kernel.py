"""Sysctls and modules, on a tree that stands in for /proc and /sys, and on this very kernel."""

from pathlib import Path

import pytest

from agent.linux.kernel import LinuxKernel
from tests.agent.linux.recorded import RunDouble
from units.errors import Fatal


def put(root: Path, path: str, text: str = "") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_a_value_is_read_with_single_spaces(tmp_path: Path) -> None:
    put(tmp_path, "proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n")
    assert LinuxKernel(tmp_path).sysctl("net.ipv4.tcp_rmem") == "4096 131072 6291456"


def test_a_key_that_this_kernel_lacks_is_none_to_read_and_an_error_to_set(tmp_path: Path) -> None:
    put(tmp_path, "proc/sys/vm/swappiness", "60\n")
    kernel = LinuxKernel(tmp_path)
    assert kernel.sysctl("net.bridge.bridge-nf-call-iptables") is None
    assert kernel.sysctl("vm.swappiness.below") is None
    with pytest.raises(Fatal, match=r"no sysctl net\.bridge") as missing:
        kernel.set_sysctl("net.bridge.bridge-nf-call-iptables", "1")
    assert missing.value.code == "sysctl-missing"
    assert "br_netfilter" in missing.value.remedy
    assert not (tmp_path / "proc/sys/net").exists()


def test_a_value_is_set(tmp_path: Path) -> None:
    file = put(tmp_path, "proc/sys/net/ipv4/ip_forward", "0\n")
    LinuxKernel(tmp_path).set_sysctl("net.ipv4.ip_forward", "1")
    assert file.read_text() == "1\n"


def test_a_dot_inside_a_part_is_written_as_a_slash(tmp_path: Path) -> None:
    put(tmp_path, "proc/sys/net/ipv4/conf/eth0.100/rp_filter", "2\n")
    assert LinuxKernel(tmp_path).sysctl("net.ipv4.conf.eth0/100.rp_filter") == "2"


@pytest.mark.parametrize("name", ["", ".", "a..b", "net.//.x", ".net", "net."])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, "proc/x", "1\n")
    for use in (LinuxKernel(tmp_path).sysctl, lambda key: LinuxKernel(tmp_path).set_sysctl(key, "1")):
        with pytest.raises(Fatal, match="not the name of a sysctl"):
            use(name)


def test_this_kernels_own_values_are_read() -> None:
    expected = Path("/proc/sys/kernel/osrelease").read_text().strip()
    assert LinuxKernel().sysctl("kernel.osrelease") == expected


@pytest.mark.root
def test_a_value_that_the_kernel_refuses_is_named() -> None:
    kernel = LinuxKernel()
    before = kernel.sysctl("vm.swappiness")
    with pytest.raises(Fatal, match=r"refuses 'many' for vm\.swappiness") as refused:
        kernel.set_sysctl("vm.swappiness", "many")
    assert refused.value.code == "sysctl-refused"
    kernel.set_sysctl("vm.swappiness", before)
    assert kernel.sysctl("vm.swappiness") == before


def test_a_read_only_value_is_explained() -> None:
    with pytest.raises(Fatal) as denied:
        LinuxKernel().set_sysctl("kernel.osrelease", "x")
    assert denied.value.code in ("permission-denied", "sysctl-refused")


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    put(tmp_path, "proc/sys/kernel/osrelease", "6.12.0-test\n")
    put(tmp_path, "lib/modules/6.12.0-test/modules.builtin", "kernel/fs/ext4/ext4.ko\nkernel/net/nf-x.ko.xz\n")
    put(tmp_path, "sys/module/overlay/initstate", "live\n")
    put(tmp_path, "sys/module/veth/initstate", "coming\n")
    put(tmp_path, "sys/module/tcp_cubic/parameters/beta", "717\n")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "loaded"),
    [
        ("overlay", True),
        ("veth", False),
        ("tcp_cubic", True),
        ("tcp-cubic", True),
        ("ext4", True),
        ("nf_x", True),
        ("br_netfilter", False),
    ],
)
def test_loaded_and_built_in_modules_are_there(modules: Path, name: str, loaded: bool) -> None:
    assert LinuxKernel(modules).module_loaded(name) is loaded


def test_a_kernel_without_a_listing_of_modules_has_none_built_in(tmp_path: Path) -> None:
    put(tmp_path, "proc/sys/kernel/osrelease", "6.12.0-test\n")
    assert LinuxKernel(tmp_path).module_loaded("overlay") is False


def test_a_module_is_loaded_with_modprobe() -> None:
    run = RunDouble(lambda _arguments: "")
    LinuxKernel("/", run).load_module("br_netfilter")
    assert run.asked == [("modprobe", "--", "br_netfilter")]


def test_a_module_that_cannot_be_loaded_is_fatal_with_modprobes_reason() -> None:
    run = RunDouble(lambda _arguments: (1, "", "FATAL: Module none not found in directory /lib/modules/6.12"))
    with pytest.raises(Fatal, match=r"cannot load kernel module none: .*not found in directory") as missing:
        LinuxKernel("/", run).load_module("none")
    assert missing.value.code == "module-missing"
