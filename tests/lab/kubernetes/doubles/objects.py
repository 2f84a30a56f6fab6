"""What the API server does to objects: paths, patches, server-side apply. Pure."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL path points: a collection, an object, or a subresource of one."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def collection_key(self) -> str:
        namespace = f"{self.namespace}/" if self.namespace else ""
        return f"/double/{self.group or 'core'}/{self.resource}/{namespace}"

    def key(self, name: str = "") -> str:
        return self.collection_key + (name or self.name)


def parse_path(path: str) -> Target | None:
    """None for what is no resource path."""
    parts = path.strip("/").split("/")
    if parts[:1] == ["api"] and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    rest = [*rest, "", ""][:3] if len(rest) <= 3 else []
    return Target(group, version, rest[0], namespace, rest[1], rest[2]) if rest else None


def merge(value: Any, patch: Any, *, key: str = "") -> Any:
    """Strategic merge as far as nodes need it: maps are merged, null deletes, conditions are merged by their type."""
    if isinstance(patch, dict):
        merged = dict(value) if isinstance(value, dict) else {}
        for name, part in patch.items():
            if part is None:
                merged.pop(name, None)
            else:
                merged[name] = merge(merged.get(name), part, key=name)
        return merged
    if key == "conditions" and isinstance(patch, list):
        known = {one["type"]: one for one in value or []}
        return list({**known, **{one["type"]: {**known.get(one["type"], {}), **one} for one in patch}}.values())
    return copy.deepcopy(patch)


def apply(value: Object, wanted: Object, manager: str) -> Object:
    """Server-side apply: labels that this manager applied before and does not want any more are taken away."""
    applied = merge(value, wanted)
    metadata = applied["metadata"]
    labels = (wanted.get("metadata") or {}).get("labels") or {}
    managed = [one for one in metadata.get("managedFields", []) if one["manager"] != manager]
    for label in _applied_labels(value, manager) - set(labels):
        metadata.get("labels", {}).pop(label, None)
    fields = {"f:metadata": {"f:labels": {f"f:{label}": {} for label in labels}}}
    metadata["managedFields"] = [*managed, {"manager": manager, "operation": "Apply", "fieldsV1": fields}]
    return dict(applied)


def only_status(value: Object, changed: Object) -> Object:
    """A write to /status changes nothing else."""
    return {**value, "status": changed.get("status", {})}


def without_status(value: Object, changed: Object) -> Object:
    """A write to the object itself does not change its status."""
    kept = {key: part for key, part in changed.items() if key != "status"}
    return {**kept, **({"status": value["status"]} if "status" in value else {})}


def _applied_labels(value: Mapping[str, Any], manager: str) -> set[str]:
    managed = value.get("metadata", {}).get("managedFields", [])
    owned = (one["fieldsV1"]["f:metadata"]["f:labels"] for one in managed if one["manager"] == manager)
    return {label.removeprefix("f:") for labels in owned for label in labels}
