"""Releases that were published, read back: those that stand, and the stable manifests of ones that were lost."""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from coordinator.history import read_groups
from coordinator.layout import group_target
from coordinator.repository import PARALLEL, Repository
from coordinator.state import PublishedGroup
from units.errors import BootwrightError, Invalid, Refused
from units.manifest import Manifest, Release, decode_release

SEARCHED: Final = 300  # commits that are looked through for what a lost document held


def read_release(repository: Repository, cluster: str, group: PublishedGroup) -> Release:
    body = repository.verifier.target(group_target(group.name), group.target)
    return decode_release(body, cluster=cluster, group=group.name)


def read_releases(repository: Repository, cluster: str, groups: Iterable[PublishedGroup]) -> dict[str, Release]:
    """In the order of `groups`. Invalid or Refused if one cannot be read."""
    wanted = list(groups)
    bodies = repository.read_targets((group_target(group.name), group.target) for group in wanted)
    return {
        group.name: decode_release(body, cluster=cluster, group=group.name)
        for group, body in zip(wanted, bodies, strict=True)
    }


def read_readable(
    repository: Repository, cluster: str, groups: Iterable[PublishedGroup], tolerated: tuple[type[BootwrightError], ...]
) -> Mapping[str, Release | None]:
    """The same, with None for those whose reading ends in a tolerated error."""
    wanted = list(groups)

    def read(group: PublishedGroup) -> Release | None:
        try:
            return read_release(repository, cluster, group)
        except tolerated:
            return None

    with ThreadPoolExecutor(max_workers=PARALLEL) as pool:
        return dict(zip((group.name for group in wanted), pool.map(read, wanted), strict=True))


def stable_manifests(
    repository: Repository, cluster: str, groups: Iterable[PublishedGroup], *, repair: bool
) -> Mapping[str, Manifest | None]:
    """What the nodes of each group run, but for those that a rollout has reached.

    None for what this coordinator cannot decode, which then shows as if it were new. With `repair`, also for what the
    store lost or damaged, unless an older document that held the same manifest is still there.
    """
    wanted = list(groups)
    read = read_readable(repository, cluster, wanted, (Invalid, Refused) if repair else (Invalid,))
    found = {name: release.stable if release else None for name, release in read.items()}
    if repair:
        for group in wanted:
            found[group.name] = found[group.name] or _of_an_older_document(repository, cluster, group)
    return found


def _of_an_older_document(repository: Repository, cluster: str, lost: PublishedGroup) -> Manifest | None:
    """Every change of a rollout is a document of its own, with the same stable manifest inside."""
    tried = {lost.target.hashes["sha256"]}
    try:
        for _note, groups in read_groups(repository, limit=SEARCHED):
            group = groups.get(lost.name)
            if group is None or group.manifest_sha256 != lost.manifest_sha256:
                continue
            if group.target.hashes["sha256"] not in tried:
                tried.add(group.target.hashes["sha256"])
                release = read_readable(repository, cluster, [group], (Invalid, Refused))[group.name]
                if release is not None:
                    return release.stable
    except Refused:  # the history is broken, too
        return None
    return None
