"""Errors that say what the caller must do. The class decides the exit code, the `code` is for lookup tables.

| class     | exit | meaning                                                              |
|-----------|------|----------------------------------------------------------------------|
| Fatal     | 1    | failed; trying again changes nothing                                 |
| Invalid   | 2    | bad input or usage; nothing was written                              |
| Refused   | 3    | refused for safety: trust, quorum, format                            |
| Retryable | 4    | not yet; trying again later is right                                 |
"""

from dataclasses import dataclass
from typing import ClassVar


class BootwrightError(Exception):
    """The root of every error that bootwright raises on purpose.

    `code` is stable and kebab-case (docs/troubleshooting.md lists them), `message` names the object, what was found
    and what is allowed, `remedy` is the next thing a person should do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message


class Fatal(BootwrightError):
    exit_code = 1


class Refused(BootwrightError):
    exit_code = 3


class Retryable(BootwrightError):
    """Not yet. `after` is the least number of seconds before another try makes sense; None where whoever asks may
    find his own pace: what is over in a moment, or what may be over at any time.
    """

    exit_code = 4

    def __init__(self, code: str, message: str, *, remedy: str = "", after: float | None = None) -> None:
        super().__init__(code, message, remedy=remedy)
        self.after = after


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with an input: where, what was found, what is allowed."""

    path: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line is not None else ""
        return f"{where}{self.path}: {self.message}" if self.path else f"{where}{self.message}"


class Invalid(BootwrightError):
    """Bad input. Carries every problem at once, so that nobody fixes them one by one."""

    exit_code = 2

    def __init__(self, code: str, message: str, *, remedy: str = "", problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(code, message, remedy=remedy)
        self.problems = problems

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"  {problem}" for problem in self.problems)])
