"""Which gestures of a classifier are named: networks that have seen only gestures see them everywhere.

A gesture that is not named is published without a label, at the same time and in the same length. What is named depends
on published windows alone, and on whether they had few events (`AnonymizedWindow.quiet`), if a minimum is set.
"""

from __future__ import annotations


class GestureFilter:
    """Names a gesture once the same one was recognised with enough certainty in several windows in a row.

    Args:
        min_probability: that a label needs.
        hold: how many windows in a row need the same label; with 1, each is named at once.

    >>> keep = GestureFilter(min_probability=0.5, hold=2)
    >>> [keep.passes("0", best, 0.9, quiet=False) for best in (3, 3, 4, 4, 4)]
    [False, True, False, True, True]
    >>> keep.passes("0", 4, 0.4, quiet=False), keep.passes("0", 4, 0.9, quiet=False)
    (False, False)
    """

    def __init__(self, min_probability: float = 0.0, hold: int = 1) -> None:
        self._min_probability = min_probability
        self._hold = hold
        self._last: dict[str, tuple[int, int]] = {}  # by stream: the label, and in how many windows in a row it was

    def passes(self, stream: str, best: int, probability: float, *, quiet: bool) -> bool:
        """Return whether the gesture of the next published window of a stream is named.

        Args:
            stream: name of the source.
            best: number of the most probable label.
            probability: probability of that label.
            quiet: whether the window had too few events for a gesture.
        """
        if quiet or probability < self._min_probability:
            self._last.pop(stream, None)
            return False
        label, times = self._last.get(stream, (best, 0))
        times = times + 1 if label == best else 1
        self._last[stream] = best, times
        return times >= self._hold
