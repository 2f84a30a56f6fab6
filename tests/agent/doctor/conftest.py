"""Wards: a worker and a control-plane node, each with servers of its own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.agent.doctor.imds import imds
from tests.agent.doctor.served_api import api_server
from tests.agent.doctor.ward import Ward
from tests.agent.repository.conftest import bench

__all__ = ["bench"]


@pytest.fixture
def admit(bench: Any, tmp_path: Path) -> Iterator[Callable[[str], Ward]]:
    with ExitStack() as stack:

        def make(role: str) -> Ward:
            api = stack.enter_context(api_server(tmp_path))
            ward = Ward(tmp_path / "root", bench, stack.enter_context(imds()), role=role, api=api)
            api.certify(ward.authority if role == "node" else ward.node.memory.secrets.authorities["kubernetes"])
            return ward

        yield make


@pytest.fixture
def worker(admit: Callable[[str], Ward]) -> Ward:
    return admit("node")


@pytest.fixture
def control_plane(admit: Callable[[str], Ward]) -> Ward:
    return admit("control-plane")
