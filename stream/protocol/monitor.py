"""Messages of libzmq's monitor sockets: what happened to a connection (`zmq_socket_monitor`).

pyzmq's own function for them imports asyncio and ssl, which take 3 MB in each process of a pipeline, and keeps every
value that it has seen in memory.
"""

from __future__ import annotations

import struct

import zmq

_EVENT = struct.Struct("=Hi")


def receive_event(monitor: zmq.Socket[bytes]) -> tuple[int, int]:
    """Receive a message; return the event, one of `zmq.Event`, and its value: a descriptor, an error or an interval."""
    first, *_ = monitor.recv_multipart()
    event, value = _EVENT.unpack(first)
    return event, value
