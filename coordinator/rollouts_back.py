"""`coordinator rollback`: an older manifest as a new candidate, under a new and higher serial.

What goes back is what the nodes are told to run. Whom they trust does not: an old bundle of authorities would cut them
off from a cluster that has rotated since.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from coordinator.history import read_groups
from coordinator.publish import Preview, Publication, PublishRequest, compare
from coordinator.published import read_release, read_releases
from coordinator.repository import Clock, Repository
from coordinator.state import PublishedGroup, State
from units.errors import BootwrightError, Invalid, Refused
from units.manifest import Manifest, Release, manifest_digest

SEARCHED: Final = 2000  # commits


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """`groups` empty: all. `to`: what was stable when that serial was published; None: the stable manifest before."""

    publish: PublishRequest
    groups: tuple[str, ...] = ()
    to: int | None = None


def prepare_rollback(request: RollbackRequest, repository: Repository, preview: Preview, clock: Clock) -> Publication:
    """The change, ready to be shown and published. Invalid if there is nothing to return to."""
    state = repository.read()
    chosen = _chosen(request, state)
    releases = read_releases(repository, request.publish.cluster, [state.groups[group] for group in chosen])
    found = _older(request, repository, releases)
    if missing := [group for group in chosen if group not in found]:
        when = f"at serial {request.to}" if request.to is not None else "before the one that is stable now"
        raise Invalid(
            "rollback-nothing",
            f"{', '.join(missing)}: no other manifest {when} is in the history",
            remedy="coordinator history --group GROUP shows the serials",
        )
    wanted = {group: found[group] for group in chosen if found[group] != releases[group].stable}
    back = "to the one before" if request.to is None else f"to serial {request.to}"
    changes = compare(repository, request.publish, wanted, state.groups, preview, clock=clock)
    return Publication(
        cluster=request.publish.cluster,
        state=state,
        manifests=_manifests(request, repository, state) | {group: releases[group].stable for group in chosen} | wanted,
        changes=tuple(changes),
        lifetimes=state.note.lifetimes,
        renew=False,
        repair=False,
        terms=request.publish.terms,
        what=f"rollback {back}: {', '.join(wanted)}",
    )


def _chosen(request: RollbackRequest, state: State) -> tuple[str, ...]:
    chosen = request.groups or tuple(state.groups)
    if unknown := [group for group in chosen if group not in state.groups]:
        raise Invalid(
            "group-unknown",
            f"no group {', '.join(map(repr, unknown))} is published; {', '.join(state.groups) or 'none'} are",
            remedy="coordinator history shows when a group was removed",
        )
    if rolling := [group for group in chosen if state.groups[group].candidate_sha256]:
        raise Refused(
            "rollback-rollout-under-way",
            f"a rollout is under way in {', '.join(rolling)}: its stable manifest is still there",
            remedy=f"coordinator rollout abort {' '.join(rolling)}",
        )
    return chosen


def _manifests(request: RollbackRequest, repository: Repository, state: State) -> dict[str, Manifest]:
    """Of the groups in a rollout: what begins now may have to wait for them."""
    rolling = [group for group in state.groups.values() if group.candidate_sha256]
    return {
        name: release.stable for name, release in read_releases(repository, request.publish.cluster, rolling).items()
    }


def _older(request: RollbackRequest, repository: Repository, releases: Mapping[str, Release]) -> Mapping[str, Manifest]:
    found: dict[str, Manifest] = {}
    reached = False
    for serial, groups in _commits(repository):
        reached = reached or serial == request.to
        if request.to is not None and serial > request.to:
            continue
        for name in [name for name in releases if name not in found and name in groups]:
            manifest = _then(repository, request, groups[name], releases[name].stable)
            if request.to is not None or manifest_digest(manifest) != manifest_digest(releases[name].stable):
                found[name] = manifest
        if len(found) == len(releases) or request.to is not None:
            break
    if request.to is not None and not reached:
        raise Invalid(
            "serial-unknown",
            f"no serial {request.to} is in the history",
            remedy="coordinator history shows the serials",
        )
    return found


def _commits(repository: Repository) -> Iterator[tuple[int, Mapping[str, PublishedGroup]]]:
    for note, groups in read_groups(repository, limit=SEARCHED):
        yield note.serial, groups


def _then(repository: Repository, request: RollbackRequest, group: PublishedGroup, now: Manifest) -> Manifest:
    """What was stable then, with the trust of now."""
    if group.manifest_sha256 == manifest_digest(now):
        return now
    try:
        release = read_release(repository, request.publish.cluster, group)
    except BootwrightError as error:
        raise Refused(
            "rollback-unreadable",
            f"{group.name}: serial {group.serial} cannot be read any more: {error.message}",
            remedy="choose another one with --to, or restore the object's version in the bucket",
        ) from error
    return release.stable.model_copy(update={"trust": now.trust})
