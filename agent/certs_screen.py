"""The screen of `agent certs`."""

from datetime import UTC, datetime

from agent.certificates import Inventory
from agent.screen import Part, line, new_console, table
from agent.status_screen import print_expiring
from units.expiry import AUTHORITY_DAYS, LOW_LIFE, Life, expiring, life_left, short_path
from units.status import CertificateState

_LEAF_TITLES = ("certificate", "subject", "issuer", "expires", "renews", "names")
_AUTHORITY_TITLES = ("trusts", "authority", "expires")


def print_certificates(inventory: Inventory, now: datetime) -> None:
    console = new_console()
    leaves = [one for one in inventory.certificates if not one.authority]
    authorities = [one for one in inventory.certificates if one.authority]
    if not leaves and not authorities:
        console.print("no certificate on this machine: `agent boot` issues or asks for them")
    if leaves:
        console.print(table(_LEAF_TITLES, [_leaf_row(one, now) for one in leaves]))
    if authorities:
        console.print()
        console.print(table(_AUTHORITY_TITLES, [_authority_row(one, now) for one in authorities]))
    for path, problem in inventory.unreadable:
        console.print()
        console.print(line((path, "bold red"), f" cannot be read: {problem}"))
        console.print("  -> agent diff says what the plan will do about it", style="bold")
    print_expiring(console, expiring(inventory.certificates, now))


def _leaf_row(certificate: CertificateState, now: datetime) -> tuple[Part, ...]:
    left = life_left(certificate, now)
    due = bool(certificate.renews) and datetime.fromisoformat(certificate.renews) <= now
    colour = "red" if left.part < LOW_LIFE else "yellow" if due else "green"
    return (
        short_path(certificate.path),
        certificate.subject,
        certificate.issuer,
        _end(certificate, left, colour),
        ("due", colour) if due else _day(certificate.renews) or "-",
        " ".join(name.partition(":")[2] for name in certificate.alternative_names) or "-",
    )


def _authority_row(certificate: CertificateState, now: datetime) -> tuple[Part, ...]:
    left = life_left(certificate, now)
    colour = "red" if left.days < AUTHORITY_DAYS else "yellow" if left.part < LOW_LIFE else "green"
    return (short_path(certificate.path), certificate.subject, _end(certificate, left, colour))


def _end(certificate: CertificateState, left: Life, colour: str) -> Part:
    return f"{_day(certificate.not_after)} ({left.days} d)", colour


def _day(text: str) -> str:
    """With its time when it is near: a worker's certificates live three days."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M") if text else ""
