"""What a publish would change, resource by resource; and that nothing is published which does not come up."""

from typing import Any

import pytest

from coordinator.preview import preview_group, rehearse
from tests.units import sample
from tests.units.machines import manifest
from units.errors import Invalid
from units.manifest import ExtraFile, Manifest

CONTROL_PLANE, WORKERS = manifest(), manifest("node")


def changed(before: Manifest, **changes: Any) -> dict[str, str]:
    after = before.model_validate({**before.model_dump(), **changes})
    return {item.key: item.kind for item in preview_group(before, after).items}


def test_the_first_publish_adds_everything() -> None:
    diff = preview_group(None, CONTROL_PLANE)
    assert diff.changed
    assert {item.kind for item in diff.items} == {"add"}
    keys = {item.key for item in diff.items}
    assert {"static-pod:kube-apiserver", "unit:kubelet.service", "volume:main"} <= keys


@pytest.mark.parametrize("before", [CONTROL_PLANE, WORKERS], ids=["control-plane", "node"])
def test_the_same_manifest_changes_nothing(before: Manifest) -> None:
    diff = preview_group(before, before)
    assert diff.items == ()
    assert not diff.changed


def test_a_change_shows_the_resource_and_the_lines() -> None:
    after = WORKERS.model_copy(update={"files": (ExtraFile(path="/etc/motd", content="changed\n"),)})
    (item,) = preview_group(WORKERS, after).items
    assert (item.key, item.kind) == ("extra-file:/etc/motd", "change")
    assert "-prod.example.com" in item.lines
    assert "+changed" in item.lines
    assert not [line for line in item.lines if line.startswith(("---", "+++"))]


def test_what_goes_away_is_shown_as_removed() -> None:
    assert changed(WORKERS, files=()) == {"extra-file:/etc/motd": "remove"}


def test_what_comes_is_shown_as_added() -> None:
    files = (*WORKERS.files, ExtraFile(path="/etc/issue", content="x\n"))
    assert changed(WORKERS, files=files) == {"extra-file:/etc/issue": "add"}


def test_a_new_version_changes_the_pods_and_their_images() -> None:
    items = changed(CONTROL_PLANE, kubernetes_version="1.36.3")
    assert {key for key, kind in items.items() if kind == "change"} == {
        f"static-pod:{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler")
    }


def test_a_change_that_is_the_same_in_every_zone_is_shown_once() -> None:
    assert len(WORKERS.group.zones) == 2
    after = WORKERS.model_copy(update={"files": ()})
    assert len(preview_group(WORKERS, after).items) == 1


def test_a_change_that_differs_by_zone_is_shown_for_each() -> None:
    labels = {**WORKERS.group.labels, "example.com/new": "yes"}
    after = WORKERS.model_copy(update={"group": WORKERS.group.model_copy(update={"labels": labels})})
    items = preview_group(WORKERS, after).items
    assert [item.key for item in items] == ["unit:kubelet.service"] * 2
    assert {zone for item in items for line in item.lines for zone in WORKERS.group.zones if zone in line} == {
        "eu-west-1a",
        "eu-west-1b",
    }


def test_no_secret_shows_in_a_preview() -> None:
    text = repr(preview_group(None, CONTROL_PLANE))
    assert "PRIVATE KEY" not in text


def test_a_manifest_that_cannot_be_planned_is_not_previewed() -> None:
    after = WORKERS.model_copy(update={"files": (ExtraFile(path="/etc/kubernetes/manifests/x.yaml", content="x"),)})
    with pytest.raises(Invalid) as invalid:
        preview_group(WORKERS, after)
    assert invalid.value.code == "plan-impossible"
    assert [problem.path for problem in invalid.value.problems] == ["files[0].path"]


def test_a_manifest_that_does_not_converge_is_not_previewed_and_says_why() -> None:
    # The plan is possible, each claim is made once; but /etc/cni/net.d cannot be made below a file.
    files = (ExtraFile(path="/etc/cni", content="x"),)
    with pytest.raises(Invalid) as invalid:
        preview_group(WORKERS, WORKERS.model_copy(update={"files": files}))
    assert invalid.value.code == "preview-failed"
    assert "directory:/etc/cni/net.d" in invalid.value.message
    assert "/etc/cni is a file" in invalid.value.message


def test_an_old_manifest_that_today_cannot_be_planned_does_not_keep_its_repair_from_being_published() -> None:
    old = WORKERS.model_copy(update={"files": (ExtraFile(path="/etc/hosts", content="x"),)})
    diff = preview_group(old, WORKERS)
    assert "unit:kubelet.service" in {item.key for item in diff.items}


def test_a_zone_that_is_new_to_the_group_is_all_additions() -> None:
    zones = ("eu-west-1a", "eu-west-1b", "eu-west-1c")
    after = WORKERS.model_copy(update={"group": WORKERS.group.model_copy(update={"zones": zones})})
    assert {item.kind for item in preview_group(WORKERS, after).items} == {"add"}


def test_the_private_halves_of_the_real_authorities_are_never_needed() -> None:
    """The rehearsal signs with authorities of its own: nobody has the keys of the sample's."""
    rehearse(sample.manifest(), "eu-west-1a")
    assert preview_group(None, sample.manifest()).changed
