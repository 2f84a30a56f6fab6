"""What `assets add` and `agent-bundle publish` share: files go up under their hashes, and those into the catalogue."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from coordinator.console import note, say

if TYPE_CHECKING:
    from coordinator.assets import Upload
    from coordinator.location import Cluster


def add_to_catalogue(here: "Cluster", uploads: "Callable[[], list[Upload]]", *, then: str) -> None:
    """`then`: what a person does next, once something was signed."""
    from coordinator.assets import label, record, upload_all
    from coordinator.console import upload_progress
    from coordinator.operator import operator_name

    repository = here.open_repository()
    repository.read()  # a wrong key directory shows before gigabytes are sent
    with upload_progress() as watch:
        done = upload_all(repository.store, uploads(), watch)
    entries = [added.upload.entry for added in done]
    for added, entry in zip(done, entries, strict=True):
        verb = "was there" if added.was_there else "uploaded"
        say(f"{label(entry)}  {verb}, {size_text(entry.size)}, sha256 {entry.sha256}")
    committed = record(repository, here.signing_keys(), entries, by=operator_name())
    if committed is None:
        note("the catalogue has it already; nothing was signed")
    else:
        note(f"signed into the catalogue (targets {committed.state.targets.version}); {then}")


def size_text(size: int) -> str:
    if size < 1024:
        return f"{size} B"
    value = size / 1024
    for unit in ("KiB", "MiB"):
        if value < 1024:
            return f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"
