"""Rate limits: token buckets by principal or address, in the memory of one process."""

from __future__ import annotations

from collections import OrderedDict

#: Buckets kept; the one that was used longest ago gives way.
MOST_BUCKETS = 20_000


class Buckets:
    """`rate` tokens a second come into each bucket, up to `burst`. A rate of 0 means no limit."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str, now: float, count: float = 1.0) -> float:
        """Take tokens. Returns 0, or the seconds to wait where there are not enough; nothing is taken then.
        `now` in seconds of a monotonic clock."""
        if not self.rate:
            return 0.0
        tokens, at = self._buckets.pop(key, (self.burst, now))
        tokens = min(self.burst, tokens + (now - at) * self.rate)
        short = count - tokens
        self._buckets[key] = (tokens - count if short <= 0 else tokens, now)
        if len(self._buckets) > MOST_BUCKETS:
            self._buckets.popitem(last=False)
        return short / self.rate if short > 0 else 0.0

    def empty(self, key: str, now: float) -> float:
        """Seconds until there is one token; 0 where there is. Takes none."""
        if not self.rate or key not in self._buckets:
            return 0.0
        tokens, at = self._buckets[key]
        short = 1.0 - (tokens + (now - at) * self.rate)
        return short / self.rate if short > 0 else 0.0
