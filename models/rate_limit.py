"""How often the published word of a stand-in may change: the public half's own limit, whatever the private half sends.

The limit needs nothing but the words that were published before, so what leaves is bounded even if the network, its
weights and its decision rule are malicious.
"""

from __future__ import annotations

import math
from collections import deque

SECOND_US = 1_000_000


def bits_per_second(words: int, changes_per_second: int, steps_per_second: int) -> float:
    """Return the most bits that the words of any second can carry, rounded up to 0.01.

    Given the word before it, a second of S steps with c changes is one of C(S, c) * (K - 1)^c, and c is at most N:
    log2 of their sum over c.

    Args:
        words: K, the words of the book.
        changes_per_second: N, the most changes in any second.
        steps_per_second: S, the published windows in a second.

    >>> bits_per_second(13, 1, 10)  # log2(1 + 10 * 12)
    6.92
    >>> bits_per_second(13, 10, 10)  # no limit: 10 * log2(13)
    37.01
    """
    return bits_by_changes(words, changes_per_second, steps_per_second)[-1]


def steps_per_second(step_us: int) -> int:
    """Return how many published windows of this length, in microseconds, may begin within a second.

    >>> steps_per_second(100_000), steps_per_second(300_000)
    (10, 4)
    """
    return -(-SECOND_US // step_us)


def bits_by_changes(words: int, most: int, steps_per_second: int) -> list[float]:
    """Return the bits per second of 0, 1, 2 ... changes in any second, up to `most`, or to the steps if they are fewer.

    >>> bits_by_changes(13, 2, 10)
    [0.0, 6.92, 12.69]
    """
    sequences = term = 1
    bits = [0.0]
    for changes in range(1, min(most, steps_per_second) + 1):
        term = term * (steps_per_second - changes + 1) * (words - 1) // changes  # C(S, c) (K - 1)^c
        sequences += term
        bits.append(math.ceil(math.log2(sequences) * 100) / 100)
    return bits


class WordLimiter:
    """Lets the word of one stream change at most N times in any second; otherwise, the earlier word stays.

    The first word of a stream counts as a change. A limiter that continues after a restart does not know when the word
    changed last: it repeats the last word for a second.

    Args:
        changes_per_second: N.
        last: the word that was published last; None for a new stream.

    >>> limiter = WordLimiter(changes_per_second=2)
    >>> [limiter.limit(word, t_us) for word, t_us in ((5, 0), (7, 100_000), (5, 200_000), (5, 1_000_000))]
    [5, 7, 7, 5]
    """

    def __init__(self, changes_per_second: int, last: int | None = None) -> None:
        self._most = changes_per_second
        self._last = last
        self._continues = last is not None
        self._changes_us: deque[int] = deque(maxlen=changes_per_second)

    def limit(self, word: int, t_us: int) -> int:
        """Return the word to publish: the requested one, or the one before.

        Args:
            word: what the private half requests.
            t_us: start of the published window; each call needs a later time than the call before.
        """
        if self._continues:
            self._continues = False
            self._changes_us.extend([t_us] * self._most)
        if word != self._last and self._may_change(t_us):
            self._last = word
            self._changes_us.append(t_us)
        assert self._last is not None  # the first word is a change, and always allowed
        return self._last

    def _may_change(self, t_us: int) -> bool:
        return len(self._changes_us) < self._most or t_us - self._changes_us[0] >= SECOND_US
