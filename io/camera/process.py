"""The process of a camera: opens it, forwards its events, and ends when the camera or the pipeline is gone.

    python -m eventveil.io.camera.process FD       (started by `link`, with one end of a socket pair)

No other part of the pipeline runs here, so a stalled driver stalls nothing else. If a driver does not return from a
call and holds the interpreter lock, the kernel ends the process: every round resets an alarm, whose default action
needs no interpreter. (dv-processing's NetworkReader blocks like that if its peer sends nothing.)
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from typing import Any

from eventveil.errors import CameraError
from eventveil.host.processes import forbid_core_dumps
from eventveil.io.camera.device import CameraDevice, Tuning
from eventveil.io.camera.drivers import open_device
from eventveil.io.camera.frames import EVENTS, LOST, OPENED, TICK, Head, Totals, encode_json
from eventveil.io.camera.queue import CameraQueue
from eventveil.io.camera.uri import CameraUri

OPEN_S = 60  # to open a camera: some load their firmware, and the first start compiles a decoder
STUCK_S = 5  # for one round, which normally takes milliseconds
TICK_NS = 20_000_000
IDLE_S = 0.001  # between two reads of a driver that has no events


def main(fd: int) -> None:
    """Serve one camera until it or the pipeline is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the pipeline decides when to stop
    connection = socket.socket(fileno=fd)
    with connection.makefile(encoding="utf-8") as text:
        settings = json.loads(text.readline())
    max_age_ms = settings.pop("max_age_ms")
    settings["roi"] = settings["roi"] and tuple(settings["roi"])  # JSON has no tuples, and drivers require one
    uri = CameraUri.parse(settings.pop("uri"))
    queue = CameraQueue(None if max_age_ms is None else max_age_ms * 1_000_000)
    signal.alarm(OPEN_S)
    try:
        try:
            device = open_device(uri, Tuning(**settings), max_age_ms)
        except Exception as error:
            raise _as_camera_error(error, uri) from None
        _send_json(connection, OPENED, device.info.to_dict())
        _serve(connection, device, queue, uri)
    except CameraError as error:
        reason = {"found": error.found, "remedy": error.remedy, "passing": error.passing}
        _send_json(connection, LOST, reason, queue.totals)
    except OSError:
        pass  # the pipeline is gone


def _as_camera_error(error: Exception, uri: CameraUri) -> CameraError:
    """Convert a driver's exception; its text may quote events, so only its type is passed on."""
    if isinstance(error, CameraError):
        return error
    return CameraError(
        str(uri),
        found=f"its driver raised {type(error).__name__}",
        remedy="unplug the camera, plug it in again, and run `eventveil cameras` to see its state",
        passing=True,
    )


def _send_json(connection: socket.socket, kind: int, content: dict[str, Any], totals: Totals | None = None) -> None:
    body = encode_json(content)
    connection.setblocking(True)
    connection.sendall(Head(kind, 0, len(body), time.monotonic_ns(), totals or Totals()).pack() + body)


def _serve(connection: socket.socket, device: CameraDevice, queue: CameraQueue, uri: CameraUri) -> None:
    connection.setblocking(False)
    sender = _FrameSender(connection)
    sent_ns = 0
    while True:
        signal.alarm(STUCK_S)
        before_ns = time.monotonic_ns()
        try:
            batch = device.read()
        except Exception as error:
            _send_queued(sender, queue)  # events from before the loss still count
            raise _as_camera_error(error, uri) from None
        if batch is not None:
            queue.put(batch)
        queue.drop_old(time.monotonic_ns())
        while sender.free and queue:
            oldest, flags, totals = queue.take()
            sender.put(Head(EVENTS, flags, oldest.events.nbytes, oldest.received_ns, totals), oldest.events)
            sent_ns = before_ns
        if batch is None and sender.free and before_ns - sent_ns > TICK_NS:
            # No event had come when this round began, and all earlier events have been sent.
            sender.put(Head(TICK, queue.flags(), 0, before_ns, queue.totals), None)
            sent_ns = before_ns
        _wait(connection, sender, 0.0 if batch is not None else IDLE_S)


def _wait(connection: socket.socket, sender: _FrameSender, seconds: float) -> None:
    """Wait up to `seconds`, or until a pending frame can be sent; raise if the pipeline is gone."""
    found = _poll(connection, select.POLLIN if sender.free else select.POLLIN | select.POLLOUT, seconds)
    if found & ~select.POLLOUT and not connection.recv(1):
        raise OSError("the pipeline is gone")
    sender.flush()


def _send_queued(sender: _FrameSender, queue: CameraQueue) -> None:
    """Send the rest of the queue, in the time that the alarm leaves."""
    while queue or not sender.free:
        if sender.free:
            oldest, flags, totals = queue.take()
            sender.put(Head(EVENTS, flags, oldest.events.nbytes, oldest.received_ns, totals), oldest.events)
        else:
            _poll(sender.connection, select.POLLOUT, 0.1)
            sender.flush()


def _poll(connection: socket.socket, events: int, seconds: float) -> int:
    """Wait up to `seconds` for events of `select.poll`; return those that came, 0 for none."""
    poll = select.poll()  # `select.select` fails in programs with a thousand open files
    poll.register(connection, events)
    return sum(found for _, found in poll.poll(seconds * 1000))


class _FrameSender:
    """Sends frames one after the other, without waiting."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._parts: list[memoryview] = []

    @property
    def free(self) -> bool:
        """Whether the last frame has been sent completely."""
        return not self._parts

    def put(self, head: Head, body: Any) -> None:
        """Start to send a frame."""
        self._parts = [memoryview(head.pack())]
        if body is not None:
            self._parts.append(memoryview(body.view("u1")))
        self.flush()

    def flush(self) -> None:
        """Send as much as possible now."""
        while self._parts:
            try:
                sent = self.connection.sendmsg(self._parts)
            except BlockingIOError:
                return
            while self._parts and sent >= len(self._parts[0]):
                sent -= len(self._parts.pop(0))
            if self._parts:
                self._parts[0] = self._parts[0][sent:]


if __name__ == "__main__":
    forbid_core_dumps()
    main(int(sys.argv[1]))
    os._exit(0)  # without the driver's destructors, some of which block forever
