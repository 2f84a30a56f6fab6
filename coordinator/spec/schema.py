"""The JSON Schema of cluster.yaml, and the questions the rest of the package asks of it."""

import copy
from functools import cache
from typing import Any, cast

from coordinator.spec.cluster import ClusterSpec
from coordinator.spec.problems import Path

Schema = dict[str, Any]


def spec_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of cluster.yaml, for editors and for `coordinator schema`."""
    return copy.deepcopy(_schema())


def schema_at(path: Path) -> Schema | None:
    """The part of the schema that describes the value at `path`; None when nothing may be there."""
    found: Schema | None = _schema()
    for step in path:
        found = _child(resolved(found), step) if found is not None else None
    return resolved(found) if found is not None else None


def keys_at(path: Path) -> tuple[str, ...]:
    """The keys a mapping at `path` may have, in the order of the model. Empty when any key is allowed."""
    described = schema_at(path) or {}
    return tuple(described.get("properties", {}))


def needs(path: Path) -> bool:
    """Whether the mapping or list around `path` cannot be without it."""
    if not path:
        return True
    around = schema_at(path[:-1]) or {}
    return isinstance(path[-1], int) or path[-1] in around.get("required", ())


def example_at(path: Path) -> object:
    """The smallest value that fits at `path`."""
    return _example(schema_at(path) or {})


@cache
def _schema() -> Schema:
    described = ClusterSpec.model_json_schema(by_alias=True)
    for model in (described, *described["$defs"].values()):
        for field in model.get("properties", {}).values():
            if "patternProperties" in field:
                field["additionalProperties"] = False  # pydantic leaves out that keys of another shape are refused
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://bootwright.io/schema/v1/cluster.json",
    } | described


def resolved(schema: Schema) -> Schema:
    """Follow `$ref`, and look through "or null"."""
    for _ in range(8):
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            schema = {**_schema()["$defs"][name], **{key: value for key, value in schema.items() if key != "$ref"}}
        elif "anyOf" in schema:
            choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
            rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
            schema = {**choices[0], **rest}
        else:
            break
    return schema


def _child(schema: Schema, step: str | int) -> Schema | None:
    if isinstance(step, int):
        return cast("Schema | None", schema.get("items"))
    if step in schema.get("properties", {}):
        return cast("Schema", schema["properties"][step])
    values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")][0]
    return values if isinstance(values, dict) else None


def _example(schema: Schema) -> object:
    schema = resolved(schema)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema or "examples" in schema:
        return [*schema.get("enum", ()), *schema.get("examples", ())][0]
    if schema.get("type") == "object":
        return {key: _example(schema["properties"][key]) for key in schema.get("required", ())}
    if schema.get("type") == "array":
        return [_example(schema["items"]) for _ in range(schema.get("minItems", 0))]
    return {"integer": schema.get("minimum", 0), "boolean": False}.get(str(schema.get("type")), "")
