"""cluster.yaml.j2 + values -> cluster.yaml. Sandboxed, and nothing undefined becomes an empty string."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Any, cast

import jinja2
from jinja2 import meta, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from coordinator.spec.loading import LARGEST_SPEC
from coordinator.spec.problems import SpecInvalid, SpecProblem, shown
from coordinator.spec.suggestions import nearest
from coordinator.spec.values import Values, unwrapped

_LONGEST_PRODUCT = 1_000_000  # characters, items or bits: `"x" * 10 ** 10` must not eat the machine
# What a template's own expressions fail with: 1 / 0, "a" + 1, a filter's wrong argument, a macro that calls itself.
_EXPRESSION_ERRORS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


def render_template(template_text: str, values: Values) -> str:
    """Render a spec's template. Raises SpecInvalid with the template's line and, for a name, what is available.

    In the output booleans are true and false, None is null, lists and objects are JSON: all of it is YAML.
    """
    known = unwrapped(values)
    environment = _Environment()
    try:
        return _bounded(environment.from_string(template_text).generate(known))
    except jinja2.TemplateSyntaxError as error:
        problem = SpecProblem.of((), error.lineno, str(error.message), "a Jinja2 template")
        raise SpecInvalid("the template", [problem]) from error
    except _NotThereError as error:
        line = _line(error.__traceback__)
        others = _unknown_names(environment.parse(template_text), known)
        problems = [_not_there(error.name, known if error.owner is missing else error.owner, line)]
        problems += [_not_there(name, known, at) for name, at in others.items() if (name, at) != (error.name, line)]
        raise SpecInvalid("the template", problems) from error
    except _EXPRESSION_ERRORS as error:
        found = str(error)[:200] or type(error).__name__
        problem = SpecProblem.of((), _line(error.__traceback__), found, "an expression that works")
        raise SpecInvalid("the template", [problem]) from error


class _NotThereError(jinja2.UndefinedError):
    """A name that the values, or a key that an object, does not have."""

    def __init__(self, name: str, owner: object, message: str | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.owner = owner


class _Undefined(jinja2.StrictUndefined):
    """StrictUndefined whose error knows where the name was looked for."""

    __slots__ = ()

    def __init__(self, hint: str | None = None, obj: Any = missing, name: str | None = None, exc: Any = None) -> None:
        # jinja2 calls `exc` with the message; it need not be a class.
        ours = exc if exc not in {None, jinja2.UndefinedError} else partial(_NotThereError, str(name), obj)
        super().__init__(hint, obj, name, cast("type[jinja2.TemplateRuntimeError]", ours))


class _Environment(ImmutableSandboxedEnvironment):
    """No loader, so nothing can be included; no arithmetic that fills the memory."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self) -> None:
        super().__init__(undefined=_Undefined, finalize=_as_yaml, keep_trailing_newline=True, autoescape=False)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(each) if hasattr(each, "__len__") else abs(each) for each in (left, right)]
        large = sizes[0] * sizes[1] if operator == "*" else len(f"{sizes[0]:b}") * sizes[1]
        if large > _LONGEST_PRODUCT and (operator == "**" or any(hasattr(each, "__len__") for each in (left, right))):
            raise ValueError(f"a result of {operator} that is too large")
        return super().call_binop(context, operator, left, right)


def _as_yaml(value: Any) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, list | tuple | dict):
        return json.dumps(value)
    return value


def _bounded(pieces: Iterator[str]) -> str:
    text, length = [], 0
    for piece in pieces:
        length += len(piece)
        if length > LARGEST_SPEC:
            raise ValueError(f"more than {LARGEST_SPEC} characters come out")
        text.append(piece)
    return "".join(text)


def _not_there(name: str, owner: object, line: int | None) -> SpecProblem:
    known = sorted(str(key) for key in owner) if isinstance(owner, Mapping) else []
    near = nearest(name, known) if known else None
    allowed = ", ".join(known[:50]) if known else "no name: there is nothing to look in"
    return SpecProblem.of(
        (), line, f"{shown(name)}, which is not defined", allowed, f"did you mean {near}?" if near else ""
    )


def _line(traceback: TracebackType | None) -> int | None:
    """The line of the template: jinja2 puts frames of its own, named after the template, into the traceback."""
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename in {"<template>", "<unknown>"}:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _unknown_names(tree: nodes.Template, known: Mapping[str, Any]) -> dict[str, int]:
    """Names that nothing defines -> their first line. Those asked about with `is defined` or `default` are fine."""
    asked = {
        node.node.name
        for node in tree.find_all((nodes.Test, nodes.Filter))
        if node.name in {"defined", "undefined", "default", "d"} and isinstance(node.node, nodes.Name)
    }
    missing_names = meta.find_undeclared_variables(tree) - asked - known.keys()
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        if node.name in missing_names and node.ctx == "load":
            lines.setdefault(node.name, node.lineno)
    return lines
