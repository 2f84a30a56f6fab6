"""YAML text -> a tree that remembers lines. Bounded, and strict where YAML 1.1 and 1.2 read a word differently."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from coordinator.spec.problems import Path, SpecProblem, shown
from coordinator.spec.yaml_words import doubts, meaning

DEEPEST = 32
MOST_NODES = 100_000  # counted with every alias expanded, so that anchors inside anchors cannot multiply
_PARSER: type = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Scalar:
    """One word. `raw` is what was written, `value` what it means, `plain` that it stood without quotes."""

    value: str | int | float | bool | None
    raw: str
    line: int
    plain: bool
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    items: tuple["Node", ...]
    line: int
    weight: int


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping: key -> (line of the key, value)."""

    entries: dict[str, tuple[int, "Node"]]
    line: int
    weight: int


Node = Scalar | Items | Fields


class NoTreeError(Exception):
    """Parsing cannot go on after this problem."""

    def __init__(self, problem: SpecProblem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def read_yaml(text: str, parser: type = _PARSER) -> tuple[Fields, tuple[SpecProblem, ...]]:
    """The document's root mapping, and everything that is wrong with its words. Raises NoTreeError."""
    try:
        builder = _Builder(yaml.parse(text, Loader=parser), text)
        return builder.document(), tuple(builder.problems)
    except yaml.YAMLError as error:
        raise NoTreeError(_syntax_problem(error, text)) from error


def plain_value(node: Node) -> object:
    """dicts, lists and words, as JSON has them."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain_value(item) for item in node.items]
    return {key: plain_value(value) for key, (_, value) in node.entries.items()}


def find(root: Node, path: Path) -> tuple[int, Node | None]:
    """The line of `path`, and its node. For what is not there: the line of the nearest thing around it, and None."""
    node, line = root, root.line
    for step in path:
        if isinstance(node, Fields) and isinstance(step, str) and step in node.entries:
            line, node = node.entries[step]
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            line = node.line
        else:
            return line, None
    return line, node


class _Builder:
    """Events -> nodes. The recursion is bounded by DEEPEST, the result by MOST_NODES."""

    def __init__(self, events: Iterator[yaml.Event], text: str) -> None:
        self.events = events
        self.text = text
        self.anchors: dict[str, Node | None] = {}
        self.problems: list[SpecProblem] = []
        self.weight = 0

    def document(self) -> Fields:
        next(self.events)  # the start of the stream
        if isinstance(event := next(self.events), yaml.StreamEndEvent):
            raise NoTreeError(_nothing_written(1))
        root = self.node(next(self.events), ())
        next(self.events)  # the end of the document
        if not isinstance(event := next(self.events), yaml.StreamEndEvent):
            raise _stop(event, (), "a second document", "one cluster per file", "put it into a file of its own")
        if isinstance(root, Fields):
            return root
        if isinstance(root, Scalar) and root.value is None:
            raise NoTreeError(_nothing_written(root.line))
        found = "a list" if isinstance(root, Items) else shown(root.raw)
        remedy = "start with `apiVersion: bootwright.io/v1`"
        raise NoTreeError(SpecProblem.of((), root.line, found, "a mapping of fields", remedy))

    def node(self, event: yaml.Event, path: Path) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path)
        assert isinstance(event, yaml.NodeEvent)
        if len(path) > DEEPEST:
            raise _stop(event, path[:3], f"more than {DEEPEST} levels", "fewer levels", "remove the nesting")
        self.count(event, path, 1)
        if (tag := getattr(event, "tag", None)) is not None:
            written = str(tag).replace("tag:yaml.org,2002:", "!!")
            self.report(event, path, f"the tag {shown(written)}", "values without tags", "remove the tag")
        if event.anchor is not None:
            self.anchors[event.anchor] = None  # while it is being built, an alias to it would be a circle
        node = self.collection(event, path) if isinstance(event, yaml.CollectionStartEvent) else self.word(event, path)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: yaml.AliasEvent, path: Path) -> Node:
        node = self.anchors.get(str(event.anchor))
        if node is None:
            found = f"*{str(event.anchor)[:40]}"
            raise _stop(event, path, found, "an alias of an anchor that ended before it", "write the value out")
        self.count(event, path, node.weight)
        return node

    def count(self, event: yaml.Event, path: Path, weight: int) -> None:
        self.weight += weight
        if self.weight > MOST_NODES:
            found = f"more than {MOST_NODES} values, with aliases expanded"
            raise _stop(event, path, found, f"at most {MOST_NODES}", "write values out instead of nesting anchors")

    def word(self, event: yaml.Event, path: Path) -> Scalar:
        assert isinstance(event, yaml.ScalarEvent)
        raw, plain = str(event.value), not event.style
        if re.search(r"[\ud800-\udfff]", raw):
            raise _stop(event, path, "half of a UTF-16 pair", "text", r"write the character itself, or \U and 8 digits")
        if plain and (doubt := doubts(raw)):
            self.report(event, path, f"{raw} without quotes", *doubt)
        return Scalar(meaning(raw) if plain else raw, raw, _line(event), plain)

    def collection(self, event: yaml.CollectionStartEvent, path: Path) -> Node:
        before = self.weight
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Node] = []
            while not isinstance(following := next(self.events), yaml.SequenceEndEvent):
                items.append(self.node(following, (*path, len(items))))
            return Items(tuple(items), _line(event), self.weight - before + 1)
        entries: dict[str, tuple[int, Node]] = {}
        merged: list[Fields] = []
        while not isinstance(following := next(self.events), yaml.MappingEndEvent):
            key = self.key(following, path)
            value = self.node(next(self.events), (*path, key))
            if key == "<<" and not getattr(following, "style", None):
                merged += self.merge(following, path, value)
            elif key in entries:
                remedy = f"the first is on line {entries[key][0]}; keep one"
                self.report(following, (*path, key), f"{shown(key)} a second time", "each key once", remedy)
            else:
                entries[key] = (_line(following), value)
        for fields in merged:
            entries = {**fields.entries, **entries}
        return Fields(entries, _line(event), self.weight - before + 1)

    def key(self, event: yaml.Event, path: Path) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            if _is_template(self.text, _line(event)):
                raise NoTreeError(_not_rendered(_line(event)))
            raise _stop(event, path, "a key that is not a word", "text as key", "write `key: value`")
        raw = self.word(event, path).raw
        if not event.style and raw != "<<" and not isinstance(meaning(raw), str):
            self.report(event, path, f"the key {raw or 'nothing'}", "text as key", f'put it in quotes: "{raw}"')
        return raw

    def merge(self, event: yaml.Event, path: Path, value: Node) -> list[Fields]:
        """What `<<` brings in, in order: an earlier one wins, and keys written out win over all."""
        candidates = value.items if isinstance(value, Items) else (value,)
        sources = [source for source in candidates if isinstance(source, Fields)]
        if len(sources) != len(candidates):
            self.report(
                event, path, "<< with something that is no mapping", "an alias of a mapping", "write the keys out"
            )
        self.count(event, path, sum(source.weight for source in sources))
        return sources

    def report(self, event: yaml.Event, path: Path, found: str, allowed: str, remedy: str) -> None:
        self.problems.append(SpecProblem.of(path, _line(event), found, allowed, remedy))


def _line(event: yaml.Event) -> int:
    return int(event.start_mark.line) + 1 if event.start_mark else 1


def _stop(event: yaml.Event, path: Path, found: str, allowed: str, remedy: str) -> NoTreeError:
    return NoTreeError(SpecProblem.of(path, _line(event), found, allowed, remedy))


def _nothing_written(line: int) -> SpecProblem:
    return SpecProblem.of((), line, "nothing", "a mapping of fields", "start from examples/minimal/cluster.yaml")


def _syntax_problem(error: yaml.YAMLError, text: str) -> SpecProblem:
    """What PyYAML says in its own words, with the three mistakes people make most explained."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        # libyaml's binding gives the code, PyYAML's own parser the character.
        code = error.character if isinstance(error.character, int) else ord(str(error.character)[:1] or " ")
        found = f"the character U+{code:04X}"
        return SpecProblem.of((), line, found, "printable text", "remove it, or write it as an escape in double quotes")
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = int(mark.line) + 1 if mark else 1
    source = _source(text, line)
    indentation = source[: len(source) - len(source.lstrip())]
    if "\t" in indentation or (mark and source[mark.column : mark.column + 1] == "\t"):
        return SpecProblem.of((), line, "a tab", "spaces for indentation", "replace the tab by spaces")
    if _is_template(text, line):
        return _not_rendered(line)
    problem = getattr(error, "problem", None) or "text that is not YAML"
    context = getattr(error, "context", None)
    found = f"{context}: {problem}" if context else str(problem)
    return SpecProblem.of((), line, found, "YAML", "check indentation, quotes and colons around this line")


def _source(text: str, line: int) -> str:
    return [*text.split("\n"), ""][line - 1]


def _is_template(text: str, line: int) -> bool:
    return re.search(r"\{\{|\{%", _source(text, line)) is not None


def _not_rendered(line: int) -> SpecProblem:
    remedy = "render it first: coordinator template --values VALUES.json FILE.yaml.j2"
    return SpecProblem.of((), line, "a Jinja2 template", "YAML", remedy)
