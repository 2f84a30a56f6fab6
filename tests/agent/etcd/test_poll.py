"""A restore is noticed by the poll of every minute, and by nothing that costs more."""

from pathlib import Path

import pytest

from agent.aws.s3 import S3
from agent.aws.s3_errors import TooLong
from agent.etcd.poll import generation_changed
from units.bootstrap_record import BootstrapRecord

RECORD = BootstrapRecord(state="established", generation=1, token="token-g1", volumes={}, created_by="i-1")


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    (tmp_path / "mounts/main").mkdir(parents=True)
    (tmp_path / "mounts/main/.generation").write_text("token-g1\n")
    return tmp_path / "mounts"


def test_the_same_token_is_no_news_and_another_one_is(s3: S3, mounts: Path) -> None:
    s3.put("demo/etcd/main/cluster.json", RECORD.encode())
    assert not generation_changed(s3, "demo/", mounts=mounts)
    s3.put("demo/etcd/main/cluster.json", RECORD.with_started("a").with_volume("a", "vol-1").encode())
    assert not generation_changed(s3, "demo/", mounts=mounts)
    s3.put("demo/etcd/main/cluster.json", RECORD.model_copy(update={"token": "token-g2"}).encode())
    assert generation_changed(s3, "demo/", mounts=mounts)


@pytest.mark.parametrize("content", [b"", b"{", b"[]"])
def test_a_record_that_cannot_be_read_is_left_to_the_whole_run(s3: S3, mounts: Path, content: bytes) -> None:
    s3.put("demo/etcd/main/cluster.json", content)
    assert not generation_changed(s3, "demo/", mounts=mounts)


def test_a_record_that_is_gone_is_left_to_the_whole_run(s3: S3, mounts: Path) -> None:
    assert not generation_changed(s3, "demo/", mounts=mounts)


def test_a_machine_without_etcd_asks_for_nothing(tmp_path: Path) -> None:
    assert not generation_changed(None, "demo/", mounts=tmp_path / "none")  # type: ignore[arg-type]


def test_a_record_longer_than_any_is_an_error(s3: S3, mounts: Path) -> None:
    s3.put("demo/etcd/main/cluster.json", b" " * 70_000)
    with pytest.raises(TooLong):
        generation_changed(s3, "demo/", mounts=mounts)
