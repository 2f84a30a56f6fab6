"""How often somebody may ask: a bucket of tokens for each key, and a bound on the number of keys (N19)."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field


@dataclass
class Rates:
    """`per_second` tokens flow in, `burst` fit. Thread-safe. The keys that were silent longest are forgotten first."""

    per_second: float
    burst: float
    most_keys: int = 4096
    monotonic: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[Hashable, tuple[float, float]] = field(default_factory=OrderedDict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def take(self, key: Hashable) -> float:
        """0 if it may go on, else the seconds until it may."""
        now = self.monotonic()
        with self._lock:
            level, since = self._buckets.pop(key, (self.burst, now))
            level = min(self.burst, level + (now - since) * self.per_second)
            allowed = level >= 1
            self._buckets[key] = (level - 1 if allowed else level, now)
            if len(self._buckets) > self.most_keys:
                self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - level) / self.per_second
