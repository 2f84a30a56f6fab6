"""cluster.yaml -> ClusterSpec: the story, and the limits of the file itself."""

from pathlib import Path as FilePath

from coordinator.spec.cluster import ClusterSpec
from coordinator.spec.decoding import decode
from coordinator.spec.defaults import fill
from coordinator.spec.problems import SpecInvalid, SpecProblem
from coordinator.spec.rules import broken_rules
from coordinator.spec.yaml_tree import NoTreeError, read_yaml

LARGEST_SPEC = 1_048_576  # bytes; 500 instance groups take about a quarter of it


def load_spec(source: FilePath | str) -> ClusterSpec:
    """Read, decode, complete and check a spec: a path to a file, or (a str) its text.

    Raises SpecInvalid, which lists every problem with its path, line, what was found, what is allowed and a remedy.
    """
    subject = str(source) if isinstance(source, FilePath) else "the spec"
    try:
        root, doubtful = read_yaml(read_text(source))
    except NoTreeError as stop:
        raise SpecInvalid(subject, [stop.problem]) from stop
    decoded = decode(root, frozenset(problem.at for problem in doubtful))
    problems = [*doubtful, *decoded.problems]
    if decoded.spec is not None:
        spec = fill(decoded.spec)
        problems += broken_rules(spec, root, decoded.replaced)
        if not problems:
            return spec
    raise SpecInvalid(subject, problems)


def read_text(source: FilePath | str) -> str:
    """The text of a file, or the text itself. Raises SpecInvalid for what is unreadable, too large or not UTF-8."""
    if isinstance(source, str):
        raw = source.encode("utf-8", errors="surrogatepass")
        subject = "the spec"
    else:
        subject = str(source)
        try:
            with source.open("rb") as file:
                raw = file.read(LARGEST_SPEC + 1)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            problem = SpecProblem.of((), None, reason.lower(), "a readable file", "check the path given with -f")
            raise SpecInvalid(subject, [problem]) from error
    if len(raw) > LARGEST_SPEC:
        problem = SpecProblem.of(
            (), None, f"more than {LARGEST_SPEC} bytes", "a smaller file", "is this the right file?"
        )
        raise SpecInvalid(subject, [problem])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        problem = SpecProblem.of(
            (), line, f"the byte 0x{raw[error.start]:02X}", "text in UTF-8", "save the file as UTF-8"
        )
        raise SpecInvalid(subject, [problem]) from error
