from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.etcd_machines.world import World, world_of


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    """Of these members; more settings of their machines by keyword (tests.etcd_machines.config.Config)."""

    def make(members: Sequence[str], **settings: Any) -> World:
        return stack.enter_context(world_of(tmp_path / "world", members, **settings))

    with ExitStack() as stack:
        yield make
