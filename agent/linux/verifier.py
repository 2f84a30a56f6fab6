"""What containerd and systemd say of files that are not theirs yet: each is shown a copy, and nothing is started."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.linux.run import Run, run

_SECONDS = 30.0  # both take a tenth of one
_POSITION = re.compile(r"\((\d+), \d+\): ?")  # go-toml's: line, column


class LinuxVerifier:
    """Implements `units.verifier.Verifier`. A program that is missing or does not end is the error of `run`."""

    def __init__(self, run: Run = run) -> None:
        self._run = run

    def containerd_config(self, text: str) -> tuple[str, ...]:
        """`containerd config dump` refuses a value of another type; a key that it does not know it leaves out, so what
        is not in the dump is a complaint too.
        """
        import tempfile  # both only where a manifest changes something: a boot that finds all in place is spared them
        import tomllib

        with tempfile.TemporaryDirectory(prefix="bootwright-verify-") as folder:
            path = Path(folder) / "config.toml"
            path.write_text(text)
            ended = self._run(["containerd", "--config", str(path), "config", "dump"], timeout=_SECONDS, allowed=None)
        if ended.exit_code != 0:
            said = ended.complaint(1).removeprefix("containerd: ").replace(str(path), "config.toml")
            return (_POSITION.sub(r"line \1: ", said),)
        taken = tomllib.loads(ended.text)
        return tuple(_passed_over(text, tomllib.loads(text), taken))

    def units(self, texts: Mapping[str, str]) -> tuple[str, ...]:
        import tempfile

        with tempfile.TemporaryDirectory(prefix="bootwright-verify-") as folder:
            paths = [Path(folder) / name for name in texts]
            for path in paths:
                path.write_text(texts[path.name])
            command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no"]
            ended = self._run([*command, *map(str, paths)], timeout=_SECONDS, allowed=None)
        # Also with exit code 0: what systemd ignores it only tells.
        lines = (line.strip().replace(f"{folder}/", "") for line in ended.stderr.decode(errors="replace").splitlines())
        ours = tuple(line for line in lines if any(name in line for name in texts))
        if ended.exit_code != 0 and not ours:
            return (f"{', '.join(texts)}: {ended.complaint(2) or 'systemd-analyze gives no reason'}",)
        return ours


def _passed_over(text: str, wanted: dict[str, Any], taken: dict[str, Any]) -> Iterator[str]:
    """Keys of the file that containerd has not taken over. A file of another version is written anew by the dump."""
    if wanted.get("version") != taken.get("version"):
        return
    for place in _leaves(wanted):
        found: Any = taken
        for key in place:
            found = found.get(key) if isinstance(found, dict) else None
        if found is None:
            yield f"line {_line(text, place[-1])}: containerd knows no {'.'.join(place)}"


def _leaves(value: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, item in value.items():
        if isinstance(item, dict):
            yield from _leaves(item, (*above, key))
        else:
            yield (*above, key)


def _line(text: str, key: str) -> int:
    """Where a key is set first; 1 if that cannot be told."""
    found = re.search(rf"^\s*{re.escape(key)}\s*=", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 + text[found.start() : found.end()].count("\n") if found else 1
