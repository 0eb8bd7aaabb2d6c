"""Checks for a subscriber with a book: words change no more often than the bits per second in the headers allow.

The number of changes per second follows from the bits. Only words that are known to be consecutive are compared: after
windows that were published and did not arrive, the check starts again, so that a slow network is no reason for alarm.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from eventveil.errors import BookError
from eventveil.models.book import Book
from eventveil.models.rate_limit import SECOND_US, bits_by_changes, steps_per_second
from eventveil.stream.protocol.wire import Message, StreamHeader
from eventveil.stream.subscriber.recent import Recent


@dataclass(slots=True)
class _Seen:
    """What is known of a stream: its run, the bits that it states, its last word, and when the word changed lately."""

    run: str
    bits: float
    word: int | None
    changes_us: deque[int]


class RateCheck:
    """Counts the changes of words in the messages of each stream.

    Window, events and gesture of a step have one word, so the topics are counted together: each with words of its own
    would carry several times the bits that the headers state.

    Args:
        book: book of the stand-in.
        unseen: reasons of missing windows that may have been published.
    """

    def __init__(self, book: Book, unseen: frozenset[str]) -> None:
        self._unseen = unseen
        # Where the bits of two numbers are rounded to the same, the larger number counts.
        bits = bits_by_changes(len(book.words), 1000, steps_per_second(book.step_us))
        self._changes = {value: most for most, value in enumerate(bits) if most}
        self._seen: Recent[str, _Seen] = Recent()

    def check(self, message: Message) -> None:
        """Check a message, whose `missing` is filled in.

        Raises:
            BookError: the word changes more often than the header says, or the bits belong to no number of changes, or
                are not those that the run stated before.
        """
        header = message.header
        if not isinstance(header, StreamHeader) or header.word is None or header.bits_per_second is None:
            return
        most = self._changes.get(header.bits_per_second)
        if most is None:
            raise BookError(
                f"refused: {header.bits_per_second:g} bits per second are not those of this book with any number of "
                "changes a second; do not trust this pipeline"
            )
        seen = self._seen.get(header.stream)
        if seen is not None and seen.run == header.run and seen.bits != header.bits_per_second:
            raise BookError(
                f"refused: stream {header.stream} stated {seen.bits:g} bits per second and now states "
                f"{header.bits_per_second:g}, in one run; do not trust this pipeline"
            )
        if seen is None or seen.run != header.run or self._unseen & message.missing.keys():
            seen = self._seen[header.stream] = _Seen(header.run, header.bits_per_second, None, deque(maxlen=most + 1))
        if seen.word not in (None, header.word):
            seen.changes_us.append(header.t_start_us)
        seen.word = header.word
        if len(seen.changes_us) > most and seen.changes_us[-1] - seen.changes_us[0] < SECOND_US:
            raise BookError(
                f"refused: the word of stream {header.stream} changed {most + 1} times within a second, and the header "
                f"states {header.bits_per_second:g} bits per second, which allow {most}; do not trust this pipeline"
            )
