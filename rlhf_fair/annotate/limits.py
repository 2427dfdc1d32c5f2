"""Rate limits as token buckets: a burst, then a steady rate, one bucket for each key."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable


class Buckets:
    """At most ``burst`` requests at once and ``rate`` per second after that, for each key.

    The buckets of at most ``most`` keys are kept; the one unused for longest goes first. Not for several threads.
    """

    def __init__(
        self, rate: float, burst: int, *, most: int = 10_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.rate, self.burst, self.most, self._clock = rate, burst, most, clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one; returns 0 where it was there, else the seconds until it will be (and nothing is taken)."""
        now = self._clock()
        level, since = self._buckets.pop(key, (float(self.burst), now))
        level = min(self.burst, level + (now - since) * self.rate)
        wait = 0.0 if level >= 1 else (1 - level) / self.rate
        self._buckets[key] = (level if wait else level - 1, now)
        if len(self._buckets) > self.most:
            self._buckets.popitem(last=False)
        return wait
