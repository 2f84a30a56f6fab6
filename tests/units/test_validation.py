"""What is shown to be wrong before a switch: pods and kubelet's configuration, by file and line."""

import copy
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.units.machines import FACTS, empty_machine, manifest
from units.kubelet_decoding import mismatches_in_kubelet_config
from units.plan import plan
from units.pod_decoding import mismatches_in_pod
from units.pods import StaticPod
from units.render import yaml_line, yaml_text
from units.services.kubelet import configuration
from units.shapes import dotted
from units.validation import complaints

PODS = [one for role in ("control-plane", "node") for one in plan(manifest(role), FACTS) if isinstance(one, StaticPod)]


def places(value: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place in a document but its root."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for step, item in steps for place in ((*above, step), *places(item, (*above, step)))]


def changed(document: Any, place: tuple[str | int, ...], to: Any) -> Any:
    whole = copy.deepcopy(document)
    at = whole
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = to
    return whole


@pytest.mark.parametrize("role", ["control-plane", "node"])
@pytest.mark.parametrize("minor", range(31, 37))
def test_what_bootwright_writes_itself_is_never_wrong(role: str, minor: int) -> None:
    wanted = manifest(role, kubernetes_version=f"1.{minor}.1")
    assert list(complaints(plan(wanted, FACTS), minor, empty_machine().host)) == []


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_a_pod_that_passes_here_passes_the_schema_too(data: st.DataObject) -> None:
    """The schema is the oracle: whatever value is put wherever, our decoder is never more lenient."""
    import kubernetes_validate

    pod = data.draw(st.sampled_from(PODS)).manifest()
    place = data.draw(st.sampled_from(places(pod)))
    value = data.draw(st.sampled_from([None, "", "x", 7, -1, 1.5, True, [], ["x"], {}, {"name": "x"}, [{"name": "x"}]]))
    wrong = changed(pod, place, value)
    if mismatches_in_pod(wrong):
        return
    kubernetes_validate.validate(wrong, "1.36", strict=True)


@pytest.mark.parametrize("pod", PODS, ids=lambda pod: pod.name)
def test_a_misspelt_field_is_found_at_every_place_of_a_pod(pod: StaticPod) -> None:
    """But where names are free: labels and annotations, and where a capability is only a word."""
    whole = pod.manifest()
    for place in places(whole):
        if isinstance(place[-1], int) or place[:2] in (("metadata", "labels"), ("metadata", "annotations")):
            continue
        wrong = copy.deepcopy(whole)
        at = wrong
        for step in place[:-1]:
            at = at[step]
        at[f"{place[-1]}x"] = at.pop(place[-1])
        assert mismatches_in_pod(wrong), place


def test_a_mount_without_its_volume_and_two_volumes_of_one_name_are_found() -> None:
    pod = PODS[0].manifest()
    pod["spec"]["volumes"].append(pod["spec"]["volumes"][0])
    pod["spec"]["containers"][0]["volumeMounts"][0]["name"] = "nowhere"
    found = [(dotted(one.place), one.said.split(";")[0]) for one in mismatches_in_pod(pod)]
    assert ("spec.containers[0].volumeMounts[0].name", "is 'nowhere'") in found
    assert any(place.startswith("spec.volumes[") for place, _said in found)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("maxPodz", 1, "is not a field of KubeletConfiguration"),
        ("maxPods", "1", "is '1'; allowed: a whole number"),
        ("syncFrequency", "5 minutes", "allowed: a duration"),
        ("tracing", {"endpont": "x"}, "is not a field that is known here"),
        ("reservedMemory", [{"numaNode": "0", "limits": {}}], "is '0'; allowed: a whole number"),
        ("tlsCurvePreferences", [29], "came with Kubernetes 1.36"),
        ("kind", "Kubelet", "is 'Kubelet'; allowed: KubeletConfiguration"),
    ],
)
def test_kubelets_configuration_is_decoded_strictly(field: str, value: object, said: str) -> None:
    config = configuration(manifest("node"), FACTS)
    assert mismatches_in_kubelet_config(config, 36) == ()
    (mismatch,) = mismatches_in_kubelet_config({**config, field: value}, 35)
    assert said in mismatch.said


def test_a_configuration_that_is_no_mapping_or_has_no_head_is_found() -> None:
    assert mismatches_in_kubelet_config([], 36)
    assert {one.said for one in mismatches_in_kubelet_config({}, 36)} == {
        "lacks the field apiVersion",
        "lacks the field kind",
    }


def test_every_place_of_a_document_has_the_line_where_a_person_finds_it() -> None:
    """Read back by another way: the line of a key begins with that key."""
    for pod in PODS:
        text = yaml_text(pod.manifest())
        lines = text.splitlines()
        for place in places(pod.manifest()):
            line = lines[yaml_line(text, place) - 1]
            if isinstance(place[-1], str):
                assert line.strip().removeprefix("- ").startswith((f"{place[-1]}:", f"'{place[-1]}':")), (place, line)
            else:
                assert line.strip().startswith("- "), (place, line)
        assert yaml.safe_load(text) == pod.manifest()


def test_a_place_that_is_not_there_has_the_line_of_what_would_hold_it() -> None:
    assert yaml_line("a: 1\nb:\n  c: 2\n", ("b", "d")) == 2
    assert yaml_line("a: 1\n", ()) == 1
