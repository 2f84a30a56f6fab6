"""Assets: uploaded once under their hash, and named in a catalogue that is signed."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coordinator.assets import describe_asset, describe_image, read_catalogue, record, upload_all
from coordinator.store import no_progress
from tests.coordinator.workshop import Workshop
from units.errors import Invalid


def file_with(tmp_path: Path, name: str, content: bytes) -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def asset(tmp_path: Path, content: bytes, name: str = "kubelet"):
    return describe_asset(
        file_with(tmp_path, name, content), name=name, install_path=f"/usr/local/bin/{name}", mode=0o755
    )


def catalogue(workshop: Workshop):
    return read_catalogue(workshop.repository, workshop.repository.read())


def test_an_asset_lies_under_its_hash_and_in_the_signed_catalogue(workshop: Workshop, tmp_path: Path) -> None:
    upload = asset(tmp_path, b"binary")
    (added,) = upload_all(workshop.store, [upload], lambda _path, _size: no_progress)
    record(workshop.repository, workshop.signing, [upload.entry], by="tests")
    digest = hashlib.sha256(b"binary").hexdigest()
    stored = workshop.store.get(f"assets/sha256/{digest[:2]}/{digest}")
    assert stored is not None
    assert stored.body == b"binary"
    assert not added.was_there
    (found,) = catalogue(workshop).assets
    assert (found.name, found.sha256, found.size, found.path, found.mode) == (
        "kubelet",
        digest,
        6,
        "/usr/local/bin/kubelet",
        0o755,
    )


def test_what_is_there_is_not_sent_again_and_progress_still_adds_up(workshop: Workshop, tmp_path: Path) -> None:
    upload = asset(tmp_path, b"binary")
    upload_all(workshop.store, [upload], lambda _path, _size: no_progress)
    written: list[int] = []
    (again,) = upload_all(workshop.store, [upload], lambda _path, _size: written.append)
    assert again.was_there
    assert sum(written) == 6


def test_an_object_of_another_size_is_replaced(workshop: Workshop, tmp_path: Path) -> None:
    upload = asset(tmp_path, b"binary")
    digest = upload.entry.sha256
    workshop.store.put(f"assets/sha256/{digest[:2]}/{digest}", b"half")
    (added,) = upload_all(workshop.store, [upload], lambda _path, _size: no_progress)
    assert not added.was_there
    assert workshop.store.size(f"assets/sha256/{digest[:2]}/{digest}") == 6


def test_the_same_entry_again_signs_nothing(workshop: Workshop, tmp_path: Path) -> None:
    upload = asset(tmp_path, b"binary")
    assert record(workshop.repository, workshop.signing, [upload.entry], by="tests") is not None
    assert record(workshop.repository, workshop.signing, [upload.entry], by="tests") is None


def test_a_new_version_comes_last_and_the_old_one_stays(workshop: Workshop, tmp_path: Path) -> None:
    for content in (b"old", b"new", b"old"):
        record(workshop.repository, workshop.signing, [asset(tmp_path, content).entry], by="tests")
    sizes = [hashlib.sha256(content).hexdigest() for content in (b"new", b"old")]
    assert [found.sha256 for found in catalogue(workshop).assets] == sizes


def test_two_people_who_add_at_once_both_find_theirs_in_the_catalogue(workshop: Workshop, tmp_path: Path) -> None:
    entries = [asset(tmp_path, bytes([number]), name=f"tool-{number}").entry for number in range(6)]

    def add(entry: object) -> None:
        desk = Workshop(workshop.directory.path, workshop.store, workshop.clock)
        record(desk.repository, desk.signing, [entry], by="tests")  # type: ignore[list-item]

    with ThreadPoolExecutor(max_workers=3) as pool:
        list(pool.map(add, entries))
    assert {found.name for found in catalogue(workshop).assets} == {f"tool-{number}" for number in range(6)}


def test_an_image_is_named_by_its_reference(workshop: Workshop, tmp_path: Path) -> None:
    upload = describe_image(file_with(tmp_path, "pause.tar", b"tar"), reference="registry.k8s.io/pause:3.10.2")
    record(workshop.repository, workshop.signing, [upload.entry], by="tests")
    assert [image.reference for image in catalogue(workshop).images] == ["registry.k8s.io/pause:3.10.2"]


@pytest.mark.parametrize("reference", ["", "pause", "registry.k8s.io/pause", "localhost:5000/pause", "a b:1"])
def test_an_image_without_a_tag_is_refused(tmp_path: Path, reference: str) -> None:
    with pytest.raises(Invalid, match="registry/repository:tag"):
        describe_image(file_with(tmp_path, "x", b"x"), reference=reference)


@pytest.mark.parametrize(
    ("name", "install_path", "field"),
    [("Kube let", "/usr/local/bin/x", "name"), ("x", "usr/local/bin/x", "path"), ("x", "/usr/../etc/x", "path")],
)
def test_a_bad_field_is_named(tmp_path: Path, name: str, install_path: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        describe_asset(file_with(tmp_path, "f", b"x"), name=name, install_path=install_path, mode=0o755)
    assert field in [problem.path for problem in caught.value.problems]


def test_a_missing_or_empty_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No such file"):
        describe_asset(tmp_path / "nothing", name="x", install_path="/x", mode=0o755)
    with pytest.raises(Invalid, match="is empty"):
        describe_asset(file_with(tmp_path, "empty", b""), name="x", install_path="/x", mode=0o755)
