"""The change of a publish as a person reads it: groups, files, lines; what is the same in many groups, once."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from coordinator.console import output, plain, show_table
from coordinator.preview import ItemDiff
from coordinator.publish import GroupChange, Publication, queue_of
from coordinator.rollouts import sizes_over

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_SIGNS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}
_KINDS = {"new": "green", "changed": "yellow", "aborted": "yellow", "removed": "red"}
SHOWN_GROUPS = 8


def show_publication(publication: Publication, *, full: bool) -> None:
    """Lines of changed and removed items; of added ones only with `full`: a new group is a thousand lines."""
    console = output()
    for changes in _alike(publication.changes):
        _show_group(console, changes, full=full)
    if publication.changes:
        _show_summary(publication)
        _show_reach(console, publication)


def _alike(changes: tuple[GroupChange, ...]) -> list[list[GroupChange]]:
    """Groups with the very same difference, together, in the order of the first."""
    alike: dict[Any, list[GroupChange]] = {}
    for change in changes:
        alike.setdefault((change.kind, change.items), []).append(change)
    return list(alike.values())


def _show_group(console: "Console", changes: list[GroupChange], *, full: bool) -> None:
    names = ", ".join(change.group for change in changes[:SHOWN_GROUPS])
    if len(changes) > SHOWN_GROUPS:
        names += f" and {len(changes) - SHOWN_GROUPS} more"
    kind = changes[0].kind
    label = "group" if len(changes) == 1 else f"{len(changes)} groups"
    console.print()
    console.print(plain(f"{label} {names}", "bold"), plain(f"  {kind}", _KINDS[kind]), sep="", soft_wrap=True)
    if kind == "changed" and not changes[0].items:
        console.print(plain("  nothing on a node changes; only the signed manifest does", "dim"))
    if changes[0].kind == "changed" and changes[0].items:
        said = "; ".join(str(action) for action in changes[0].actions) or "nothing restarts"
        style = "bold yellow" if changes[0].actions else "green"
        console.print(plain(f"  on a running node: {said}", style), soft_wrap=True)
    lines = [line for item in changes[0].items for line in _lines_of(item, whole=full or item.kind != "add")]
    if lines:
        # At once: 250 us of rich for each line that is printed alone.
        console.print(plain("\n").join(lines), soft_wrap=True)
    if kind == "new" and not full:
        console.print(plain("  (--full shows every line)", "dim"))


def _lines_of(item: ItemDiff, *, whole: bool) -> Iterator["Text"]:
    sign, style = _SIGNS[item.kind]
    yield plain(f"  {sign} {item.key}", style)
    for line in item.lines if whole else ():
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "dim")
        yield plain(f"      {line}", style)


def _show_summary(publication: Publication) -> None:
    serial = publication.state.note.serial + 1
    rows = []
    for change in publication.changes[:50]:
        counts = {kind: sum(1 for item in change.items if item.kind == kind) for kind in _SIGNS}
        before = str(change.before.serial) if change.before else "-"
        after = str(serial) if change.after else "-"
        rows.append([change.group, change.kind, before, after, *(str(count) for count in counts.values())])
    if len(publication.changes) > len(rows):
        rows.append([f"{len(publication.changes) - len(rows)} more groups", *[""] * 6])
    output().print()
    show_table(["GROUP", "CHANGE", "SERIAL", "NEW", "ADDED", "CHANGED", "REMOVED"], rows)


def _show_reach(console: "Console", publication: Publication) -> None:
    """How each change comes to its group's nodes; groups that go alike on one line."""
    alike: dict[str, list[str]] = {}
    queue = queue_of(publication, publication.state)
    for change in publication.changes:
        if change.reach is not None and change.after is not None:
            alike.setdefault(reach_of(change, queue.get(change.group, "")), []).append(change.group)
    for text, groups in alike.items():
        names = ", ".join(groups[:SHOWN_GROUPS]) + ("" if len(groups) <= SHOWN_GROUPS else f" and {len(groups)} in all")
        console.print(plain(f"{names}: ", "bold"), plain(text), sep="", soft_wrap=True)


def reach_of(change: GroupChange, behind: str) -> str:
    """`rollout over 8 live nodes: 1, +3, +4 (waves)`."""
    reach = change.reach
    if reach is None or change.after is None:
        return ""
    if reach.aborts:
        return "the candidate is taken back: its nodes return to the stable manifest at once"
    nodes = f"{len(reach.live)} live node{'' if len(reach.live) == 1 else 's'}"
    if not reach.live:
        return "no live nodes: published as stable"
    if not reach.in_waves:
        return f"{nodes} take it at once: what they run cannot be read, so there is nothing to compare it with"
    first, *later = sizes_over(reach.live, change.after)
    waves = ", ".join([str(first), *(f"+{size}" for size in later[:8])]) + (", ..." if len(later) > 8 else "")
    queued = f", after control-plane group {behind}" if behind else ""
    return f"rollout over {nodes}: {waves} (waves){queued}"


def publication_json(publication: Publication) -> dict[str, Any]:
    queue = queue_of(publication, publication.state)
    return {
        "cluster": publication.cluster,
        "unchanged": publication.unchanged,
        "changes": [
            {
                "group": change.group,
                "change": change.kind,
                "serial": change.before.serial if change.before else None,
                "actions": [str(action) for action in change.actions],
                "live_nodes": len(change.reach.live) if change.reach else None,
                "reach": reach_of(change, queue.get(change.group, "")) or None,
                "items": [{"key": item.key, "kind": item.kind, "lines": item.lines} for item in change.items],
            }
            for change in publication.changes
        ],
    }
