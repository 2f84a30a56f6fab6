"""A stand-in for the machine's tools: it plays recorded answers and keeps what it was asked."""

from collections.abc import Callable, Sequence

from agent.linux.run import Completed
from units.errors import Fatal, Retryable

Answer = str | tuple[int, str, str] | Fatal | Retryable


class RunDouble:
    """`answer` gets the arguments and returns stdout, or (exit code, stdout, stderr), or an error to raise."""

    def __init__(self, answer: Callable[[Sequence[str]], Answer]) -> None:
        self._answer = answer
        self.asked: list[tuple[str, ...]] = []

    def __call__(
        self, arguments: Sequence[str], *, timeout: float, stdin: bytes = b"", allowed: tuple[int, ...] | None = (0,)
    ) -> Completed:
        assert timeout > 0
        self.asked.append(tuple(arguments))
        answer = self._answer(arguments)
        if isinstance(answer, Fatal | Retryable):
            raise answer
        exit_code, stdout, stderr = (0, answer, "") if isinstance(answer, str) else answer
        if allowed is not None and exit_code not in allowed:
            raise Fatal("tool-failed", f"`{' '.join(arguments)}` ended with {exit_code}: {stderr}")
        return Completed(tuple(arguments), exit_code, stdout.encode(), stderr.encode())
