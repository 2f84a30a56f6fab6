"""containerd and systemd themselves judge files that are not theirs yet."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from agent.linux.run import run
from agent.linux.verifier import LinuxVerifier
from tests.units.machines import FACTS, empty_machine, manifest
from units.errors import Fatal, Retryable
from units.host import Host
from units.plan import plan
from units.services.containerd import config_text
from units.validation import complaints

needs_containerd = pytest.mark.skipif(
    shutil.which("containerd") is None, reason="no containerd: apt install containerd"
)
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")


def version() -> tuple[int, int]:
    """Of the containerd here: `containerd github.com/containerd/containerd 1.6.20~ds1 ...`."""
    numbers = run(["containerd", "--version"], timeout=30).text.split()[2].lstrip("v").split(".")
    return int(numbers[0]), int(numbers[1])


def config() -> str:
    return config_text(manifest("node"), dataclasses.replace(FACTS, containerd_version=version()))


@needs_containerd
def test_containerd_takes_the_config_that_we_write() -> None:
    assert LinuxVerifier().containerd_config(config()) == ()


@needs_containerd
@pytest.mark.parametrize(
    ("find", "put", "said"),
    [
        ('bin_dir = "/opt/cni/bin"', "bin_dir = 3", "Can't convert 3(int64) to string"),
        ('bin_dir = "/opt/cni/bin"', 'bin_dir = "/opt', "failed to load TOML"),
        ("bin_dir = ", "bin_dri = ", "containerd knows no plugins.io.containerd"),
    ],
)
def test_containerd_says_what_is_wrong_and_in_which_line(find: str, put: str, said: str) -> None:
    text = config()
    assert find in text
    line = next(number for number, one in enumerate(text.splitlines(), 1) if find in one)
    (complaint,) = LinuxVerifier().containerd_config(text.replace(find, put))
    assert said in complaint
    if "load TOML" in said or "knows no" in said:
        assert f"line {line}:" in complaint
    assert "/tmp" not in complaint


def test_a_containerd_that_is_missing_or_hangs_is_the_machines_fault_not_the_configs(tmp_path: Path) -> None:
    hangs = tmp_path / "hangs"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)

    def instead(program: str):
        return lambda arguments, **options: run([program, *arguments[1:]], **{**options, "timeout": 0.3})

    with pytest.raises(Retryable, match="did not end") as slow:
        LinuxVerifier(instead(str(hangs))).containerd_config("version = 2\n")
    assert slow.value.code == "tool-timeout"
    with pytest.raises(Fatal) as absent:
        LinuxVerifier(instead("/nowhere/containerd")).containerd_config("version = 2\n")
    assert absent.value.code == "tool-missing"


@needs_systemd
def test_systemd_says_what_is_wrong_with_a_unit_and_in_which_line() -> None:
    good = "[Service]\nExecStart=/bin/true\n"
    wrong = "[Unit]\nAftr=x.service\n[Service]\nExecStart=/bin/true\nMemoryMax=lots\n"
    found = LinuxVerifier().units({"bootwright-good.service": good, "bootwright-wrong.service": wrong})
    assert [line.split(",")[0] for line in found] == [
        "bootwright-wrong.service:2: Unknown key 'Aftr' in section [Unit]",
        "bootwright-wrong.service:5: Invalid memory limit 'lots'",
    ]


@needs_systemd
@needs_containerd
def test_a_whole_node_passes_before_its_binaries_are_there() -> None:
    """kubelet is an asset of the manifest: the switch will bring it."""
    facts = dataclasses.replace(FACTS, containerd_version=version())
    host: Host = dataclasses.replace(empty_machine().host, verifier=LinuxVerifier())
    assert list(complaints(plan(manifest("node"), facts), 36, host)) == []
    bare = plan(manifest("node", assets=()), facts)
    found = [(one.code, one.message) for one in complaints(bare, 36, host)]
    if not Path("/usr/local/bin/kubelet").exists():
        assert [code for code, _message in found] == ["unit-invalid"]
        assert "/usr/local/bin/kubelet is not executable" in found[0][1]
