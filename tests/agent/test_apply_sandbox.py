"""Power cuts on real files: an apply is cut before every single change that it makes to a disk, none left out.

test_transaction.py does it on machines in memory, where a write is one step. Here it is an open, a chmod, a rename, and
what lies between them. How the cuts are made: apply_cuts.py.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

GENERATIONS = "/var/lib/bootwright/generations"
CACHE = "/var/lib/bootwright/assets"
# What a machine that was never cut differs in, too. Directories stay when what lay in them goes.
AFTER_ANOTHER = {
    "more: /etc/kubernetes/kube-proxy",
    "more: /etc/kubernetes/pki/kube-proxy",
    f"more: {GENERATIONS}/OLD.json",  # the one before
    f"other: {GENERATIONS}/current.json",  # which it names
}
BEGUN_IN_VAIN = {"more: /etc/bad", "more: /etc/bad/directory"}
FETCHED_IN_VAIN = {f"more: {CACHE}{path}" for path in ("", "/parts", "/sha256")}  # and one file


def cuts_of(case: str, directory: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.agent.apply_cuts", case, str(directory)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def where(cut: dict[str, Any]) -> str:
    """What the run was at when the power went."""
    if "journal.json" in cut["before"]:
        return "journal"
    if "quarantine.json" in cut["before"]:
        return "quarantine"
    if any(name in cut["before"] for name in ("NEW.json", "BAD.json", "current.json")):
        return "generation"
    return {"applying": "switch", "undoing": "undo"}[cut["phase"]]


def covered(found: dict[str, Any]) -> set[str]:
    return {where(cut) for cut in found["cuts"]}


def torn(found: dict[str, Any]) -> set[str]:
    """Where a cut left half a write behind: without any, the tests could not tell whether somebody sweeps."""
    return {where(cut) for cut in found["cuts"] if cut["temporaries"]}


def demand_settled(cut: dict[str, Any], final: str) -> None:
    said = f"cut before {cut['before']} ({cut['phase']})"
    assert (cut["running"], cut["journal"]) == (final, False), said
    assert (cut["again"], cut["changed"], cut["touched"]) == ("unchanged", [], []), said


def test_a_good_manifest_cut_before_any_change_is_committed_by_the_next_boot(tmp_path: Path) -> None:
    found = cuts_of("good", tmp_path)
    assert found["uncut"] == "committed"  # the run that found nothing left to be cut before
    assert len(found["cuts"]) >= 40
    assert covered(found) == torn(found) == {"journal", "generation", "switch"}
    assert set(found["events"]) >= {"open", "os.chmod", "os.rename", "os.mkdir", "os.remove", "tests.downloaded"}
    for cut in found["cuts"]:
        demand_settled(cut, "NEW")
        assert cut["end"] == "committed", cut["before"]
        assert cut["quarantined"] == []
        assert set(cut["differences"]) == AFTER_ANOTHER, cut["before"]


def test_a_manifest_that_makes_kubelet_ill_cut_before_any_change_is_undone_by_the_next_boot(tmp_path: Path) -> None:
    found = cuts_of("bad", tmp_path)
    assert found["uncut"] == "undone"
    assert len(found["cuts"]) >= 50
    assert covered(found) == torn(found) == {"journal", "generation", "switch", "undo", "quarantine"}
    expected = {f"more: {GENERATIONS}/BAD.json", "more: /var/lib/bootwright/quarantine.json"}
    expected |= BEGUN_IN_VAIN | FETCHED_IN_VAIN
    for cut in found["cuts"]:
        demand_settled(cut, "OLD")
        assert (cut["end"], cut["quarantined"]) == ("undone", ["BAD"]), cut["before"]
        more = {one for one in cut["differences"] if not one.startswith(f"more: {CACHE}/sha256/")}
        assert more == expected, cut["before"]


def test_an_apply_cut_before_any_change_leaves_nothing_in_the_way_of_the_next_manifest(tmp_path: Path) -> None:
    """Nobody asks again for the one that was cut off: what it half wrote is swept all the same."""
    found = cuts_of("bad-then-good", tmp_path)
    assert (found["uncut"], len(found["cuts"]) >= 50) == ("undone", True)
    assert covered(found) == torn(found) == {"journal", "generation", "switch", "undo", "quarantine"}
    for cut in found["cuts"]:
        demand_settled(cut, "NEW")
        undone = cut["phase"] == "undoing"  # then it is undone to the end first, and known as bad
        assert (cut["end"], cut["quarantined"]) == ("committed", ["BAD"] if undone else []), cut["before"]
        quarantine = {"more: /var/lib/bootwright/quarantine.json"} if undone else set()
        assert set(cut["differences"]) - BEGUN_IN_VAIN == AFTER_ANOTHER | quarantine, cut["before"]
