"""The baked units: what systemd itself says of their sandbox, and that they name the files which the plan writes."""

import configparser
import re
import shutil
import subprocess

import pytest

from agent.commands.issuer import CONFIG as OPERATORS_CONFIG
from agent.issuer.marks import DIRECTORY
from agent.settings import PATH as SETTINGS
from tests.lab.cache import CHECKOUT
from units import paths
from units.services.controller_manager import AUTHORITY_SECRET
from units.services.issuer import CONFIG, SOCKET

UNITS = CHECKOUT / "packer/rootfs/etc/systemd/system"
SERVICE = UNITS / "bootwright-issuer.service"
HIGHEST_EXPOSURE = 2.0


def section(path, name: str) -> list[tuple[str, str]]:
    text = path.read_text().partition(f"[{name}]\n")[2].partition("\n[")[0]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split("=", 1)) for line in lines]


def exposure(path) -> float:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    return float(found[1])


def offline_is_known() -> bool:
    if shutil.which("systemd-analyze") is None:
        return False
    said = subprocess.run(["systemd-analyze", "--help"], capture_output=True, text=True, check=False).stdout
    return "--offline" in said


@pytest.mark.skipif(not offline_is_known(), reason="systemd-analyze without --offline (before 250)")
def test_the_sandbox_is_as_strict_as_the_design_asks(tmp_path) -> None:
    assert exposure(SERVICE) <= HIGHEST_EXPOSURE
    bare = tmp_path / SERVICE.name
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    assert exposure(bare) > HIGHEST_EXPOSURE  # or the figure would mean nothing


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_every_line(tmp_path) -> None:
    for name in (SERVICE.name, SOCKET):
        text = (UNITS / name).read_text().replace("/opt/bootwright/venv/bin/python", "/bin/true")
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *map(str, tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
        env={"SYSTEMD_LOG_LEVEL": "warning", "PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    complaints = [line for line in done.stderr.splitlines() if "issuer" in line]
    assert complaints == []


def test_the_credentials_are_the_files_that_the_plan_writes() -> None:
    found = dict(value.split(":") for name, value in section(SERVICE, "Service") if name == "LoadCredential")
    assert found == {
        "ca.key": AUTHORITY_SECRET,
        "ca.crt": paths.authority_bundle("kubernetes"),
        "server.pem": paths.pem("issuer", "server"),
        "issuer.json": CONFIG,
        "agent.json": str(SETTINGS),
    }
    assert str(OPERATORS_CONFIG) == CONFIG


def test_the_ca_key_comes_as_a_credential_only() -> None:
    service = section(SERVICE, "Service")
    names = dict(service)
    assert names["DynamicUser"] == "yes"
    assert not {"User", "Environment", "EnvironmentFile", "SetCredential", "ReadWritePaths"} & set(names)
    hidden = {path for name, value in service if name == "InaccessiblePaths" for path in value.split()}
    assert {"-/etc/kubernetes", "-/run/bootwright", "-/etc/bootwright"} <= hidden
    assert (names["LimitCORE"], names["MemorySwapMax"]) == ("0", "0")


def test_the_marks_lie_in_the_runtime_directory_and_stay() -> None:
    names = dict(section(SERVICE, "Service"))
    assert str(DIRECTORY.parent) == f"/run/{names['RuntimeDirectory']}"
    assert names["RuntimeDirectoryPreserve"] == "yes"


def test_nothing_is_enabled_and_a_restart_of_the_socket_ends_the_service() -> None:
    for path in (SERVICE, UNITS / SOCKET):
        assert "[Install]" not in path.read_text()
    assert ("PartOf", SOCKET) in section(SERVICE, "Unit")
    socket = configparser.ConfigParser(strict=True)
    socket.optionxform = str
    socket.read(UNITS / SOCKET)
    assert socket["Socket"]["ListenStream"] == "3988"
    assert "Accept" not in socket["Socket"]
