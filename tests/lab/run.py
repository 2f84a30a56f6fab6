"""Commands on the host: quiet when they work, with everything they said when they do not."""

import os
import subprocess
from collections.abc import Mapping, Sequence


class CommandFailed(RuntimeError):
    """A host command failed; the message holds the command and the end of its output."""


def run(
    argv: Sequence[str], *, timeout: float = 900, env: Mapping[str, str] | None = None, cwd: str | None = None
) -> str:
    """The command's standard output. Raises CommandFailed."""
    try:
        done = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=None if env is None else {**os.environ, **env},
            cwd=cwd,
        )
    except FileNotFoundError as error:
        raise CommandFailed(f"{argv[0]} is not installed; tests/lab/packages.txt lists what the lab needs") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(argv)}: no end after {timeout:.0f} s") from error
    if done.returncode:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise CommandFailed(f"{' '.join(argv)}: exit code {done.returncode}\n{said}")
    return done.stdout
