"""The release document: read strictly, refused when it is somebody else's, written the same every time."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.units.machines import FACTS
from tests.units.sample import manifest
from units.errors import BootwrightError, Invalid, Refused
from units.manifest import MAX_BYTES, Manifest, Release, decode_release, encode_release
from units.plan import plan

CLUSTER, GROUP = "prod.example.com", "cp-a"


def release(**changes: Any) -> Release:
    return Release(serial=7, published="2026-11-23T00:00:00Z", stable=manifest(**changes))


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(encode_release(release())), **changes}


def decoded(data: bytes | dict[str, Any], *, cluster: str = CLUSTER, group: str = GROUP) -> Release:
    return decode_release(data if isinstance(data, bytes) else json.dumps(data).encode(), cluster=cluster, group=group)


def with_at(value: Any, path: str, new: Any) -> Any:
    """A copy of a document with the value at a dotted path replaced, or added."""
    head, _, rest = path.partition(".")
    key: Any = int(head) if isinstance(value, list) else head
    copy = list(value) if isinstance(value, list) else dict(value)
    copy[key] = with_at(value[key], rest, new) if rest else new
    return copy


def test_what_was_written_reads_back() -> None:
    assert decoded(encode_release(release())) == release()


def test_the_same_release_is_the_same_bytes_whatever_the_order_of_its_fields() -> None:
    backwards = json.loads(encode_release(release()), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert encode_release(Release.model_validate(backwards)) == encode_release(release())


@pytest.mark.parametrize(
    ("cluster", "group"), [("other.example.com", GROUP), (CLUSTER, "cp-b"), (CLUSTER, "cp"), ("", "")]
)
def test_a_document_for_another_cluster_or_group_is_refused(cluster: str, group: str) -> None:
    with pytest.raises(Refused) as refused:
        decoded(document(), cluster=cluster, group=group)
    assert refused.value.code == "manifest-for-another-group"
    assert GROUP in refused.value.message


def test_an_oversized_document_is_not_even_parsed() -> None:
    with pytest.raises(Invalid) as invalid:
        decoded(b" " * (MAX_BYTES + 1))
    assert invalid.value.code == "manifest-too-large"


WRONG: dict[str, tuple[str, Any]] = {
    "a format of tomorrow": ("format", 2),
    "a manifest of tomorrow": ("stable.format", 2),
    "a field that nobody knows": ("surprise", 1),
    "a field deep inside that nobody knows": ("stable.group.surprise", 1),
    "a serial of nothing": ("serial", 0),
    "a serial that is text": ("serial", "many"),
    "a role that there is not": ("stable.group.role", "bastion"),
    "a service network that is none": ("stable.network.service_cidr", "everything"),
    "a service network without room": ("stable.network.service_cidr", "10.0.0.0/30"),
    "a service network with host bits": ("stable.network.service_cidr", "10.0.0.1/16"),
    "a port out of range": ("stable.api.port", 70_000),
    "a version that is none": ("stable.kubernetes_version", "latest"),
    "a hash that is none": ("stable.assets.0.sha256", "A" * 64),
    "a path that climbs": ("stable.assets.0.path", "/usr/local/../../etc/passwd"),
    "a relative path": ("stable.assets.0.path", "kubelet"),
    "an asset of no size": ("stable.assets.0.size", 0),
    "a set-uid mode": ("stable.assets.0.mode", 0o4755),
    "base64 that is none": ("stable.files.0", {"path": "/etc/x", "content": "!", "encoding": "base64"}),
    "a second line in a flag": ("stable.components.kubelet", {"v": "2\nExecStartPre=/bin/evil"}),
    "a flag with a space": ("stable.components.kubelet", {"v -x": "2"}),
    "a flag with its dashes": ("stable.components.kubelet", {"--v": "2"}),
    "a quote in the pause image": ("stable.pause_image", "x'\n[plugins]"),
    "a second line in a label": ("stable.group.labels", {"a": "b\nc"}),
    "a comma in a label": ("stable.group.labels", {"a": "b,node-role.kubernetes.io/x=y"}),
    "a second line in the uid": ("stable.cluster.uid", "a\nb"),
    "a volume of no size": ("stable.etcd.0.volume", {"size_gib": 0}),
    "an etcd cluster of another name": ("stable.etcd.0.name", "cilium"),
    "nothing where a manifest is": ("stable", None),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_documents_are_invalid_and_the_place_is_named(name: str) -> None:
    path, value = WRONG[name]
    with pytest.raises(Invalid) as invalid:
        decoded(with_at(document(), path, value))
    assert invalid.value.code == "manifest-invalid"
    assert invalid.value.remedy
    places = [problem.path for problem in invalid.value.problems]
    assert places
    assert all(place.startswith(path) for place in places), places


def test_a_missing_field_is_named() -> None:
    wrong = document()
    del wrong["stable"]["trust"]["secrets_key"]
    with pytest.raises(Invalid) as invalid:
        decoded(wrong)
    assert [problem.path for problem in invalid.value.problems] == ["stable.trust.secrets_key"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = document()
    for path, value in (("format", 2), ("serial", -1), ("stable.api.port", 0), ("surprise", 1)):
        wrong = with_at(wrong, path, value)
    with pytest.raises(Invalid) as invalid:
        decoded(wrong)
    assert {problem.path for problem in invalid.value.problems} == {"format", "serial", "stable.api.port", "surprise"}
    assert all(problem.path in str(invalid.value) for problem in invalid.value.problems)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"null", b"[]", b"7", b'"text"', b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 100_000],
    ids=[
        "nothing",
        "half",
        "null",
        "a list",
        "a number",
        "text",
        "no utf-8",
        "deep lists",
        "deep objects",
        "long number",
    ],
)
def test_what_is_no_document_at_all_is_invalid(data: bytes) -> None:
    with pytest.raises(Invalid) as invalid:
        decoded(data)
    assert invalid.value.code == "manifest-invalid"
    assert len(str(invalid.value)) < 2000


def only_bootwright_errors(data: bytes) -> None:
    """Reading a verified document, and planning it, ends well or with an error that says what to do."""
    with suppress(BootwrightError):
        plan(decoded(data).stable, FACTS)


@given(st.binary(max_size=300))
@example(encode_release(release()))
def test_of_any_bytes_only_our_errors_come_out(data: bytes) -> None:
    only_bootwright_errors(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def paths_in(value: Any, *before: str) -> list[str]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [
        path
        for key, inner in items
        for path in (".".join([*before, str(key)]), *paths_in(inner, *before, str(key)))
        if "." not in str(key) and "/" not in str(key)
    ]


PATHS = paths_in(document())


NASTY = ["", "a", "0.0.0.0/0", "::/0", "fd00::/124", "/", "/etc/hosts", "x" * 300, "-", "10.0.0.1", "::1%eth0", "a..b"]


@settings(max_examples=400)
@given(
    st.sampled_from(PATHS),
    JSON | st.sampled_from(["", "a", "0.0.0.0/0", "/", "/etc/hosts", "x" * 300, "-", "10.0.0.1"]),
)
def test_of_a_document_with_any_value_replaced_only_our_errors_come_out(path: str, value: Any) -> None:
    only_bootwright_errors(json.dumps(with_at(document(), path, value)).encode())


@settings(max_examples=200)
@given(st.integers(0, len(encode_release(release())) - 1), st.integers(0, 255))
def test_of_a_document_with_any_byte_replaced_only_our_errors_come_out(position: int, byte: int) -> None:
    data = bytearray(encode_release(release()))
    data[position] = byte
    only_bootwright_errors(bytes(data))


def test_the_addresses_that_services_take() -> None:
    network = manifest().network
    assert (network.kubernetes_service_ip, network.dns_service_ip) == ("100.64.0.1", "100.64.0.10")


def test_an_unknown_authority_is_our_error() -> None:
    trust = manifest("node").trust
    with pytest.raises(Invalid):
        trust.authority("etcd-peers")


def test_a_manifest_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        manifest().kubernetes_version = "1.35.0"  # type: ignore[misc]
    assert isinstance(manifest(), Manifest)
