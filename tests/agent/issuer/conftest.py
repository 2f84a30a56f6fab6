from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from pki.authority import Authority
from tests.agent.issuer.world import World, a_world


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority.create("kubernetes", datetime.now(UTC))


@pytest.fixture
def world(tmp_path, authority) -> Iterator[World]:
    with a_world(tmp_path, authority) as made:
        yield made
