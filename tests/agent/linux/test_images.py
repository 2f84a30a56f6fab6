"""Images in a real containerd of the test's own."""

import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agent.linux.images import ContainerdImages, archive_references, holds_images
from agent.linux.run import Completed, run
from tests.agent.linux.archives import docker_archive, oci_archive
from tests.agent.linux.recorded import RunDouble
from units.errors import Fatal, Retryable

REFERENCE = "registry.k8s.io/kube-apiserver:v1.36.2"
ARCHIVE = "a" * 64  # taken for what the archive's sha256 is

CONFIG = """
version = 2
root = "{base}/root"
state = "{base}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{base}/containerd.sock"
[ttrpc]
address = "{base}/containerd.sock.ttrpc"
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    assert shutil.which("containerd"), "these tests need containerd: apt-get install containerd (tests/packages.txt)"
    base = tmp_path_factory.mktemp("containerd")
    (base / "config.toml").write_text(CONFIG.format(base=base))
    with (base / "log").open("wb") as log:
        daemon = subprocess.Popen(["containerd", "--config", base / "config.toml"], stdout=log, stderr=log)
    try:
        socket = f"{base}/containerd.sock"
        for _ in range(100):
            assert daemon.poll() is None, (base / "log").read_text()
            if (
                run(
                    ["ctr", "--address", socket, "--connect-timeout", "1s", "version"], timeout=30, allowed=None
                ).exit_code
                == 0
            ):
                break
        yield socket
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)


@pytest.fixture
def images(address: str) -> Iterator[ContainerdImages]:
    yield ContainerdImages(address=address)
    for reference in ctr(address, "list", "--quiet").split():
        ctr(address, "remove", "--sync", reference)


def held(images: ContainerdImages, archive: str = ARCHIVE) -> bool:
    found = images.held(REFERENCE)
    return found is not None and found.archive == archive


def ctr(address: str, *arguments: str) -> str:
    return run(["ctr", "--address", address, "--namespace", "k8s.io", "images", *arguments], timeout=60).text


class CountingRun:
    """The real thing, counted; `interrupt` names a subcommand before which the agent dies."""

    def __init__(self, interrupt: str = "") -> None:
        self.asked: list[tuple[str, ...]] = []
        self._interrupt = interrupt

    def __call__(
        self, arguments: Sequence[str], *, timeout: float, stdin: bytes = b"", allowed: tuple[int, ...] | None = (0,)
    ) -> Completed:
        self.asked.append(tuple(arguments))
        if self._interrupt in arguments:
            raise KeyboardInterrupt
        return run(arguments, timeout=timeout, stdin=stdin, allowed=allowed)


@pytest.mark.root
@pytest.mark.parametrize("make", [docker_archive, oci_archive])
def test_an_archive_is_imported_unpacked_and_pinned(
    images: ContainerdImages, address: str, tmp_path: Path, make: object
) -> None:
    archive = make(tmp_path / "image.tar", REFERENCE)
    assert images.held(REFERENCE) is None
    images.load(str(archive), ARCHIVE, REFERENCE)
    assert held(images)
    assert held(ContainerdImages(address=address))
    listed = ctr(address, "list")
    assert "io.cri-containerd.image=managed" in listed
    assert "io.cri-containerd.pinned=pinned" in listed
    assert "complete" in ctr(address, "check")


@pytest.mark.root
def test_loading_twice_is_loading(images: ContainerdImages, tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "image.tar", REFERENCE)
    for _ in range(2):
        images.load(str(archive), ARCHIVE, REFERENCE)
        assert held(images)


@pytest.mark.root
def test_a_newer_archive_under_the_same_name_replaces_the_image(
    images: ContainerdImages, address: str, tmp_path: Path
) -> None:
    digests = []
    for content in (b"old", b"new"):
        images.load(str(docker_archive(tmp_path / "image.tar", REFERENCE, content=content)), ARCHIVE, REFERENCE)
        digests.append(next(word for word in ctr(address, "list").split() if word.startswith("sha256:")))
    assert digests[0] != digests[1]


@pytest.mark.root
@pytest.mark.parametrize("make", [docker_archive, oci_archive])
def test_an_archive_without_the_reference_is_fatal_and_says_what_it_holds(
    images: ContainerdImages, tmp_path: Path, make: object
) -> None:
    archive = make(tmp_path / "image.tar", "registry.k8s.io/kube-proxy:v1.36.2", "registry.k8s.io/pause:3.10")
    with pytest.raises(
        Fatal, match=r"holds registry\.k8s\.io/kube-proxy:v1\.36\.2, registry\.k8s\.io/pause:3\.10"
    ) as wrong:
        images.load(str(archive), ARCHIVE, REFERENCE)
    assert wrong.value.code == "image-not-in-archive"
    assert images.held(REFERENCE) is None


@pytest.mark.root
def test_a_load_that_was_interrupted_before_the_pin_counts_as_absent(
    images: ContainerdImages, address: str, tmp_path: Path
) -> None:
    archive = docker_archive(tmp_path / "image.tar", REFERENCE)
    with pytest.raises(KeyboardInterrupt):
        ContainerdImages(CountingRun(interrupt="label"), address=address).load(str(archive), ARCHIVE, REFERENCE)
    assert REFERENCE in ctr(address, "list", "--quiet")
    assert images.held(REFERENCE) is None
    images.load(str(archive), ARCHIVE, REFERENCE)
    assert held(images)


@pytest.mark.root
def test_an_image_is_not_known_to_come_from_an_archive_once_its_name_leads_elsewhere(
    images: ContainerdImages, address: str, tmp_path: Path
) -> None:
    """A pull, an import by hand: labels stay with the name."""
    images.load(str(docker_archive(tmp_path / "one.tar", REFERENCE, content=b"ours")), ARCHIVE, REFERENCE)
    ours = images.held(REFERENCE)
    ctr(address, "import", str(docker_archive(tmp_path / "two.tar", REFERENCE, content=b"not ours")))
    moved = ContainerdImages(address=address).held(REFERENCE)
    assert ours is not None
    assert moved is not None
    assert (ours.archive, moved.archive) == (ARCHIVE, "")
    assert ours.target != moved.target
    assert f"{ARCHIVE}@{ours.target}" in ctr(address, "list")


@pytest.mark.root
def test_an_image_that_another_has_pinned_is_not_known_to_come_from_any_archive(
    images: ContainerdImages, address: str, tmp_path: Path
) -> None:
    ctr(address, "import", str(docker_archive(tmp_path / "image.tar", REFERENCE)))
    ctr(address, "label", REFERENCE, "io.cri-containerd.pinned=pinned")
    found = images.held(REFERENCE)
    assert found is not None
    assert found.archive == ""


@pytest.mark.root
def test_all_images_of_an_archive_are_loaded_under_their_own_names(images: ContainerdImages, tmp_path: Path) -> None:
    names = ("registry.k8s.io/a:1", "registry.k8s.io/b:2")
    archive = str(docker_archive(tmp_path / "two.tar", *names))
    loaded = images.load_all(archive, ARCHIVE)
    assert loaded == {name: images.held(name) for name in names}
    assert {found.archive for found in loaded.values()} == {ARCHIVE}
    assert images.complete() == set(names)
    assert images.load_all(archive, ARCHIVE) == {}


@pytest.mark.root
def test_an_image_that_is_not_unpacked_is_not_complete(images: ContainerdImages, address: str, tmp_path: Path) -> None:
    archive = docker_archive(tmp_path / "image.tar", REFERENCE, content=b"never unpacked")
    ctr(address, "import", "--no-unpack", str(archive))
    assert images.complete() == frozenset()
    images.load(str(archive), ARCHIVE, REFERENCE)
    assert images.complete() == {REFERENCE}


@pytest.mark.root
def test_the_store_is_asked_once_until_something_is_loaded(address: str, tmp_path: Path) -> None:
    counting = CountingRun()
    images = ContainerdImages(counting, address=address)
    for _ in range(10):
        images.held(REFERENCE)
    assert len(counting.asked) == 1
    images.load(str(docker_archive(tmp_path / "image.tar", REFERENCE)), ARCHIVE, REFERENCE)
    assert held(images)
    ctr(address, "remove", "--sync", REFERENCE)


@pytest.mark.root
@pytest.mark.parametrize("content", [b"", b"not a tar", bytes(10240)], ids=["empty", "no tar", "an empty tar"])
def test_what_is_no_archive_is_fatal(images: ContainerdImages, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.tar").write_bytes(content)
    with pytest.raises(Fatal):
        images.load(str(tmp_path / "image.tar"), ARCHIVE, REFERENCE)


@pytest.mark.root
def test_a_containerd_that_is_not_up_is_a_matter_of_trying_again(tmp_path: Path) -> None:
    images = ContainerdImages(address=f"{tmp_path}/none.sock")
    with pytest.raises(Retryable, match="does not answer on") as down:
        images.held(REFERENCE)
    assert down.value.code == "containerd-unreachable"
    assert "systemctl status containerd" in down.value.remedy


def test_the_references_of_archives_are_read_without_containerd(tmp_path: Path) -> None:
    names = ("registry.k8s.io/a:1", "registry.k8s.io/b:2")
    assert archive_references(str(docker_archive(tmp_path / "docker.tar", *names))) == names
    assert archive_references(str(oci_archive(tmp_path / "oci.tar", *names))) == names


def test_an_archive_without_a_name_is_one_of_images(tmp_path: Path) -> None:
    nameless = str(docker_archive(tmp_path / "docker.tar"))
    assert archive_references(nameless) == ()
    assert holds_images(nameless)


def test_other_files_are_no_archives_of_images(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.add(__file__, "manifest.json")
    assert not holds_images(str(tmp_path / "other.tar"))
    assert not holds_images(__file__)


@pytest.mark.parametrize("content", [b"", b"rubbish", bytes(10240)])
def test_a_damaged_archive_has_no_references(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "damaged.tar").write_bytes(content)
    assert archive_references(str(tmp_path / "damaged.tar")) == ()
    assert archive_references(str(tmp_path / "none.tar")) == ()


def test_other_failures_of_ctr_are_fatal_with_its_words() -> None:
    broken = RunDouble(lambda _arguments: (1, "", "ctr: rpc error: code = Unknown desc = disk on fire"))
    with pytest.raises(Fatal, match="disk on fire"):
        ContainerdImages(broken).held(REFERENCE)
