"""What no part of the agent expected, as an error with a code: told wherever the expected ones are."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from units.errors import BootwrightError, Fatal

if TYPE_CHECKING:
    from agent.reporter import Reporter


def defect(error: Exception) -> Fatal:
    return Fatal(
        "defect",
        f"an unforeseen error, {type(error).__name__}: {error}",
        remedy="this is a defect of bootwright: report it, with `agent support-bundle`",
    )


@contextmanager
def told_as_defect(reporter: "Reporter") -> Iterator[None]:
    """The status says it, on the node and in the store, before the command ends of it."""
    try:
        yield
    except BootwrightError:
        raise
    except Exception as error:
        reporter.failed(defect(error))
        raise
