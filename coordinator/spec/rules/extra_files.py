"""Extra files: for groups that exist, each path once, not too much of it."""

from collections.abc import Iterator
from itertools import combinations

from coordinator.spec.problems import shown
from coordinator.spec.rules.finding import Draft, Finding, Rule
from coordinator.spec.suggestions import did_you_mean_value, either

MOST_BYTES = 262_144  # for one group: its release document carries the manifest twice and must stay under 1 MiB


def groups(draft: Draft) -> Iterator[Finding]:
    known = [group.name for group in draft.spec.instance_groups]
    for index, file in enumerate(draft.spec.files):
        for position, name in enumerate(file.groups):
            if name not in known:
                path = ("files", index, "groups", position)
                yield Finding(path, shown(name), f"an instance group: {either(known)}", did_you_mean_value(name, known))


def collisions(draft: Draft) -> Iterator[Finding]:
    reported: set[int] = set()
    for (first, one), (second, other) in combinations(enumerate(draft.spec.files), 2):
        if second in reported or not _clash(one.path, other.path):
            continue
        groups_of = [
            {group.name for group in draft.spec.instance_groups if file.is_for(group.name, group.role)}
            for file in (one, other)
        ]
        if both := sorted(groups_of[0] & groups_of[1]):
            reported.add(second)
            allowed = f"a path that files[{first}] ({one.path}) leaves free"
            yield Finding(("files", second, "path"), shown(other.path), allowed, f"both go to group {both[0]}")


def _clash(one: str, other: str) -> bool:
    return one == other or other.startswith(f"{one}/") or one.startswith(f"{other}/")


def total_size(draft: Draft) -> Iterator[Finding]:
    sizes = [(file, len(file.data)) for file in draft.spec.files]
    for group in draft.spec.instance_groups:
        size = sum(length for file, length in sizes if file.is_for(group.name, group.role))
        if size > MOST_BYTES:
            found = f"{size} bytes for group {group.name}"
            yield Finding(
                ("files",), found, f"at most {MOST_BYTES}", "large files belong into the image, or are assets"
            )
            return


_READS = ("files", "instanceGroups.name", "instanceGroups.role")
RULES = (Rule(_READS, groups), Rule(_READS, collisions), Rule(_READS, total_size))
