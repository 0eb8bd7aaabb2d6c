"""The actions and people that a stream really shows; only the player knows them, and they stay inside the boundary."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a stream in which one person does one thing.

    Attributes:
        trial: its number in the stream, from 0; a trial that is played again gets a new one.
        label: the action.
        subject: the person; stays out of logs.
        start_us: start, in stream time.
        end_us: end (excluded); None while the action continues.
    """

    trial: int
    label: str
    subject: str = field(repr=False)
    start_us: int
    end_us: int | None = None


MAX_SPANS = 1_000  # far above what one window holds


class Truth:
    """The spans of a stream that is being played.

    A query drops the spans that end before its window. Without queries, the oldest spans are dropped.
    """

    def __init__(self) -> None:
        self._spans: deque[Span] = deque(maxlen=MAX_SPANS)
        self._trials = 0

    def begin(self, label: str, subject: str, start_us: int) -> None:
        """Start a span at `start_us`."""
        self._spans.append(Span(self._trials, label, subject, start_us))
        self._trials += 1

    def end(self, end_us: int) -> None:
        """End the latest span at `end_us`."""
        self._spans[-1] = replace(self._spans[-1], end_us=end_us)

    def of(self, start_us: int, end_us: int) -> Span | None:
        """Return the span that fills most of a window, the first of equals.

        None where no span covers the larger part. Query windows in the order of their starts, each after everything
        before its end has been played.
        """
        while self._spans and (over := self._spans[0].end_us) is not None and over <= start_us:
            self._spans.popleft()

        def overlap_us(span: Span) -> int:
            span_end_us = end_us if span.end_us is None else min(span.end_us, end_us)
            return max(0, span_end_us - max(span.start_us, start_us))

        longest = max(self._spans, key=overlap_us, default=None)
        idle_us = end_us - start_us - sum(map(overlap_us, self._spans))
        return longest if longest is not None and overlap_us(longest) >= max(idle_us, 1) else None
