"""What this operator trusts already: the root, and how far the repository had come when it was last seen."""

import json
from collections.abc import Mapping
from typing import Final

from tuf.api.exceptions import RepositoryError

from coordinator.key_directory import KeyDirectory
from coordinator.state import State
from coordinator.tuf_api import Metadata, Root
from units.errors import Fatal, Refused

ROOT_FILE: Final = "root.json"
FLOOR_FILE: Final = "floor.json"


class Anchor:
    """`root.json` and `floor.json` in the key directory."""

    def __init__(self, directory: KeyDirectory) -> None:
        self._directory = directory

    def root(self) -> bytes:
        """The trusted root. It never comes from the store alone: whoever can write there could plant their own."""
        content = self._directory.read(ROOT_FILE)
        if content is None:
            raise Refused(
                "trusted-root-missing",
                f"{self._directory.path / ROOT_FILE}: not there, so nothing in the store can be verified",
                remedy="run `coordinator init`, or copy root.json from whoever initialised the cluster",
            )
        try:
            Metadata[Root].from_bytes(content)
        except RepositoryError as error:
            raise Fatal(
                "trusted-root-damaged",
                f"{self._directory.path / ROOT_FILE}: {error}",
                remedy="restore it from the backup of the key directory",
            ) from error
        return content

    def floor(self) -> Mapping[str, int]:
        """The highest versions seen. Take it before reading: a publish meanwhile must not look like a rollback."""
        content = self._directory.read(FLOOR_FILE)
        if content is None:
            return {}
        try:
            return {str(role): int(version) for role, version in json.loads(content).items()}
        except (ValueError, AttributeError, TypeError) as error:
            raise Fatal(
                "floor-damaged",
                f"{self._directory.path / FLOOR_FILE}: {error}",
                remedy="restore it from the backup; deleting it gives up the protection against a rollback",
            ) from error

    def remember(self, state: State, *, floor: Mapping[str, int]) -> None:
        """Refused if the state is older than the floor; else the floor rises to it."""
        found = state.versions
        older = [f"{role} {found.get(role, 0)} < {floor[role]}" for role in floor if found.get(role, 0) < floor[role]]
        if older:
            raise Refused(
                "repository-rolled-back",
                f"the repository is older than what was seen before: {', '.join(older)}",
                remedy="somebody restored old objects: restore the newest versions in the bucket",
            )
        known = self.floor()
        risen = {role: max(version, known.get(role, 0)) for role, version in found.items()}
        if risen != known:
            self._directory.write(FLOOR_FILE, (json.dumps(risen, sort_keys=True) + "\n").encode())
        if state.root_bytes != self._directory.read(ROOT_FILE):
            self._directory.write(ROOT_FILE, state.root_bytes)
