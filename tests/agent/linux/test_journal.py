"""Records with fields, for the journal and for a person."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.linux.journal import JournalHandler, LineFormatter, install_handler


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def sent(level: int, message: str, *arguments: object, **extra: object) -> tuple[str, dict[str, Any]]:
    seen: list[tuple[str, dict[str, Any]]] = []
    logger = logging.Logger("bootwright.test")  # noqa: LOG001 (no other handler may hear this one)
    logger.addHandler(JournalHandler(lambda text, **fields: seen.append((text, fields))))
    logger.log(level, message, *arguments, extra=extra)
    return seen[0]


def test_extras_become_fields_of_the_journal() -> None:
    text, fields = sent(logging.WARNING, "resource %s", "failed", resource="file:/etc/hosts", seconds=1.5)
    assert text == "resource failed"
    assert fields["BOOTWRIGHT_RESOURCE"] == "file:/etc/hosts"
    assert fields["BOOTWRIGHT_SECONDS"] == "1.5"
    assert (fields["PRIORITY"], fields["SYSLOG_IDENTIFIER"]) == ("4", "bootwright")
    assert fields["LOGGER"] == "bootwright.test"
    assert Path(fields["CODE_FILE"]).name == "test_journal.py"
    ours = [name for name in fields if name.startswith("BOOTWRIGHT_")]
    assert sorted(ours) == ["BOOTWRIGHT_RESOURCE", "BOOTWRIGHT_SECONDS"]


def test_levels_are_those_of_syslog() -> None:
    levels = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)
    assert [sent(level, "x")[1]["PRIORITY"] for level in levels] == ["7", "6", "4", "3", "2"]


def test_a_field_name_is_made_acceptable() -> None:
    _, fields = sent(logging.INFO, "x", **{"lowér-case": 1, "n" * 100: 2})
    assert "BOOTWRIGHT_LOW_R_CASE" in fields
    assert max(len(name) for name in fields) == 64


def test_an_exception_is_part_of_the_message() -> None:
    seen: list[str] = []
    logger = logging.Logger("bootwright.test")  # noqa: LOG001 (no other handler may hear this one)
    logger.addHandler(JournalHandler(lambda text, **_fields: seen.append(text)))
    logger.error("it failed", exc_info=ValueError("the reason"))
    assert seen[0].startswith("it failed\n")
    assert "ValueError: the reason" in seen[0]


def test_a_person_reads_lines_with_fields_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    handler = install_handler(environment={})
    logging.getLogger("bootwright").warning("not published", extra={"code": "s3-denied"})
    logging.getLogger("bootwright").debug("too much")
    assert not isinstance(handler, JournalHandler)
    assert capsys.readouterr().err == "warning: not published (code=s3-denied)\n"


def test_verbose_tells_more(capsys: pytest.CaptureFixture[str]) -> None:
    install_handler(verbose=True, environment={})
    logging.getLogger("bootwright").debug("details")
    assert capsys.readouterr().err == "debug: details\n"


def test_the_journal_is_chosen_only_when_stderr_really_is_the_journal(tmp_path: Path) -> None:
    """JOURNAL_STREAM is inherited by children whose stderr goes elsewhere."""
    kept = os.dup(2)
    log = os.open(tmp_path / "stderr", os.O_CREAT | os.O_WRONLY)
    try:
        os.dup2(log, 2)
        found = os.fstat(2)
        stream = f"{found.st_dev}:{found.st_ino}"
        chosen = install_handler(environment={"JOURNAL_STREAM": stream})
        elsewhere = install_handler(environment={"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + 1}"})
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(log)
    assert isinstance(chosen, JournalHandler)
    assert not isinstance(elsewhere, JournalHandler)
    assert isinstance(elsewhere.formatter, LineFormatter)


def test_installing_twice_does_not_log_twice(capsys: pytest.CaptureFixture[str]) -> None:
    install_handler(environment={})
    install_handler(environment={})
    logging.getLogger("bootwright").warning("once")
    assert capsys.readouterr().err == "warning: once\n"
    assert sys.stderr is not None
