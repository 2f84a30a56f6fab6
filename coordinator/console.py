"""What a person sees: data on standard output, everything else on standard error. Nothing here decides."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from units.errors import BootwrightError, Invalid
from units.printable import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPED_WIDTH = 200


def plain(text: str, style: str = "") -> "Text":
    """Text in which brackets are no markup."""
    from rich.text import Text

    return Text(printable(text), style=style)


def output() -> "Console":
    from rich.console import Console

    # Into a file or a pipe, rich would fold tables at 80 columns.
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    return Console(highlight=False, markup=False, emoji=False, width=width)


def notes() -> "Console":
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


def print_json(document: Any) -> None:
    sys.stdout.write(json.dumps(document, indent=1, default=str) + "\n")


def say(text: str) -> None:
    """A step that is done."""
    notes().print(plain("  done  ", "green"), plain(text), sep="", soft_wrap=True)


def note(text: str) -> None:
    notes().print(plain(text), soft_wrap=True)


def warn(text: str) -> None:
    notes().print(plain("warning: ", "bold yellow"), plain(text), sep="", soft_wrap=True)


def show_error(error: BootwrightError) -> None:
    """Once, at the top: what was found, what is allowed, what to do."""
    console = notes()
    console.print(plain("error: ", "bold red"), plain(error.message), sep="", soft_wrap=True)
    for problem in error.problems if isinstance(error, Invalid) else ():
        console.print(plain(f"  {problem}"), soft_wrap=True)
    if error.remedy:
        console.print(plain("  what to do: ", "bold"), plain(error.remedy), sep="", soft_wrap=True)
    console.print(plain(f"  ({error.code})", "dim"))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    from rich import box
    from rich.table import Table

    shown = plain(title, "table.title") if title else None
    table = Table(box=box.SIMPLE_HEAD, title=shown, title_justify="left", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    output().print(table)


@contextmanager
def upload_progress() -> Iterator[Callable[[Path, int], Callable[[int], None]]]:
    """A bar per file, with speed and time left; without a terminal, nothing."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = notes()
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:

        def watch(path: Path, size: int) -> Callable[[int], None]:
            task = progress.add_task(printable(path.name), total=size)
            return lambda written: progress.advance(task, written)

        yield watch
