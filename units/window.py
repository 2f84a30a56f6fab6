"""The health window: after a change, whatever was well before must be well again, and stay so for a while."""

from collections.abc import Callable, Collection

from units.health import Check, Illness, illnesses, required
from units.host import Host

HEALTH_SECONDS = 180.0  # from the last change until it must be well
STEADY_SECONDS = 10.0  # and it must stay well for so long: a crash loop looks well in between
_PAUSE = 2.0


def wait_until_well(
    checks: tuple[Check, ...], well_before: Collection[str], host: Host, told: Callable[[tuple[Illness, ...]], str]
) -> tuple[Illness, ...]:
    """Empty once everything required was well for STEADY_SECONDS; else who is ill at the end."""
    wanted = required(checks, frozenset(well_before))
    clock = host.clock
    deadline = clock.monotonic() + HEALTH_SECONDS
    steady_since: float | None = None
    while True:
        ill = illnesses(wanted, host)
        now = clock.monotonic()
        steady_since = None if ill else now if steady_since is None else steady_since
        if steady_since is not None and now - steady_since >= STEADY_SECONDS:
            return ()
        if now >= deadline:
            return ill or (Illness("node", f"not well for {STEADY_SECONDS:.0f} s in a row"),)
        clock.wait(_PAUSE, f"waiting for the new manifest to work: {told(ill) if ill else 'well so far'}")
