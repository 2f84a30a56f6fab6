"""Faults that people and tests switch on: a call refused or slowed, an attachment stuck, IMDS misbehaving."""

import itertools
import threading
import time
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase

from tests.lab.region.balancer import LISTENERS
from tests.lab.region.calls import Call
from tests.lab.region.principals import Principal

ABSENT = ("hang", "reset")
PHASES = ("attaching", "detaching")


@dataclass(frozen=True, slots=True)
class ApiFault:
    """Matches calls by shell patterns; an empty pattern matches everything. With an empty code it only delays.

    prefix matches anywhere behind the bucket name in an object's key, so that "secrets/" needs no cluster name.
    `times`: how many calls it spoils before it clears itself; 0 means until it is cleared.
    """

    code: str = ""
    message: str = "injected by the lab"
    status: int = 0
    service: str = ""
    action: str = ""
    role: str = ""
    instance: str = ""
    bucket: str = ""
    prefix: str = ""
    delay: float = 0.0
    times: int = 0

    def matches(self, call: Call, principal: Principal) -> bool:
        facts = (
            (self.service, call.service),
            (self.action, call.action),
            (self.role, principal.role),
            (self.instance, principal.session),
            (self.bucket, call.bucket),
        )
        in_prefix = not self.prefix or f"/{self.prefix}" in f"/{call.key}"
        return in_prefix and all(not wanted or fnmatchcase(found, wanted) for wanted, found in facts)

    @property
    def http_status(self) -> int:
        known = {
            "AccessDenied": 403,
            "UnauthorizedOperation": 403,
            "NoSuchBucket": 404,
            "NoSuchKey": 404,
            "SlowDown": 503,
            "RequestLimitExceeded": 503,
            "Unavailable": 503,
            "InternalError": 500,
        }
        return self.status or known.get(self.code, 400)


@dataclass(frozen=True, slots=True)
class ImdsFault:
    """What one instance's IMDS does wrong.

    absent: "hang" (never answers), "reset" (closes at once) or "" (answers). late: seconds before each answer.
    credentials_404_until: monotonic time until which role credentials are 404 (as after a fresh profile).
    skew: seconds that AWS's clock, as this instance sees it, runs ahead of the instance's own.
    """

    absent: str = ""
    late: float = 0.0
    credentials_404_until: float = 0.0
    skew: float = 0.0


@dataclass
class Faults:
    """All faults that are on. Thread-safe."""

    _api: dict[int, ApiFault] = field(default_factory=dict)
    _imds: dict[str, ImdsFault] = field(default_factory=dict)
    _stuck: set[tuple[str, str]] = field(default_factory=set)
    _blocked: dict[str, str] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, fault: ApiFault) -> int:
        with self._lock:
            number = next(self._numbers)
            self._api[number] = fault
            return number

    def take(self, call: Call, principal: Principal) -> ApiFault | None:
        """The first fault that spoils this call; counts down its `times`."""
        with self._lock:
            for number, fault in self._api.items():
                if fault.matches(call, principal):
                    if fault.times == 1:
                        del self._api[number]
                    elif fault.times > 1:
                        self._api[number] = replace(fault, times=fault.times - 1)
                    return fault
        return None

    def set_imds(
        self,
        instance_id: str,
        *,
        absent: str = "",
        late: float = 0.0,
        credentials_404: float = 0.0,
        skew: float = 0.0,
    ) -> None:
        """credentials_404: seconds from now."""
        if absent and absent not in ABSENT:
            raise ValueError(f"absent is {absent!r}; allowed: {', '.join(ABSENT)}")
        until = time.monotonic() + credentials_404 if credentials_404 else 0.0
        with self._lock:
            self._imds[instance_id] = ImdsFault(absent, late, until, skew)

    def imds(self, instance_id: str) -> ImdsFault:
        with self._lock:
            return self._imds.get(instance_id, ImdsFault())

    def stick(self, volume_id: str, phase: str) -> None:
        """Leave this volume's attachment in `attaching` or `detaching` until the fault is cleared."""
        if phase not in PHASES:
            raise ValueError(f"phase is {phase!r}; allowed: {', '.join(PHASES)}")
        with self._lock:
            self._stuck.add((volume_id, phase))

    def is_stuck(self, volume_id: str, phase: str) -> bool:
        with self._lock:
            return (volume_id, phase) in self._stuck

    def block(self, listener: str, how: str = "reset") -> None:
        """The load balancer's "api" or "issuer" answers nobody: "reset" as a closed port, "hang" as a firewall."""
        if listener not in LISTENERS or how not in ABSENT:
            raise ValueError(f"{listener!r}, {how!r}; allowed: {', '.join(LISTENERS)} and {', '.join(ABSENT)}")
        with self._lock:
            self._blocked[listener] = how

    def blocked(self) -> dict[str, str]:
        with self._lock:
            return dict(self._blocked)

    def clear(self, name: str = "") -> None:
        """name: a fault's number, an instance id, a volume id, a listener; empty for all of them."""
        with self._lock:
            if not name:
                self._api.clear()
                self._imds.clear()
                self._stuck.clear()
                self._blocked.clear()
            self._api.pop(int(name) if name.isdecimal() else -1, None)
            self._imds.pop(name, None)
            self._blocked.pop(name, None)
            self._stuck -= {(name, phase) for phase in PHASES}

    def listing(self) -> list[dict[str, str]]:
        with self._lock:
            rows = [{"name": str(number), "what": _words(fault)} for number, fault in self._api.items()]
            rows += [{"name": name, "what": "IMDS " + _words(fault)} for name, fault in self._imds.items()]
            rows += [{"name": name, "what": f"load balancer: {how}"} for name, how in self._blocked.items()]
            return rows + [{"name": name, "what": f"stuck {phase}"} for name, phase in sorted(self._stuck)]


def _words(fault: ApiFault | ImdsFault) -> str:
    """What differs from no fault at all."""
    quiet = type(fault)()
    set_fields = {f.name: getattr(fault, f.name) for f in fields(fault)}
    return ", ".join(f"{name}={value}" for name, value in set_fields.items() if value != getattr(quiet, name))
