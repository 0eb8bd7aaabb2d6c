"""Who listens at the public socket, and who only makes trouble there.

libzmq remembers every subscription of everybody, whatever its text, and a kilobyte of text takes it fifty; so a
subscriber who goes on subscribing to anything at all would eat the machine. There are few topics, hence few reasons to
subscribe: who has many more is shut out.
"""

from __future__ import annotations

import time
from collections import Counter

import zmq

from eventveil.stream.protocol.wire import HEADERS

MOST_STRANGE = 200  # subscriptions of one subscriber to what is no topic; without keys, of all together
AT_ONCE = 500  # messages taken note of before windows have their turn again; what is more waits with its sender
_KNOWN = frozenset(topic[:n].encode() for topic in HEADERS for n in range(len(topic) + 1))
_STEP = {b"\x01": 1, b"\x00": -1}  # others are no subscriptions


class SubscriptionTracker:
    """Takes note of the subscriptions that the public socket is told of.

    Args:
        socket: the XPUB socket.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._topics: Counter[bytes] = Counter()
        self._strange: Counter[str] = Counter()  # by key; "" without keys
        self._told_until = 0.0

    def count(self) -> int:
        """Take note of who came and went, and return how many are there: those of the most wanted topic."""
        for _ in range(AT_ONCE):
            try:
                self._note(self._socket.recv(zmq.NOBLOCK, copy=False))
            except zmq.Again:
                self._told_until = 0.0
                break
        everything = self._topics[b""]
        return everything + max((n for topic, n in self._topics.items() if topic), default=0)

    def abusive_client(self) -> str | None:
        """The key of a subscriber who is to be shut out ("" without keys), or None; told once."""
        if time.monotonic() < self._told_until:  # what is read now was sent before
            self._strange.clear()
        for user, number in self._strange.items():
            if number > MOST_STRANGE:
                self._strange.clear()
                self._told_until = time.monotonic() + 1.0
                return user
        return None

    def values(self) -> dict[str, float | None]:
        """The count, for a report."""
        return {"subscribers": float(self.count())}

    def _note(self, frame: zmq.Frame) -> None:
        user, message = _user(frame), frame.bytes
        step, topic = _STEP.get(message[:1], 0), message[1:]
        if topic in _KNOWN:
            self._topics[topic] = max(self._topics[topic] + step, 0)
        elif step:
            self._strange[user] = max(self._strange[user] + step, 0)


def _user(frame: zmq.Frame) -> str:
    """Whose key the connection was made with, as the doorman told libzmq."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""
