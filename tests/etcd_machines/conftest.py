from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.etcd_machines.world import World, world_of


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[[Sequence[str]], World]]:
    with ExitStack() as stack:
        yield lambda members: stack.enter_context(world_of(tmp_path / "world", members))
