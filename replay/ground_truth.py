"""What is really being done in a stream, and by whom: known to the player, and to nobody outside the boundary."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a stream in which one person does one thing.

    Attributes:
        trial: its number in the stream, from 0; a trial that is played again has a new one.
        label: what is done.
        subject: who does it; stays out of logs.
        start_us: start, time of the stream.
        end_us: end (excluded); None while it goes on.
    """

    trial: int
    label: str
    subject: str = field(repr=False)
    start_us: int
    end_us: int | None = None


MOST_SPANS = 1_000  # far above what one window holds


class Truth:
    """The spans of a stream that is being played.

    Spans that lie before a window that was asked for are forgotten, and so are the oldest ones where nobody asks.
    """

    def __init__(self) -> None:
        self._spans: deque[Span] = deque(maxlen=MOST_SPANS)
        self._trials = 0

    def begin(self, label: str, subject: str, start_us: int) -> None:
        """Note that from `start_us` on somebody does something."""
        self._spans.append(Span(self._trials, label, subject, start_us))
        self._trials += 1

    def end(self, end_us: int) -> None:
        """Note that what was begun last is over at `end_us`."""
        self._spans[-1] = replace(self._spans[-1], end_us=end_us)

    def of(self, start_us: int, end_us: int) -> Span | None:
        """Return what is true of a window: the span that fills most of it, of equal ones the first.

        None where more of the window is filled by no span at all. Windows must be asked for in the order of their
        starts, and each when everything before its end has been played.
        """
        while self._spans and (over := self._spans[0].end_us) is not None and over <= start_us:
            self._spans.popleft()

        def share(span: Span) -> int:
            over = end_us if span.end_us is None else min(span.end_us, end_us)
            return max(0, over - max(span.start_us, start_us))

        most = max(self._spans, key=share, default=None)
        idle = end_us - start_us - sum(map(share, self._spans))
        return most if most is not None and share(most) > 0 and share(most) >= idle else None
