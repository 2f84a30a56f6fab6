"""What a rule sees, and what it says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from coordinator.spec.cluster import ClusterSpec
from coordinator.spec.problems import Path
from coordinator.spec.yaml_tree import Fields, find


@dataclass(frozen=True)
class Draft:
    """A spec whose fields are right one by one, completed by defaults, and the text it came from."""

    spec: ClusterSpec
    root: Fields

    def states(self, *path: str | int) -> bool:
        """Whether the operator wrote something at `path`, rather than a default having filled it."""
        return find(self.root, path)[1] is not None


@dataclass(frozen=True)
class Finding:
    """A broken rule: where, what was found, what is allowed, what to do."""

    path: Path
    found: str
    allowed: str
    remedy: str = ""


@dataclass(frozen=True)
class Rule:
    """`reads` names what a finding rests on besides the value it is about (indexes left out): the rule is skipped when
    one of these is wrong itself. A finding about a value that is wrong itself is left out in any case.
    """

    reads: tuple[str, ...]
    broken: Callable[[Draft], Iterator[Finding]]
