"""What is published of a word: what the book says of it at this time, and nothing else.

Nothing here trusts the private half. A word without a valid seal, one that the book does not have, and one that spans
another time than a step of the book end the pipeline. Words that change too often are replaced by the one before. So
whatever number comes, what leaves is a function of facts about the stream, of a word of the book, and of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eventveil.errors import BoundaryError
from eventveil.models.book import Book
from eventveil.models.book_format import played_steps
from eventveil.models.rate_limit import WordLimiter
from eventveil.stream.protocol.event_records import EVENT_DTYPE, event_records
from eventveil.stream.protocol.wire import (
    MAX_VALUES,
    EventsHeader,
    Geometry,
    GestureHeader,
    Header,
    WindowHeader,
)
from eventveil.stream.publisher.contents import Part, Provenance
from eventveil.stream.publisher.padding import padded_size
from eventveil.stream.runtime.accounting import StageCounters
from eventveil.stream.runtime.windows import ChosenWord, Seal


class WordContents:
    """The window, the events and the gesture of a word.

    Args:
        seal: checks that a word comes from the anonymizer.
        provenance: what the headers state about weights and book.
        run: name of the run in the headers.
        book: what the words stand for.
        counters: counters of the publisher's stage; after a restart, they know the word that was published last.
        events: whether to publish the events, too.
    """

    def __init__(
        self, seal: Seal, provenance: Provenance, run: str, book: Book, counters: StageCounters, *, events: bool
    ) -> None:
        assert provenance.changes_per_second is not None
        self._seal = seal
        self._book = book
        self._counters = counters
        self._most_changes = provenance.changes_per_second
        self._limiters: dict[str, WordLimiter] = {}
        self._events = events
        sensor = Geometry(width=book.sensor.width, height=book.sensor.height)
        self._about = provenance.common(run) | {"sensor": sensor}
        self._about_gesture = self._about | {
            "labels": provenance.labels,
            "probability": None,
            "classifier": None,
            "classifier_trained": None,
        }
        self.events_size = longest_step(book) * EVENT_DTYPE.itemsize if events else 0
        labels = {word.label for word in book.words}
        gestures = (padded_size(GestureHeader, label=label, **self._about_gesture) for label in labels)
        self.sizes: dict[type[Header], int] = {
            WindowHeader: padded_size(WindowHeader, shape=(MAX_VALUES,) * 3, **self._about),
            EventsHeader: padded_size(EventsHeader, shape=(MAX_VALUES,), **self._about),
            GestureHeader: max(gestures),
        }

    def check(self, window: object) -> ChosenWord:
        """Return the word if it carries the anonymizer's seal, the book has it, and it spans a step of the book.

        Raises:
            BoundaryError: it does not.
        """
        chosen = self._seal.check_word(window)
        origin, step_us = chosen.origin, self._book.step_us
        if not 0 <= chosen.word < len(self._book.words):
            raise BoundaryError(f"{chosen!r} is not one of the {len(self._book.words)} words of the book: refused")
        # A start between two steps would be a message, too.
        if origin.t_start_us % step_us or origin.t_end_us - origin.t_start_us != step_us:
            raise BoundaryError(f"{chosen!r} does not span a step of the book ({step_us} us): refused")
        return chosen

    def compose(self, window: ChosenWord, facts: Mapping[str, Any]) -> Sequence[Part]:
        """Return the window, the events and the gesture of the word, or of the one before if it changes too often."""
        t_start_us = window.origin.t_start_us
        number = self._limited(window.origin.stream, window.word, t_start_us)
        word = self._book.words[number]
        facts = dict(facts) | {"word": number}
        values = self._book.window(number, t_start_us)
        shape = {"shape": values.shape}
        parts: list[Part] = [(WindowHeader.model_validate(facts | self._about | shape), values)]
        if self._events:
            records = event_records(self._book.events(number, t_start_us))
            parts.append((EventsHeader.model_validate(facts | self._about | {"shape": records.shape}), records))
        gesture = {"label": word.label, "presence": word.presence}
        parts.append((GestureHeader.model_validate(facts | self._about_gesture | gesture), None))
        return parts

    def _limited(self, stream: str, word: int, t_start_us: int) -> int:
        counters = self._counters[stream]
        if stream not in self._limiters:
            last = counters.word - 1 if counters.word else None
            self._limiters[stream] = WordLimiter(self._most_changes, last)
        word = self._limiters[stream].limit(word, t_start_us)
        counters.word = word + 1
        return word


def longest_step(book: Book) -> int:
    """Return the most events that any word of a book has in a step."""
    different = {(word.clip, word.tempo, word.dx, word.dy): number for number, word in enumerate(book.words)}
    return max(
        len(book.events(number, step * book.step_us))
        for number in different.values()
        for step in range(played_steps(book.metadata.steps, book.words[number]))
    )
