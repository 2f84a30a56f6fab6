"""Both stores make the same promises, above all the conditional writes."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from coordinator.aws.s3 import S3Store
from coordinator.aws.session import Aws
from coordinator.directory_store import DirectoryStore
from coordinator.store import Conflict, Store
from units.errors import Fatal, Invalid


def test_what_was_put_is_got_back_whole(store: Store) -> None:
    store.put("tuf/metadata/timestamp.json", b"one")
    stored = store.get("tuf/metadata/timestamp.json")
    assert stored is not None
    assert stored.body == b"one"
    assert store.size("tuf/metadata/timestamp.json") == 3


def test_what_is_not_there_is_none(store: Store) -> None:
    assert store.get("status/i-1.json") is None
    assert store.size("status/i-1.json") is None


def test_an_object_larger_than_the_limit_is_refused_not_cut(store: Store) -> None:
    store.put("big", b"x" * 101)
    assert store.get("big", limit=101) is not None
    with pytest.raises(Fatal, match="more than 100 bytes"):
        store.get("big", limit=100)


def test_create_only_where_nothing_is(store: Store) -> None:
    store.put("a", b"first", if_none_match=True)
    with pytest.raises(Conflict):
        store.put("a", b"second", if_none_match=True)
    found = store.get("a")
    assert found is not None
    assert found.body == b"first"


def test_replace_only_the_version_that_was_read(store: Store) -> None:
    first = store.put("a", b"1")
    second = store.put("a", b"2", if_match=first)
    assert second != first
    with pytest.raises(Conflict):
        store.put("a", b"3", if_match=first)
    found = store.get("a")
    assert found is not None
    assert (found.body, found.etag) == (b"2", second)


def test_replacing_what_is_gone_is_a_conflict(store: Store) -> None:
    with pytest.raises(Conflict):
        store.put("never", b"1", if_match='"0123456789abcdef0123456789abcdef"')


def test_of_racing_creators_exactly_one_wins(store: Store) -> None:
    def create(number: int) -> bool:
        try:
            store.put("race", str(number).encode(), if_none_match=True)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(max_workers=8) as pool:
        won = [number for number, success in enumerate(pool.map(create, range(8))) if success]
    found = store.get("race")
    assert found is not None
    assert len(won) == 1
    assert found.body == str(won[0]).encode()


def test_a_counter_under_compare_and_swap_loses_no_increment(store: Store) -> None:
    store.put("counter", b"0")

    def increment(_: int) -> None:
        while True:
            current = store.get("counter")
            assert current is not None
            try:
                store.put("counter", str(int(current.body) + 1).encode(), if_match=current.etag)
            except Conflict:
                continue
            return

    with ThreadPoolExecutor(max_workers=5) as pool:
        list(pool.map(increment, range(20)))
    final = store.get("counter")
    assert final is not None
    assert final.body == b"20"


def test_a_listing_has_every_key_of_the_prefix_in_order_and_no_other(store: Store) -> None:
    for key in ("status/i-2.json", "status/i-1.json", "statusquo", "outcome/a"):
        store.put(key, b"12345")
    listed = list(store.list("status/"))
    assert [item.key for item in listed] == ["status/i-1.json", "status/i-2.json"]
    assert listed[0].size == 5
    assert listed[0].modified.tzinfo is not None


def test_a_listing_goes_on_after_the_first_page(aws: Aws, bucket: str) -> None:
    store = S3Store(aws, bucket, "prod")
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(lambda number: store.put(f"many/{number:04}", b""), range(1005)))
    assert [item.key for item in store.list("many/")] == [f"many/{number:04}" for number in range(1005)]


def test_a_file_is_uploaded_whole_and_its_progress_adds_up(store: Store, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4 * 1024 * 20  # 20 MiB: more than one part
    (tmp_path / "kubelet").write_bytes(content)
    written: list[int] = []
    digest = hashlib.sha256(content).hexdigest()
    store.put_file("assets/x", tmp_path / "kubelet", sha256=digest, progress=written.append)
    assert sum(written) == len(content)
    found = store.get("assets/x", limit=len(content))
    assert found is not None
    assert hashlib.sha256(found.body).hexdigest() == digest


@pytest.mark.parametrize("key", ["../outside", "/etc/passwd", "a//b", "a/./b", ".lock", "a/.hidden", "", "a\0b"])
def test_a_directory_store_has_no_way_out_of_its_root(tmp_path: Path, key: str) -> None:
    store = DirectoryStore(tmp_path / "store")
    with pytest.raises(Invalid, match="is not a store key"):
        store.put(key, b"x")
    with pytest.raises(Invalid, match="is not a store key"):
        store.get(key)


def test_a_file_that_changes_while_it_is_copied_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kubelet").write_bytes(b"new")
    store = DirectoryStore(tmp_path / "store")
    with pytest.raises(Fatal, match="changed while it was read"):
        store.put_file("assets/x", tmp_path / "kubelet", sha256=hashlib.sha256(b"old").hexdigest())
    assert store.get("assets/x") is None


def test_a_directory_store_that_cannot_be_written_says_which_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(Fatal, match="Not a directory"):
        DirectoryStore(tmp_path / "file" / "store").put("a", b"x")
