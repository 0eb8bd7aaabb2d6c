"""Checks for a subscriber that has the book of a stand-in: what arrives is what the book says of its header.

The check needs no trust in the publisher: a window, a gesture or events that hold anything else than the book's word at
that time end the subscription with the cause.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eventveil.errors import BookError
from eventveil.models.book import Book
from eventveil.stream.protocol.event_records import event_records
from eventveil.stream.protocol.wire import EventsHeader, Geometry, GestureHeader, Message, StreamHeader, WindowHeader


class BookCheck:
    """Compares messages with a book.

    Args:
        book: the book.
    """

    def __init__(self, book: Book) -> None:
        self._book = book
        self._sensor = Geometry(width=self._book.sensor.width, height=self._book.sensor.height)
        self._labels = tuple(dict.fromkeys(word.label for word in self._book.words))

    def check(self, message: Message) -> None:
        """Check a message. Those about the state of a pipeline have no content of a word, and pass.

        Raises:
            BookError: it is not exactly what the book says of its header.
        """
        header = message.header
        if not isinstance(header, StreamHeader):
            return
        book = self._book
        if header.book is None or header.word is None:
            raise BookError("refused: the pipeline publishes no words of a book, but windows of another anonymizer")
        if header.book != book.digest:
            raise BookError(
                f"refused: the pipeline publishes from the book with SHA-256 {header.book}, and this one has "
                f"{book.digest}; get the pipeline's book"
            )
        span_us = header.t_end_us - header.t_start_us
        if header.word >= len(book.words) or span_us != book.step_us or header.t_start_us % book.step_us:
            raise _refusal(message, f"word {header.word} from {header.t_start_us} to {header.t_end_us} us is not in it")
        for key, value in self._expected(header, header.word).items():
            if getattr(header, key) != value:
                raise _refusal(message, f"{key} is not that of the word")
        expected = self._payload(header, header.word)
        # As bytes: a zero with a minus sign would be equal, and could carry a message.
        if message.array.shape != expected.shape or message.array.tobytes() != expected.tobytes():
            raise _refusal(message, "the payload is not that of the word")

    def _expected(self, header: StreamHeader, number: int) -> Mapping[str, Any]:
        """Return the keys of a header that depend on the book alone."""
        word = self._book.words[number]
        if not isinstance(header, GestureHeader):
            return {"sensor": self._sensor}
        return {"sensor": self._sensor, "labels": self._labels, "label": word.label, "presence": word.presence}

    def _payload(self, header: StreamHeader, number: int) -> Any:
        if isinstance(header, WindowHeader):
            return self._book.window(number, header.t_start_us)
        if isinstance(header, EventsHeader):
            return event_records(self._book.events(number, header.t_start_us))
        return np.empty(0, np.float32)


def _refusal(message: Message, what: str) -> BookError:
    header = message.header
    return BookError(
        f"refused: {message.topic} {header.seq} of stream {header.stream} is not what the book says: {what}; do not "
        "trust this pipeline"
    )
