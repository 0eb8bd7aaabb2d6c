"""Counts the subscribers of the public socket and finds those who abuse it.

libzmq remembers every subscription of every client, whatever its text, and spends some fifty kilobytes on a kilobyte of
text; a client that keeps subscribing to arbitrary topics would exhaust the memory. There are few topics, so a client
needs few subscriptions: one that holds many others is abusive.

libzmq also reports a subscription that a client has already, and the end of one that it never had. Neither changes what
it holds, so neither counts there.

But whatever is reported waits in libzmq until it is read, also after the client is gone. Whole messages wait at their
sender instead if there are many, but one message may have thousands of frames of two bytes, each of which takes sixty
here. So a client that sends many frames is abusive as well.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict

import zmq

from eventveil.stream.protocol.wire import HEADERS
from eventveil.stream.publisher.connections import Connection, Connections, FrameCount

MAX_UNKNOWN = 200  # subscriptions to unknown topics of all connections with one key; without keys, of all together
MAX_FRAMES = 2_000  # of all connections with one key, or of one without, above a steady rate; a topic takes one
TOO_MANY_TOPICS = "holds the most subscriptions to unknown topics, of which there are too many"
TOO_MANY_FRAMES = "sends too many frames"
MAX_AT_ONCE = 500  # frames read before windows get their turn again
MAX_LEFT_AT_ONCE = 2_000  # likewise, of connections that are gone: what they left waits here
_KNOWN = frozenset(topic[:n].encode() for topic in HEADERS for n in range(len(topic) + 1))
_SUBSCRIBE, _UNSUBSCRIBE = b"\x01", b"\x00"  # a message that begins otherwise is neither


class SubscriptionTracker:
    """Reads the subscriptions that the public socket reports.

    Args:
        socket: the XPUB socket.
        connections: connections of the socket.

    Attributes:
        subscribers: how many subscribers the most popular topic had when they were last counted.
        unread: whether to count again without a wait: not all was read then, or a client has just been admitted.
    """

    def __init__(self, socket: zmq.Socket[bytes], connections: Connections) -> None:
        self._socket = socket
        self._connections = connections
        self._topics: Counter[bytes] = Counter()
        self._unknown: Counter[str] = Counter()  # by key; "" without keys
        self._frames: defaultdict[str, FrameCount] = defaultdict(FrameCount)  # by key
        self._abusive: list[Connection] = []
        self.subscribers = 0
        self.unread = False

    def count(self) -> int:
        """Read the subscriptions that have arrived and return how many subscribers the most popular topic has.

        It stops where it finds an abusive client: while it reads on, libzmq takes in more of that client.
        """
        now_s, read, left, reported = time.monotonic(), 0, 0, len(self._abusive)
        self.unread = True
        while read < MAX_AT_ONCE and left < MAX_LEFT_AT_ONCE and len(self._abusive) == reported:
            try:
                frame = self._socket.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                self.unread = self._connections.all_read()
                break
            client = self._connections.sender(frame)
            if client is None or client.ended or not self._connections.is_open(client):
                left += 1
            else:
                read += 1
            if client is not None and not client.ended:
                frames = self._frames[client.key] if client.key else client.frames
                if frames.add(now_s) > MAX_FRAMES:
                    self._report(client, TOO_MANY_FRAMES)
            self._read(client, frame.bytes)
        all_topics = self._topics[b""]
        self.subscribers = all_topics + max((n for topic, n in self._topics.items() if topic), default=0)
        return self.subscribers

    def take_abusive(self) -> list[Connection]:
        """Return the connections to end that were found since the last call."""
        abusive, self._abusive = self._abusive, []
        return abusive

    def values(self) -> dict[str, float | None]:
        """Return the count for a report."""
        return {"subscribers": float(self.subscribers)}

    def _read(self, client: Connection | None, message: bytes) -> None:
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
            self._unknown[key] -= len(worst.unknown)
            self._report(worst, TOO_MANY_TOPICS)

    def _report(self, client: Connection, offence: str) -> None:
        client.ended, client.offence = True, offence
        self._abusive.append(client)


def _changes(held: set[bytes], kind: bytes, topic: bytes) -> bool:
    """Note a message in the topics that its client holds; return whether it changes them."""
    if (kind == _SUBSCRIBE) == (topic in held):
        return False
    held.symmetric_difference_update((topic,))
    return True
