"""A clean environment, a clock that stands still, moto's S3 and KMS on loopback, and a cluster that is founded."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from coordinator.aws.bucket import create_bucket
from coordinator.aws.s3 import S3Store
from coordinator.aws.session import Aws
from coordinator.directory_store import DirectoryStore
from coordinator.store import Store
from tests.coordinator.workshop import ClockDouble, Workshop


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("AWS_", "BOOTWRIGHT_", "XDG_CONFIG"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("COLUMNS", "160")


@pytest.fixture
def clock() -> ClockDouble:
    return ClockDouble()


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto_endpoint: str) -> Aws:
    return Aws(region="eu-west-1", endpoint_url=moto_endpoint)


@pytest.fixture
def bucket(aws: Aws) -> str:
    name = f"b-{uuid.uuid4()}"
    create_bucket(aws, name)
    return name


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Both stores make the same promises."""
    if request.param == "directory":
        return DirectoryStore(tmp_path / "store")
    return S3Store(request.getfixturevalue("aws"), request.getfixturevalue("bucket"), "prefix/prod.example.com")


@pytest.fixture
def workshop(tmp_path: Path, clock: ClockDouble) -> Workshop:
    """A founded cluster in a directory."""
    made = Workshop(tmp_path / "keys", DirectoryStore(tmp_path / "store"), clock)
    made.found()
    return made
