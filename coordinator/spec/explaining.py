"""pydantic's errors -> problems in the operator's words: the line, what was found, what is allowed, what to do."""

from pydantic_core import ErrorDetails

from coordinator.spec.problems import Path, SpecProblem, shown
from coordinator.spec.schema import example_at, keys_at, schema_at
from coordinator.spec.suggestions import did_you_mean_key, did_you_mean_value, either
from coordinator.spec.yaml_tree import Fields, Items, Node, Scalar, find

_NOT_SHOWN = frozenset({"content", "base64", "publicKey"})
_KINDS = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "model_attributes_type": "a mapping of fields",
    "model_type": "a mapping of fields",
    "string_type": "text",
    "tuple_type": "a list",
}


def explain(details: ErrorDetails, path: Path, root: Fields) -> SpecProblem:
    """One of pydantic's errors as a problem."""
    kind, context = details["type"], details.get("ctx", {})
    line, node = find(root, path)
    found = f"the key {shown(str(path[-1]))}" if is_about_a_key(details) else found_text(node, path)
    if kind == "spec":
        allowed, remedy = str(context["allowed"]), str(context["remedy"])
    elif kind == "extra_forbidden":
        known = keys_at(path[:-1])
        found = f"the key {shown(str(path[-1]))}"
        allowed, remedy = either(known), did_you_mean_key(str(path[-1]), known)
    elif kind == "missing":
        found, allowed, remedy = _missing(path)
    elif kind == "literal_error":
        allowed, remedy = _one_of(path, node)
    elif kind in _KINDS:
        allowed = _KINDS[kind]
        remedy = _other_kind(kind, node)
    elif kind in {"too_short", "too_long", "string_too_long"}:
        found, allowed, remedy = _other_length(kind, dict(context), path, found)
    elif kind in {"greater_than_equal", "less_than_equal"}:
        described = schema_at(path) or {}
        allowed, remedy = f"{described.get('minimum')} to {described.get('maximum')}", ""
    else:
        allowed, remedy = details["msg"], ""
    return SpecProblem.of(path, line, found, allowed, remedy)


def is_about_a_key(details: ErrorDetails) -> bool:
    """Whether a mapping's key is wrong rather than its value: pydantic then adds a last step, `[key]`."""
    *_, before, last = (None, None, *details["loc"])
    return last == "[key]" and details["type"] != "extra_forbidden" and details["input"] == before


def found_text(node: Node | None, path: Path) -> str:
    """What stands at `path`, short and without secrets."""
    if isinstance(node, Items):
        return f"a list of {len(node.items)}"
    if isinstance(node, Fields):
        return f"a mapping with {', '.join(shown(key, 30) for key in list(node.entries)[:5])}" if node.entries else "{}"
    if node is None or node.value is None:
        return "nothing"
    if path[-1:] and path[-1] in _NOT_SHOWN:
        return f"{len(node.raw)} characters (not shown)"
    return shown(node.raw) if isinstance(node.value, str) else node.raw[:60]


def _missing(path: Path) -> tuple[str, str, str]:
    described = schema_at(path) or {}
    purpose = str(described.get("description", "")).split(". ")[0].replace("\n", " ").rstrip(".")
    example = example_at(path)
    allowed = f"a value, for example {example}" if isinstance(example, str) else "a value"
    return "nothing", allowed, f"add {path[-1]}: {purpose}"


def _one_of(path: Path, node: Node | None) -> tuple[str, str]:
    described = schema_at(path) or {}
    words = [str(word) for word in described.get("enum", [described.get("const", "")])]
    written = node.raw if isinstance(node, Scalar) else ""
    return either(words), did_you_mean_value(written, words) if written else ""


def _other_kind(kind: str, node: Node | None) -> str:
    if isinstance(node, Scalar) and node.value is None:
        return "give it a value, or remove the line"
    if kind == "string_type" and isinstance(node, Scalar):
        return f'put it in quotes: "{node.raw}"'
    if kind == "tuple_type" and isinstance(node, Scalar):
        return f"write it as a list: [{shown(node.raw)}]"
    if kind in {"bool_type", "int_type"} and isinstance(node, Scalar) and not node.plain:
        return "remove the quotes"
    return ""


def _other_length(kind: str, context: dict[str, object], path: Path, found: str) -> tuple[str, str, str]:
    if kind == "string_too_long":
        return found, f"at most {context.get('max_length')} characters", "shorten it"
    if kind == "too_short":
        return found, f"at least {context.get('min_length')}", f"add to {path[-1]}"
    return found, f"at most {context.get('max_length')}", "remove some"
