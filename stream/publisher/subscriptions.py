"""Counts the subscribers of the public socket and finds those who abuse it.

libzmq remembers every subscription of every client, whatever its text, and spends some fifty kilobytes on a kilobyte of
text; a client that keeps subscribing to arbitrary topics would exhaust the memory. There are few topics, so a client
needs few subscriptions: one that holds many others is abusive.

libzmq also reports a subscription that a client has already, and the end of one that it never had. Neither changes what
it holds, so neither counts.
"""

from __future__ import annotations

from collections import Counter

import zmq

from eventveil.stream.protocol.wire import HEADERS
from eventveil.stream.publisher.connections import Connection, Connections

MAX_UNKNOWN = 200  # subscriptions to unknown topics of all connections with one key; without keys, of all together
MAX_AT_ONCE = 500  # messages read before windows get their turn again; the rest waits at its sender
_KNOWN = frozenset(topic[:n].encode() for topic in HEADERS for n in range(len(topic) + 1))
_SUBSCRIBE, _UNSUBSCRIBE = b"\x01", b"\x00"  # a message that begins otherwise is neither


class SubscriptionTracker:
    """Reads the subscriptions that the public socket reports.

    Args:
        socket: the XPUB socket.
        connections: connections of the socket.
    """

    def __init__(self, socket: zmq.Socket[bytes], connections: Connections) -> None:
        self._socket = socket
        self._connections = connections
        self._topics: Counter[bytes] = Counter()
        self._unknown: Counter[str] = Counter()  # by key; "" without keys
        self._abusive: list[Connection] = []

    def count(self) -> int:
        """Read the subscriptions that have arrived and return how many subscribers the most popular topic has."""
        for _ in range(MAX_AT_ONCE):
            try:
                self._read(self._socket.recv(zmq.NOBLOCK, copy=False))
            except zmq.Again:
                break
        all_topics = self._topics[b""]
        return all_topics + max((n for topic, n in self._topics.items() if topic), default=0)

    def abusive_client(self) -> Connection | None:
        """Return a connection to end, or None. Each is reported once."""
        return self._abusive.pop() if self._abusive else None

    def values(self) -> dict[str, float | None]:
        """Return the count for a report."""
        return {"subscribers": float(self.count())}

    def _read(self, frame: zmq.Frame) -> None:
        client, message = self._connections.sender(frame), frame.bytes
        kind, topic = message[:1], message[1:]
        if kind not in (_SUBSCRIBE, _UNSUBSCRIBE):
            return
        step = 1 if kind == _SUBSCRIBE else -1
        if topic in _KNOWN:
            if client is None or _changes(client.known, kind, topic):
                self._topics[topic] = max(self._topics[topic] + step, 0)
        elif client is not None and not client.ended and _changes(client.unknown, kind, topic):
            self._unknown[client.key] += step
            if self._unknown[client.key] > MAX_UNKNOWN:
                self._find_abusive(client.key)

    def _find_abusive(self, key: str) -> None:
        """Report the connection of a key that holds most, if those that are still open hold too much together."""
        present = []
        for each in self._connections:
            if each.key == key and not each.ended:
                if self._connections.is_open(each):
                    present.append(each)
                else:
                    each.unknown.clear()
        self._unknown[key] = sum(len(each.unknown) for each in present)
        if self._unknown[key] > MAX_UNKNOWN:
            worst = max(present, key=lambda each: len(each.unknown))
            worst.ended = True
            self._unknown[key] -= len(worst.unknown)
            self._abusive.append(worst)


def _changes(held: set[bytes], kind: bytes, topic: bytes) -> bool:
    """Note a message in the topics that its client holds; return whether it changes them."""
    if (kind == _SUBSCRIBE) == (topic in held):
        return False
    held.symmetric_difference_update((topic,))
    return True
