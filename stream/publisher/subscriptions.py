"""Counts the subscribers of the public socket and finds those who abuse it.

libzmq remembers every subscription of every client, whatever its text, and spends some fifty kilobytes on a kilobyte of
text; a client that keeps subscribing to arbitrary topics would exhaust the memory. There are few topics, so a client
needs few subscriptions: one that holds many others is abusive.
"""

from __future__ import annotations

import time
from collections import Counter

import zmq

from eventveil.stream.protocol.wire import HEADERS

MAX_UNKNOWN = 200  # subscriptions of one client to unknown topics; without keys, of all clients together
MAX_AT_ONCE = 500  # messages read before windows get their turn again; the rest waits at its sender
_KNOWN = frozenset(topic[:n].encode() for topic in HEADERS for n in range(len(topic) + 1))
_STEP = {b"\x01": 1, b"\x00": -1}  # any other first byte is no subscription


class SubscriptionTracker:
    """Reads the subscriptions that the public socket reports.

    Args:
        socket: the XPUB socket.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._topics: Counter[bytes] = Counter()
        self._unknown: Counter[str] = Counter()  # by key; "" without keys
        self._ignore_until_s = 0.0

    def count(self) -> int:
        """Read the subscriptions that have arrived and return how many subscribers the most popular topic has."""
        for _ in range(MAX_AT_ONCE):
            try:
                self._read(self._socket.recv(zmq.NOBLOCK, copy=False))
            except zmq.Again:
                self._ignore_until_s = 0.0
                break
        all_topics = self._topics[b""]
        return all_topics + max((n for topic, n in self._topics.items() if topic), default=0)

    def abusive_client(self) -> str | None:
        """Return the key of a client to disconnect ("" without keys), or None. Each is reported once."""
        if time.monotonic() < self._ignore_until_s:  # what is read now was sent before the report
            self._unknown.clear()
        for client, number in self._unknown.items():
            if number > MAX_UNKNOWN:
                self._unknown.clear()
                self._ignore_until_s = time.monotonic() + 1.0
                return client
        return None

    def values(self) -> dict[str, float | None]:
        """Return the count for a report."""
        return {"subscribers": float(self.count())}

    def _read(self, frame: zmq.Frame) -> None:
        client, message = _client(frame), frame.bytes
        step, topic = _STEP.get(message[:1], 0), message[1:]
        if topic in _KNOWN:
            self._topics[topic] = max(self._topics[topic] + step, 0)
        elif step:
            self._unknown[client] = max(self._unknown[client] + step, 0)


def _client(frame: zmq.Frame) -> str:
    """Return the key that a frame's connection was authenticated with; "" without keys."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
