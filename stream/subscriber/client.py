"""Subscribes to a publisher: yields checked messages, each with the windows that are missing before it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import zmq

from eventveil.errors import ConfigError
from eventveil.models.book import Book
from eventveil.stream.protocol.certificate import read_key
from eventveil.stream.protocol.keys import KeyPair, read_public, read_secret
from eventveil.stream.protocol.wire import (
    CERTIFICATE_STATE,
    EVENTS,
    GESTURE,
    HEADERS,
    REPLAY_STATE,
    STATE,
    WINDOW,
    Message,
    StateHeader,
    StreamHeader,
    decode,
)
from eventveil.stream.runtime.accounting import CRASH
from eventveil.stream.subscriber.book_check import BookCheck
from eventveil.stream.subscriber.certificate_filter import CertificateFilter
from eventveil.stream.subscriber.connection_monitor import ConnectionMonitor
from eventveil.stream.subscriber.rate_check import RateCheck
from eventveil.stream.subscriber.recent import Recent
from eventveil.stream.subscriber.subscriber_socket import connect, subscriber_socket

NETWORK = "network"
"""Reason for windows that were published and did not arrive."""
WITHHELD = "certificate"
"""Reason for windows that arrived before the required certificate."""
UNSEEN = frozenset((NETWORK, WITHHELD, CRASH))
"""Reasons for windows that may have been published."""
POLL_MS = 100
MAX_ANNOUNCED = 100  # states that are remembered because they are repeated


def subscribe(
    endpoint: str,
    topics: Sequence[str] = (WINDOW, GESTURE),
    *,
    server_key: Path | str | None = None,
    key: Path | str | None = None,
    require_certificate: Path | str | None = None,
    book: Book | Path | str | None = None,
    queue: int = 1000,
    timeout_s: float | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Message]:
    """Yield the messages of a publisher until its pipeline ends.

    Waits for a publisher that is not there yet. The `missing` of each message counts the windows missing before it, by
    reason. Messages of the topic `state`, about the pipeline itself, always come too.

    Args:
        endpoint: `tcp://HOST:PORT` or `ipc://PATH`.
        topics: of `window`, `gesture` and `events` (which only a stand-in publishes).
        server_key: file with the public key of the publisher to accept; with keys, everything is encrypted.
        key: file with your own secret key, whose public half is on that publisher's list. Give both keys or neither.
        require_certificate: file with the Ed25519 public key of a trusted auditor. Only messages of weights that passed
            its audit are yielded; those that arrive before the certificate are counted as `certificate`.
        book: the book of the publisher's stand-in, or its file. Every message is compared with it: anything else than
            what the book says of the message's word and time is refused, and words that change more often than the
            bits per second in the header allow.
        queue: how many messages are kept for a slow caller; the excess is lost and counted as `network`.
        timeout_s: end after this long without a message; None waits forever.
        stop: called ten times a second; returning True ends the iteration.

    Raises:
        ConfigError: the endpoint or a topic is not valid, or one of the two keys is missing.
        AccessError: a key file is malformed or open to others; or, within seconds, the publisher refuses the key, has
            another key than `server_key`, or only one of the two ends uses keys.
        AuditError: the auditor's key cannot be read; or, within seconds, the messages have no certificate of that key,
            or their certificate covers other weights or a failed audit.
        BookError: the book cannot be read, a message is not exactly what the book says of its header, or words change
            too often.
        WireError: a message breaks the format of docs/wire-format.md; subscribe again to continue.

    Example:
        >>> from eventveil.stream import subscribe
        >>> for message in subscribe("tcp://127.0.0.1:5999", timeout_s=0.2):  # no publisher there: ends after 0.2 s
        ...     print(message.topic, message.header, message.array.shape)
    """
    unknown = set(topics) - set(HEADERS)
    if unknown:
        expected = f"{WINDOW}, {GESTURE} or {EVENTS}; messages about the pipeline always come"
        raise ConfigError(f"unknown topic {', '.join(sorted(unknown))}: expected {expected}")
    # `state` comes last: the publisher counts a subscriber when its first subscription arrives.
    subscriptions = tuple(dict.fromkeys((*topics, STATE)))
    gaps = Gaps()
    certificate_filter = None if require_certificate is None else CertificateFilter(read_key(Path(require_certificate)))
    if book is not None and not isinstance(book, Book):
        book = Book.read(book)
    book_check = None if book is None else BookCheck(book)
    rate_check = None if book is None else RateCheck(book, UNSEEN)
    announced: tuple[StateHeader, ...] = ()
    identity = _identity(server_key, key)
    with (
        zmq.Context() as context,
        subscriber_socket(subscriptions, queue, context, identity) as socket,
        ConnectionMonitor(socket, endpoint, keys=identity is not None) as connection,
    ):
        connect(socket, endpoint)
        last_message_s = time.monotonic()
        while not stop():
            if certificate_filter is not None:
                certificate_filter.check()
            if not socket.poll(POLL_MS):
                connection.check()
                if timeout_s is not None and time.monotonic() - last_message_s > timeout_s:
                    return
                continue
            message = decode([frame.buffer for frame in socket.recv_multipart(copy=False)])
            if book_check is not None:
                book_check.check(message)
            if certificate_filter is not None and not certificate_filter.accepts(message):
                gaps.withhold(message)
                continue
            if message.topic == STATE and message.header.state in (CERTIFICATE_STATE, REPLAY_STATE):
                if message.header not in announced:  # else a repetition for late subscribers
                    announced = (*announced[-MAX_ANNOUNCED:], message.header)
                    yield message
                continue
            last_message_s = time.monotonic()
            message = gaps.fill_in(message)
            if rate_check is not None:
                rate_check.check(message)
            yield message
            if message.topic == STATE and message.header.stream is None:
                return


def _identity(server_key: Path | str | None, key: Path | str | None) -> tuple[bytes, KeyPair] | None:
    if server_key is None and key is None:
        return None
    if server_key is None or key is None:
        raise ConfigError(
            "keys: give both the publisher's public key (server_key) and your own secret key (key), or neither"
        )
    return read_public(Path(server_key)).key, read_secret(Path(key))


class Gaps:
    """Explains gaps in the numbers between consecutive messages of a topic and stream.

    Numbers start again in a new run. In a new life of the publisher they continue; a window that this publisher does
    not account for was in flight when the previous one crashed.
    """

    def __init__(self) -> None:
        self._last: Recent[tuple[str, str], StreamHeader] = Recent()
        self._withheld: Recent[tuple[str, str], Counter[str]] = Recent()

    def withhold(self, message: Message) -> None:
        """Count a message that is not yielded as missing before the next one."""
        missing = Counter(self.fill_in(message).missing)
        missing[WITHHELD] += 1
        self._withheld[message.topic, message.header.stream] = missing

    def fill_in(self, message: Message) -> Message:
        """Return the message with `missing` filled in; `network` counts what no other reason explains."""
        header = message.header
        if not isinstance(header, StreamHeader):
            return message
        withheld = self._withheld.pop((message.topic, header.stream), Counter())
        before = self._last.get((message.topic, header.stream))
        self._last[message.topic, header.stream] = header
        if before is None or header.run != before.run or header.seq <= before.seq:
            return replace(message, missing=dict(withheld))
        missing = Counter(header.lost) - Counter(before.lost)
        unexplained = header.seq - before.seq - 1 - missing.total()
        if unexplained > 0:
            missing[NETWORK if header.life == before.life else CRASH] += unexplained
        return replace(message, missing=dict(missing + withheld))
