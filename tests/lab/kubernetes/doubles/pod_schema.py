"""JSON Schema, as far as the Kubernetes schemas use it. Pure."""

from typing import Any


def mismatches(value: Any, schema: dict[str, Any], path: str) -> Any:
    """The part of JSON Schema that the Kubernetes schemas use, references resolved by the lab."""
    for option in ("oneOf", "anyOf"):
        if option in schema:
            if all(list(mismatches(value, choice, path)) for choice in schema[option]):
                yield f"{path}: fits none of the allowed forms"
            return
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    types = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    if kinds and not any(value is None if kind == "null" else isinstance(value, types[kind]) for kind in kinds):
        yield f"{path}: {type(value).__name__} is not {' or '.join(kinds)}"
        return
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        yield from (f"{path}: lacks {name}" for name in schema.get("required", []) if name not in value)
        for name, item in value.items():
            below = properties.get(name, schema.get("additionalProperties", {}))
            if below is False:
                yield f"{path}: unknown field {name}"
            elif isinstance(below, dict):
                yield from mismatches(item, below, f"{path}.{name}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for number, item in enumerate(value):
            yield from mismatches(item, schema["items"], f"{path}[{number}]")
