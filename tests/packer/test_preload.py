"""packer/preload.sh with this machine's containerd, on a folder: a node finds the store's images loaded."""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.linux.images import ContainerdImages
from tests.agent.linux.archives import docker_archive, oci_archive
from tests.lab.cache import CHECKOUT
from units.host import HeldImage

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

PAUSE, PROXY = "registry.k8s.io/pause:3.10.2", "registry.k8s.io/kube-proxy:v1.36.2"
SCRIPT = """
set -{flags}
here={packer} prefix={base}/opt venv={base}/venv
say() {{ printf 'install.sh: %s\\n' "$*" >&2; }}
die() {{ say "$*"; exit 1; }}
. "$here/preload.sh"
{command}
"""
CHECK = 'with_containerd preload check "$prefix/assets" "$prefix/images.json"'


@dataclass(frozen=True, slots=True)
class Build:
    """`base` has folders in the place of /opt/bootwright and /var/lib/containerd."""

    base: Path
    runtime: Path  # for /run; short, as the name of a socket has to be

    def run(self, command: str, *, flags: str = "euo pipefail", **variables: str) -> subprocess.CompletedProcess[str]:
        script = SCRIPT.format(packer=CHECKOUT / "packer", base=self.base, command=command, flags=flags)
        return subprocess.run(
            ["bash", "-c", script],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment(variables),
        )

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        path = f"{self.base}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "CONTAINERD_ROOT": str(self.root), "CONTAINERD_RUN": str(self.runtime), **more}

    @property
    def root(self) -> Path:
        return self.base / "containerd"

    def add(self, archive: Path) -> str:
        """Into the asset store; its sha256."""
        sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
        target = self.base / "opt/assets/sha256" / sha256[:2] / sha256
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(archive, target)
        return sha256

    def record(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = json.loads((self.base / "opt/images.json").read_text())
        return found

    @contextmanager
    def node(self) -> Iterator[ContainerdImages]:
        """A containerd as it starts on a node with what the build has left."""
        (self.base / "state").mkdir(exist_ok=True)
        socket = self.base / "node.sock"
        config = f'version = 2\nroot = "{self.root}"\nstate = "{self.base}/state"\n[grpc]\naddress = "{socket}"\n'
        config += f'[ttrpc]\naddress = "{socket}.ttrpc"\n'
        config += 'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
        lines = sorted(config.splitlines(), key=lambda line: "disabled" not in line)
        (self.base / "node.toml").write_text("\n".join([lines[1], lines[0], *lines[2:]]))
        daemon = subprocess.Popen(
            ["containerd", "--config", self.base / "node.toml"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            ask = ["ctr", "--address", str(socket), "--connect-timeout", "10s", "version"]
            while subprocess.run(ask, check=False, capture_output=True).returncode:
                assert daemon.poll() is None
            yield ContainerdImages(address=str(socket))
        finally:
            daemon.terminate()
            daemon.wait(timeout=60)


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    assert shutil.which("containerd"), "these tests need containerd: apt-get install containerd (tests/packages.txt)"
    runtime = Path(tempfile.mkdtemp(prefix="preload-"))
    made = Build(tmp_path, runtime)
    (tmp_path / "opt/assets").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "venv/bin").mkdir(parents=True)
    # This checkout's agent, whatever the working directory.
    python = tmp_path / "venv/bin/python"
    python.write_text(f'#!/bin/sh\nshift; cd {CHECKOUT}; exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    yield made
    runtime.rmdir()  # every build has left it empty


def mounted_below(folder: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]


def test_what_is_preloaded_a_node_finds_pinned_unpacked_and_known_to_come_of_its_archive(
    build: Build, tmp_path: Path
) -> None:
    pause = build.add(docker_archive(tmp_path / "pause.tar", PAUSE, content=b"pause"))
    proxy = build.add(oci_archive(tmp_path / "proxy.tar", PROXY))
    build.add(Path(sys.executable))
    done = build.run("preload_images")
    assert done.returncode == 0, done.stderr
    assert not list(build.root.glob("*introspection*/uuid"))  # all nodes would be one machine to containerd
    targets = {row["reference"]: row["target"] for row in build.record()}
    assert {row["reference"]: row["archive"] for row in build.record()} == {PAUSE: pause, PROXY: proxy}
    with build.node() as images:
        assert images.held(PAUSE) == HeldImage(targets[PAUSE], pause)
        assert images.held(PROXY) == HeldImage(targets[PROXY], proxy)
        assert images.complete() == {PAUSE, PROXY}
    assert mounted_below(build.base) == []


def test_a_second_run_begins_anew(build: Build, tmp_path: Path) -> None:
    """What is no asset any more is no image either."""
    old = build.add(docker_archive(tmp_path / "old.tar", PROXY))
    assert build.run("preload_images").returncode == 0
    (build.base / "opt/assets/sha256" / old[:2] / old).unlink()
    build.add(docker_archive(tmp_path / "pause.tar", PAUSE))
    assert build.run("preload_images").returncode == 0
    assert [row["reference"] for row in build.record()] == [PAUSE]
    with build.node() as images:
        assert set(images.all_held()) == {PAUSE}


def test_without_an_archive_no_containerd_is_started(build: Build) -> None:
    build.add(Path(sys.executable))
    done = build.run(
        "preload_images", PATH=f"{build.base}/bin:/usr/bin:/bin", CONTAINERD_ROOT="/nonexistent/containerd"
    )
    assert done.returncode == 0, done.stderr
    assert not (build.base / "opt/images.json").exists()


def test_an_archive_that_is_damaged_inside_fails_the_build(build: Build, tmp_path: Path) -> None:
    """Its sha256 is what was asked for: whoever saved it saved this."""
    whole = docker_archive(tmp_path / "whole.tar", PAUSE).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole.replace(b"hello\n", b"HELLO\n"))
    build.add(tmp_path / "cut.tar")
    done = build.run("preload_images")
    assert done.returncode == 1
    assert "preload: image-failed" in done.stderr
    assert "install.sh: the images are not preloaded" in done.stderr
    assert mounted_below(build.base) == []


def test_two_archives_of_one_name_fail_the_build(build: Build, tmp_path: Path) -> None:
    names = [build.add(docker_archive(tmp_path / f"{text}.tar", PAUSE, content=text.encode())) for text in ("a", "b")]
    done = build.run("preload_images")
    assert done.returncode == 1
    assert "preload: image-twice" in done.stderr
    assert all(name in done.stderr for name in names)


def test_an_archive_of_an_image_without_a_name_fails_the_build(build: Build, tmp_path: Path) -> None:
    build.add(docker_archive(tmp_path / "nameless.tar"))
    done = build.run("preload_images")
    assert done.returncode == 1
    assert "preload: image-not-in-archive" in done.stderr


FAULTS = {
    "it does not start": ("exec /bin/false", "install.sh: containerd does not start"),
    "it dies before it is asked": (
        '/usr/bin/containerd "$@" & while [[ ! -S ${2%/*}/containerd.sock ]]; do sleep 0.02; done; kill -KILL $!; wait',
        "containerd does not answer",
    ),
    "it ends badly": (
        "trap 'kill $!; wait $!; exit 7' TERM; /usr/bin/containerd \"$@\" & wait",
        "install.sh: containerd ended with 7",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_containerd_that_fails_fails_the_build(build: Build, tmp_path: Path, fault: str) -> None:
    script, complaint = FAULTS[fault]
    build.add(docker_archive(tmp_path / "pause.tar", PAUSE, content=b"x" * 1000))
    (build.base / "bin/containerd").write_text(f"#!/bin/bash\n{script}\n")
    (build.base / "bin/containerd").chmod(0o755)
    done = build.run("preload_images")
    assert done.returncode == 1, done.stderr
    assert complaint in done.stderr
    assert "install.sh: the images are not preloaded" in done.stderr


def test_a_check_says_nothing_of_what_is_right(build: Build, tmp_path: Path) -> None:
    build.add(docker_archive(tmp_path / "pause.tar", PAUSE))
    assert build.run("preload_images").returncode == 0
    done = build.run(CHECK, flags="uo pipefail")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_check_names_each_archive_and_image_that_is_not_as_it_was_loaded(build: Build, tmp_path: Path) -> None:
    build.add(docker_archive(tmp_path / "pause.tar", PAUSE))
    build.add(docker_archive(tmp_path / "proxy.tar", PROXY, content=b"proxy"))
    assert build.run("preload_images").returncode == 0
    late = build.add(docker_archive(tmp_path / "late.tar", "registry.k8s.io/late:1", content=b"late"))
    other = docker_archive(tmp_path / "other.tar", PROXY, content=b"not the same")
    with build.node() as images:
        ctr = ["ctr", "--address", f"{build.base}/node.sock", "--namespace", "k8s.io", "images"]
        subprocess.run([*ctr, "import", str(other)], check=True, capture_output=True)
        subprocess.run([*ctr, "remove", "--sync", PAUSE], check=True, capture_output=True)
        assert images.held(PAUSE) is None
    done = build.run(CHECK, flags="uo pipefail")
    assert done.returncode == 1
    said = done.stdout.splitlines()
    assert len(said) == 3
    assert f"{late} is not preloaded" in said[0]
    assert [name for name in (PAUSE, PROXY) if any(f"does not hold {name} as" in line for line in said)] == [
        PAUSE,
        PROXY,
    ]
