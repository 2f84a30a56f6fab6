"""What all screens of the agent are drawn with. It loads rich, and only when somebody looks.

No text is markup, ever: messages of AWS, names of files and what other machines say come with brackets of their own.
Colour goes by (text, style).
"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from units.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

Part = str | tuple[str, str]  # (text, style)


def new_console() -> "Console":
    from rich.console import Console

    # Without a terminal (ssh with a command, a log) nothing should be folded at 80 columns.
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 200)


def line(*parts: Part, style: str = "") -> "Text":
    from rich.text import Text

    shown = (part if isinstance(part, tuple) else (part, "") for part in parts)
    return Text.assemble(*((printable(text), own) for text, own in shown), style=style)


def coloured(text: str, *, good: bool) -> Part:
    return text, "green" if good else "red"


def table(titles: tuple[str, ...], rows: Sequence[tuple[Part, ...]]) -> "RenderableType":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(line(cell) for cell in row))
    return table
