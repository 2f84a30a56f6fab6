"""Log records with fields: to the journal under systemd, to stderr for a person."""

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

IDENTIFIER = "bootwright"
_PREFIX = "BOOTWRIGHT_"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}

Send = Callable[..., Any]


class JournalHandler(logging.Handler):
    """Each `extra` of a record becomes a field: `extra={"resource": key}` is BOOTWRIGHT_RESOURCE in journalctl."""

    def __init__(self, send: Send | None = None) -> None:
        super().__init__()
        if send is None:
            from systemd import journal

            send = journal.send
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(
            self.format(record),
            PRIORITY=str(_PRIORITIES.get(record.levelno, 6)),
            SYSLOG_IDENTIFIER=IDENTIFIER,
            LOGGER=record.name,
            CODE_FILE=record.pathname,
            CODE_LINE=record.lineno,
            CODE_FUNC=record.funcName,
            **{_field(name): str(value) for name, value in _extras(record).items()},
        )


class LineFormatter(logging.Formatter):
    """`WARNING message (field=value ...)`: what a person reads in a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extras = " ".join(f"{name}={value}" for name, value in _extras(record).items())
        return f"{record.levelname.lower()}: {line}" + (f" ({extras})" if extras else "")


def install_handler(*, verbose: bool = False, environment: Mapping[str, str] = os.environ) -> logging.Handler:
    """The root logger's one handler, chosen by whether stderr is the journal (systemd.exec(5), JOURNAL_STREAM)."""
    handler: logging.Handler
    if _stderr_is_journal(environment.get("JOURNAL_STREAM", "")):
        handler = JournalHandler()
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(LineFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    return handler


def _stderr_is_journal(stream: str) -> bool:
    """The variable is inherited by children whose stderr goes elsewhere; device and inode tell."""
    found = os.fstat(2)
    return stream == f"{found.st_dev}:{found.st_ino}"


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _STANDARD}


def _field(name: str) -> str:
    """Journal field names: upper case, digits and underscores, at most 64 bytes (systemd.journal-fields(7))."""
    cleaned = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name.upper())
    return f"{_PREFIX}{cleaned}"[:64]
