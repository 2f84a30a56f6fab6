"""Every stable error code of the source, with the words that stand beside it. Reads the syntax tree, runs nothing."""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("agent", "coordinator", "units", "pki")
CODE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+|Trust[A-Z][a-z]+|defect|throttled|usage")
_ROOTS = {"BootwrightError", "PkiError"}
# Not exceptions, but values that carry a code to a person in the same way: position of the code, and of the words.
_CARRIERS = {
    "Failure": (0, 1, 2),
    "Refuse": (0, 1, 2),
    "Wait": (0, 1, None),
    "WaitForPerson": (0, 1, 2),
    "condition": (0, 1, None),
    "refused": (0, 1, None),
    "later": (0, 1, None),
    "fail": (2, 0, 1),
    "warn": (2, 0, 1),
}


Strings = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Code:
    """One place of the source. `pattern` is the code with a star where it is put together."""

    pattern: str
    kind: str
    message: str
    remedy: str
    place: str

    @property
    def is_whole(self) -> bool:
        return "*" not in self.pattern


@cache
def codes(packages: Iterable[str] = PACKAGES, root: Path = ROOT) -> tuple[Code, ...]:
    trees = {path: ast.parse(path.read_text()) for name in packages for path in sorted((root / name).rglob("*.py"))}
    kinds = _error_classes(trees.values())
    found = []
    for path, tree in trees.items():
        place = str(path.relative_to(root))
        for node, strings in _calls(tree):
            found += list(_codes_of(node, kinds, strings, place))
        found += list(_tables(tree, place))
    return tuple(sorted(set(found), key=lambda code: (code.pattern, code.place, code.message)))


def _error_classes(trees: Iterable[ast.AST]) -> dict[str, str]:
    """Name of each class that is an error -> which of the four it is at heart."""
    bases = {
        node.name: [base.id for base in node.bases if isinstance(base, ast.Name)]
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }
    kinds = {}
    for name in bases:
        line = [name]
        while line[-1] not in _ROOTS and bases.get(line[-1]):
            line.append(bases[line[-1]][0])
        if line[-1] in _ROOTS and len(line) > 1:
            kinds[name] = line[-2]
    return {**kinds, "PkiError": "Fatal"}


def _calls(tree: ast.Module) -> Iterator[tuple[ast.Call, Strings]]:
    """Every call, with the texts that names stand for there: the module's, and those of its own function."""
    ours = _constants(tree.body)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inside: dict[ast.AST, Strings] = {}
    for function in functions:  # outer ones come first, so the innermost has the last word
        strings = {**ours, **_constants(list(ast.walk(function)))}
        inside.update(dict.fromkeys(ast.walk(function), strings))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, inside.get(node, ours)


def _constants(nodes: Sequence[ast.AST]) -> dict[str, str]:
    """Names that are given one text, and no other."""
    found: dict[str, str] = {}
    times: Counter[str] = Counter()
    for node in nodes:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            pair = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            names = target.elts if pair else [target]
            values = node.value.elts if pair else [node.value]
            for name, value in zip(names, values, strict=True):
                if isinstance(name, ast.Name):
                    times[name.id] += 1
                    found[name.id] = words(value, found)
    return {name: text for name, text in found.items() if text and times[name] == 1}


def _codes_of(node: ast.AST, kinds: dict[str, str], strings: Strings, place: str) -> Iterator[Code]:
    if not isinstance(node, ast.Call):
        return
    name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    at = (0, 1, None) if name in kinds else _CARRIERS.get(name)
    if at is None:
        return
    if name in ("fail", "warn") and "agent/doctor" not in place:
        return
    keywords = {keyword.arg: keyword.value for keyword in node.keywords}
    code = keywords.get("code") or _argument(node, at[0])
    remedy = keywords.get("remedy") or keywords.get("fix") or _argument(node, at[2])
    for pattern in _patterns(code, strings):
        yield Code(pattern, kinds.get(name, ""), words(_argument(node, at[1]), strings), words(remedy, strings), place)


def _argument(node: ast.Call, at: int | None) -> ast.expr | None:
    return node.args[at] if at is not None and at < len(node.args) else None


def _patterns(node: ast.expr | None, strings: Strings) -> Iterator[str]:
    """A literal code, one of two, one by its constant, or one that is put together."""
    if isinstance(node, ast.IfExp):
        yield from (*_patterns(node.body, strings), *_patterns(node.orelse, strings))
    elif isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in node.values)
        if "-" in text:
            yield text
    elif CODE.fullmatch(text := words(node, strings)):
        yield text


def _tables(tree: ast.Module, place: str) -> Iterator[Code]:
    """REMEDIES of the issuer: code -> remedy."""
    for node in ast.walk(tree):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "REMEDIES"):
            continue
        for table in ast.walk(node):
            if isinstance(table, ast.Dict):
                strings = _constants(tree.body)
                for key, value in zip(table.keys, table.values, strict=True):
                    if isinstance(key, ast.Constant) and CODE.fullmatch(str(key.value)):
                        yield Code(str(key.value), "", "", words(value, strings), place)


def words(node: ast.expr | None, strings: Strings) -> str:
    """A text as the source has it, with names in capitals where values go; empty if it is made elsewhere."""
    if isinstance(node, ast.JoinedStr):
        return "".join(words(value, strings) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return words(node.left, strings) + words(node.right, strings)
    if isinstance(node, ast.FormattedValue):
        return words(node.value, strings) or _placeholder(node.value)
    if isinstance(node, ast.Name):
        return strings.get(node.id, "")
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _placeholder(node: ast.expr) -> str:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else "..."
    return name.strip("_").upper()
