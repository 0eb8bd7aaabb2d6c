"""Percentiles of delays in bounded memory, however long the pipeline runs: counts in buckets that grow by 2 %."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np
from pydantic import BaseModel, ConfigDict

GROWTH = 1.02
SMALLEST_MS = 1e-3
BUCKETS = 1200  # up to about 20,000 seconds
BOUNDS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""Inclusive upper bounds of the coarse buckets that a stage reports, in milliseconds."""


class Latency:
    """Collects delays; a percentile is exact to 2 %."""

    def __init__(self) -> None:
        self._counts = np.zeros(BUCKETS, np.int64)

    def add(self, delay_ms: float) -> None:
        """Count one delay, in milliseconds."""
        bucket = math.log(max(delay_ms, SMALLEST_MS) / SMALLEST_MS, GROWTH)
        self._counts[min(int(bucket), BUCKETS - 1)] += 1

    def percentile(self, share: float) -> float | None:
        """Return the delay in milliseconds that a `share` (0 to 1) of all delays stay below; None without delays."""
        total = int(self._counts.sum())
        if total == 0:
            return None
        bucket = int(np.searchsorted(np.cumsum(self._counts), share * total))
        return float(SMALLEST_MS * GROWTH ** (min(bucket, BUCKETS - 1) + 0.5))

    def take(self) -> tuple[float | None, float | None]:
        """Return p50 and p99 since the last call, and reset."""
        result = self.percentile(0.5), self.percentile(0.99)
        self._counts[:] = 0
        return result


class Delays(BaseModel):
    """Delays since the start, in coarse buckets.

    Attributes:
        counts: delays per bucket, each up to one of `BOUNDS_MS`; the last bucket holds all longer ones.
        sum_ms: the sum of all delays.
    """

    model_config = ConfigDict(extra="forbid")

    counts: tuple[int, ...]
    sum_ms: float


class CoarseDelays:
    """Collects delays in coarse buckets, for a report."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_MS) + 1)
        self._sum_ms = 0.0

    def add(self, delay_ms: float) -> None:
        """Count one delay, in milliseconds."""
        self._counts[bisect_left(BOUNDS_MS, delay_ms)] += 1
        self._sum_ms += delay_ms

    def report(self) -> Delays:
        """All delays so far."""
        return Delays(counts=tuple(self._counts), sum_ms=self._sum_ms)
