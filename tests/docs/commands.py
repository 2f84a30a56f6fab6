"""Which commands there are, and which ones a text names."""

import re
from collections.abc import Iterator

from agent.cli import COMMANDS

_NAMED = re.compile(r"(?<![-\w./:'])(agent|coordinator) ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")
# After "agent" or "coordinator" in prose. A misspelt command is not among them.
_PROSE = frozenset(
    re.findall(
        r"\w+",
        """
        and applied apply are as at before began can cannot did does finds from grows had has here holds in is it keeps
        knows looks made makes may must never next of on only or puts reads run runs said says starts takes that then
        there this tries version versions was which will with would writes wrote
        """,
    )
)


def agent_commands() -> dict[str, frozenset[str]]:
    """Name -> its own commands, none for most."""
    import argparse
    import importlib

    found = {}
    for name, command in COMMANDS.items():
        parser = argparse.ArgumentParser(prog=name)
        importlib.import_module(command.module).add_arguments(parser)
        choices = [action.choices for action in parser._actions if isinstance(action.choices, dict | tuple | list)]
        found[name] = frozenset(str(choice) for group in choices for choice in group)
    return found


def coordinator_commands() -> dict[str, frozenset[str]]:
    import typer

    from coordinator.cli import app

    root = typer.main.get_command(app)
    return {
        name: frozenset(getattr(command, "commands", {}))
        for name, command in root.commands.items()  # type: ignore[attr-defined]
    }


def unknown_commands(text: str) -> Iterator[str]:
    """Every command that a text names and nobody has."""
    known = {"agent": agent_commands(), "coordinator": coordinator_commands()}
    for program, name, sub in _NAMED.findall(text):
        commands = known[program]
        if name in commands:
            if commands[name] and sub and sub not in commands[name] and sub not in _PROSE:
                yield f"{program} {name} {sub}"
        elif name not in _PROSE:
            yield f"{program} {name}"
