"""One file of modules instead of five hundred: what it takes over, and when it steps aside."""

import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.modules import LENGTH

CHECKOUT = Path(__file__).parents[2]
MAKE = """
import sys; from pathlib import Path
import json, units.render
from agent.make_modules import write_modules
write_modules(Path(sys.argv[1]))
"""
USE = """
import sys
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from agent.modules import Modules, use_modules
used = use_modules(sys.argv[1])
import json, units.render
kinds = {name: type(sys.modules[name].__spec__.loader).__name__ for name in ("json", "jinja2")}
by = [name for name in kinds if kinds[name] == "_Loader"]
own = [name for name in opened if name.endswith((".py", ".pyc")) and "agent" not in name]
print(json.dumps([used, by, own, units.render.jinja2.__file__, units.render.jinja2.__path__]))
"""


def run(program: str, *arguments: str) -> list[object]:
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True)
    if not done.stdout:
        return []
    import json

    answer: list[object] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("modules") / "agent.modules"
    run(MAKE, str(path))
    return path


def test_modules_come_out_of_the_file_and_their_own_files_stay_closed(made: Path) -> None:
    used, by, own, *_ = run(USE, str(made))
    assert used is True
    assert by == ["json", "jinja2"]  # of the standard library, and of the venv
    assert not [name for name in own if "/json/" in name or "jinja2" in name]


def test_a_module_knows_its_own_file_and_what_lies_beside_it(made: Path) -> None:
    *_, file, paths = run(USE, str(made))
    plain = run(USE, "/nowhere")
    assert file == plain[3]
    assert paths == plain[4]


def test_without_the_file_everything_is_imported_as_always() -> None:
    assert run(USE, "/nowhere")[:2] == [False, []]


def another_interpreter(data: bytes) -> bytes:
    size = int.from_bytes(data[:LENGTH], "little")
    (version, library, site), first, index = marshal.loads(data[LENGTH : LENGTH + size])
    head = marshal.dumps(((f"{version} rebuilt", library, site), first, index))
    return len(head).to_bytes(LENGTH, "little") + head + data[LENGTH + size :]


def upgraded_packages(data: bytes) -> bytes:
    size = int.from_bytes(data[:LENGTH], "little")
    (version, library, site), first, index = marshal.loads(data[LENGTH : LENGTH + size])
    head = marshal.dumps(((version, library, site - 1), first, index))
    return len(head).to_bytes(LENGTH, "little") + head + data[LENGTH + size :]


@pytest.mark.parametrize(
    "damage",
    [
        another_interpreter,
        upgraded_packages,
        lambda _: b"",
        lambda data: data[:1000],
        lambda data: b"\xff" * LENGTH + data[LENGTH:],
    ],
    ids=["another build of Python", "packages installed since", "empty", "cut in the index", "no index"],
)
def test_a_file_of_something_else_does_not_count(made: Path, tmp_path: Path, damage) -> None:
    path = tmp_path / "agent.modules"
    path.write_bytes(damage(made.read_bytes()))
    assert run(USE, str(path))[:2] == [False, []]


def test_of_a_file_that_lost_its_end_the_rest_is_imported_as_always(made: Path, tmp_path: Path) -> None:
    data = made.read_bytes()
    path = tmp_path / "agent.modules"
    path.write_bytes(data[: LENGTH + int.from_bytes(data[:LENGTH], "little") + 10_000])
    assert run(USE, str(path))[0] is True
