"""What systemd and a person at `systemctl status` hear from a running agent (sd_notify)."""

import logging

logger = logging.getLogger(__name__)

_MOST_CHARACTERS = 200


class Notifier:
    """Silent where nobody listens: without NOTIFY_SOCKET every call does nothing."""

    def status(self, text: str) -> None:
        """One line for `systemctl status`; cut to 200 characters."""
        _notify(f"STATUS={_one_line(text)}")

    def ready(self, text: str = "") -> None:
        _notify(f"READY=1\nSTATUS={_one_line(text)}" if text else "READY=1")

    def stopping(self) -> None:
        _notify("STOPPING=1")

    def extend_timeout(self, seconds: float) -> None:
        """Makes systemd wait at least this much longer from now before it calls the start failed."""
        _notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")


def _one_line(text: str) -> str:
    """A line break would start another field: a message from outside must not say READY=1."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: 5 * _MOST_CHARACTERS])
    return " ".join(shown.split())[:_MOST_CHARACTERS]


def _notify(message: str) -> None:
    from systemd import daemon

    try:
        daemon.notify(message)
    except OSError as error:  # the socket of a service manager that is gone: nothing a boot should fail for
        logger.debug("sd_notify: %s", error)
