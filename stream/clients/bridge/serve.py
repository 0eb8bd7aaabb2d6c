"""Serves the events of a stand-in to programs that know cameras and not us: a subscriber, with a DV server behind it.

It is a client of the published stream, and verifies each message with the book before it passes the events on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eventveil.errors import ConfigError, EventVeilError
from eventveil.events import EventPacket
from eventveil.models.book import Book
from eventveil.stream.clients.bridge.dv_server import DvServer
from eventveil.stream.protocol.wire import EVENTS, Message
from eventveil.stream.subscriber.client import subscribe

END_S = 1.0


class EventsForwarder:
    """Passes the events of one stream to a server."""

    def __init__(self, server: DvServer) -> None:
        self._server = server
        self._stream: str | None = None

    def forward(self, message: Message) -> None:
        """Serve the events of a message; other topics are left alone.

        Raises:
            ConfigError: it is of another stream than the earlier ones: a camera has one.
        """
        if message.topic != EVENTS:
            return
        stream = message.header.stream
        self._stream = self._stream or stream
        if stream != self._stream:
            raise ConfigError(f"a DV stream holds one stream, and there are {self._stream} and {stream}: publish one")
        self._server.send(EventPacket.of(*(message.array[name] for name in "txyp")))


@contextmanager
def serving(endpoint: str, uri: str, book: Book, *, say: Callable[[str], None]) -> Iterator[None]:
    """Serve the events published at an endpoint of this machine, in a thread, until the block ends.

    Args:
        endpoint: endpoint of a publisher without keys.
        uri: `dv+tcp://HOST:PORT` on a loopback address.
        book: book of the stand-in.
        say: called with the reason if serving ends before the pipeline does.

    Raises:
        ConfigError: the address is not one of this machine, or in use.
    """
    stopped = threading.Event()

    def forward_all() -> None:
        forwarder = EventsForwarder(server)
        try:
            for message in subscribe(endpoint, (EVENTS,), book=book, stop=stopped.is_set):
                forwarder.forward(message)
        except EventVeilError as error:
            say(f"eventveil: {uri} is no longer served: {error}")

    with DvServer(uri, book.sensor) as server:
        thread = threading.Thread(target=forward_all, name="dv bridge", daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join(END_S)  # what is on its way arrives, if the pipeline has ended by itself
            stopped.set()
            thread.join()
