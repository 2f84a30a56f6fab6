"""Unit files in systemd's own judgement: `systemd-analyze verify`, and what its manager makes of our command lines."""

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.units.machines import facts, manifest
from tests.units.versions import MINORS, plan_of
from units.plan import plan
from units.systemd import Unit, unit_arguments

MANAGER = "/usr/lib/systemd/systemd"
TARGETS = ("sysinit", "basic", "shutdown", "network-online")
pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="no systemd-analyze: apt install systemd"
)


def rendered_units() -> dict[str, str]:
    """Every different unit text of every version and role, by a name that says which."""
    found: dict[str, str] = {}
    for minor in MINORS:
        for role in ("control-plane", "node"):
            for resource in plan_of(minor, role):
                if isinstance(resource, Unit) and resource.content is not None:
                    found.setdefault(f"1.{minor} {role} {resource.name}", resource.content)
    return found


UNITS = rendered_units()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root that has what our units refer to: targets, containerd's unit, and the binaries."""
    units = tmp_path / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for target in TARGETS:
        (units / f"{target}.target").write_text("[Unit]\nDescription=a stub\n")
    (units / "containerd.service").write_text("[Service]\nExecStart=/usr/bin/containerd\n")
    for binary in ("usr/bin/etcd", "usr/bin/containerd", "usr/local/bin/kubelet"):
        path = tmp_path / binary
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return tmp_path


def complaints(root: Path, name: str, text: str) -> str:
    path = root / "etc/systemd/system" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    command = ["systemd-analyze", "verify", f"--root={root}", "--man=no", name]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    # An unknown directive is only a warning on stderr, with exit code 0.
    return ended.stdout + ended.stderr + (f"exit code {ended.returncode}" if ended.returncode else "")


@pytest.mark.parametrize("which", UNITS)
def test_every_rendered_unit_passes(root: Path, which: str) -> None:
    assert complaints(root, which.rsplit(maxsplit=1)[-1], UNITS[which]) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Restart=always", "Restrat=always"),
        ("RestartSec=2", "RestartSec=soon"),
        ("ExecStart=/usr/local/bin/kubelet", "ExecStart=/usr/local/bin/kublet"),
        ("[Service]", "[Sevice]"),
    ],
)
def test_a_mistake_in_a_unit_would_be_noticed(root: Path, right: str, wrong: str) -> None:
    text = UNITS["1.36 node kubelet.service"]
    assert right in text
    assert complaints(root, "kubelet.service", text.replace(right, wrong)) != ""


def test_the_units_of_two_etcd_clusters_pass_too(root: Path) -> None:
    main = manifest().etcd[0]
    events = main.model_copy(update={"name": "events", "client_port": 2382, "peer_port": 2383, "metrics_port": 2384})
    resources = plan(manifest(etcd=(main, events)), facts())
    units = {r.name: r.content for r in resources if isinstance(r, Unit) and r.content and "etcd" in r.name}
    assert units.keys() == {"bootwright-etcd-main.service", "bootwright-etcd-events.service"}
    for name, text in units.items():
        assert complaints(root, name, text) == ""


@pytest.fixture
def readable() -> Iterator[Path]:
    """A directory that the manager in its test mode can read: it refuses to run as root, so it runs as nobody."""
    with tempfile.TemporaryDirectory(prefix="bootwright-units-") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


def command_line_of(folder: Path, text: str) -> list[str]:
    """The command line as systemd reads it: quotes, specifiers and continuation lines resolved. `$` stays as it is."""
    (folder / "tried.service").write_text(
        re.sub(r"^\[Unit\]$", "[Unit]\nDefaultDependencies=no", text, flags=re.MULTILINE)
    )
    ended = subprocess.run(
        [MANAGER, "--test", "--system", "--unit=tried.service", "--log-target=console"],
        env={"SYSTEMD_UNIT_PATH": str(folder), "HOME": str(folder), "PATH": os.defpath},
        user=65534 if os.geteuid() == 0 else None,
        extra_groups=[] if os.geteuid() == 0 else None,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    shown = re.search(r"Command Line: (.*)", ended.stdout + ended.stderr)
    assert shown, (ended.returncode, ended.stderr[-500:])
    return shlex.split(shown[1].replace("\\$", "$"))


HOSTILE = [
    "--plain=value",
    "--v=two words",
    "--v=100%",
    "--v=%H",
    "--v=$HOME",
    "--v=${HOME}",
    '--v=a"b',
    "--v=a'b",
    "--v=a\\b",
    "--v=a\\nb",
    "--v=a;b",
    "--v=;",
    "--v=#x",
    "--v=",
    "--v=\u00e9",
]


@pytest.mark.skipif(not Path(MANAGER).exists(), reason="no systemd manager here")
@pytest.mark.parametrize("argument", HOSTILE)
def test_an_argument_reaches_the_program_as_it_was_written(readable: Path, argument: str) -> None:
    (written,) = unit_arguments([argument])
    text = f"[Unit]\n[Service]\nExecStart=/usr/bin/true \\\n  {written} \\\n  --last\n"
    # `$$` is one dollar sign by the time the program is started, `$` a variable (systemd.service(5), "Command lines").
    assert command_line_of(readable, text) == ["/usr/bin/true", argument.replace("$", "$$"), "--last"]


@pytest.mark.skipif(not Path(MANAGER).exists(), reason="no systemd manager here")
def test_the_oracle_sees_what_is_not_quoted(readable: Path) -> None:
    text = "[Unit]\n[Service]\nExecStart=/usr/bin/true --v=two words\n"
    assert command_line_of(readable, text) == ["/usr/bin/true", "--v=two", "words"]


@pytest.mark.skipif(not Path(MANAGER).exists(), reason="no systemd manager here")
def test_etcd_is_told_its_initial_state_by_the_environment_and_nothing_else_is_expanded(readable: Path) -> None:
    words = command_line_of(readable, UNITS["1.36 control-plane bootwright-etcd-main.service"])
    assert [word for word in words if "$" in word] == ["--initial-cluster-state=${INITIAL_CLUSTER_STATE}"]


@pytest.mark.skipif(not Path(MANAGER).exists(), reason="no systemd manager here")
def test_an_operators_flag_is_one_argument_of_kubelet(readable: Path) -> None:
    components = {"kubelet": {"system-reserved": "cpu=100m, memory=1Gi %i $X"}}
    resources = plan(manifest("node", components=components), facts())
    text = next(r.content for r in resources if isinstance(r, Unit) and r.name == "kubelet.service")
    assert text is not None
    assert "--system-reserved=cpu=100m, memory=1Gi %i $$X" in command_line_of(readable, text)
