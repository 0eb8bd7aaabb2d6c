"""The process of a camera: opens it, hands on what it delivers, and is gone when either end is.

    python -m eventveil.io.camera.process FD       (started by `link`, with one end of a pair of sockets)

Nothing of the line runs here, so that nothing of it stands still when a driver does. A driver that does not come back
from a call, and holds the interpreter while it does not, is ended by the kernel: an alarm is set anew in every round,
and its default action needs no interpreter. (dv-processing's NetworkReader waits so for a peer that says nothing.)
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
from eventveil.io.camera.device import CameraDevice, Tuning
from eventveil.io.camera.drivers import open_device
from eventveil.io.camera.frames import EVENTS, LOST, OPENED, TICK, Head, Totals, words
from eventveil.io.camera.queue import CameraQueue
from eventveil.io.camera.uri import CameraUri

OPEN_S = 60  # to open a camera: some load their firmware, and the first time a decoder is compiled
STUCK_S = 5  # for one round, which takes milliseconds
TICK_NS = 20_000_000
REST_S = 0.001  # between two looks at a driver that has nothing


def main(fd: int) -> None:
    """Serve one camera to its end."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the line decides when it is over
    line = socket.socket(fileno=fd)
    with line.makefile(encoding="utf-8") as text:
        asked = json.loads(text.readline())
    max_age_ms = asked.pop("max_age_ms")
    asked["roi"] = asked["roi"] and tuple(asked["roi"])  # JSON knows no tuples, and drivers insist on them
    uri = CameraUri.parse(asked.pop("uri"))
    queue = CameraQueue(None if max_age_ms is None else max_age_ms * 1_000_000)
    signal.alarm(OPEN_S)
    try:
        try:
            device = open_device(uri, Tuning(**asked), max_age_ms)
        except Exception as error:
            raise _in_our_words(error, uri) from None
        _say(line, OPENED, device.info.to_dict())
        _serve(line, device, queue, uri)
    except CameraError as error:
        _say(line, LOST, {"found": error.found, "remedy": error.remedy, "passing": error.passing}, queue.totals)
    except OSError:
        pass  # the line is gone


def _in_our_words(error: Exception, uri: CameraUri) -> CameraError:
    """What a driver raised; other people's words may hold anything, so only their kind is told."""
    if isinstance(error, CameraError):
        return error
    return CameraError(
        str(uri),
        found=f"its driver raised {type(error).__name__}",
        remedy="unplug the camera, plug it in again, and see what `eventveil cameras` says",
        passing=True,
    )


def _say(line: socket.socket, kind: int, said: dict[str, Any], totals: Totals | None = None) -> None:
    body = words(said)
    line.setblocking(True)
    line.sendall(Head(kind, 0, len(body), time.monotonic_ns(), totals or Totals()).pack() + body)


def _serve(line: socket.socket, device: CameraDevice, queue: CameraQueue, uri: CameraUri) -> None:
    line.setblocking(False)
    out = _Out(line)
    told_ns = 0
    while True:
        signal.alarm(STUCK_S)
        before_ns = time.monotonic_ns()
        try:
            batch = device.read()
        except Exception as error:
            _drain(out, queue)  # what came before the loss still counts
            raise _in_our_words(error, uri) from None
        if batch is not None:
            queue.put(batch)
        queue.drop_old(time.monotonic_ns())
        while out.free and queue:
            taken, flags, totals = queue.take()
            out.put(Head(EVENTS, flags, taken.events.nbytes, taken.received_ns, totals), taken.events)
            told_ns = before_ns
        if batch is None and out.free and before_ns - told_ns > TICK_NS:
            # Nothing had come when this round began, and all that came before it is on its way.
            out.put(Head(TICK, queue.flags(), 0, before_ns, queue.totals), None)
            told_ns = before_ns
        _rest(line, out, 0.0 if batch is not None else REST_S)


def _rest(line: socket.socket, out: _Out, seconds: float) -> None:
    """Wait a little, less where something can be sent; leave where the line is gone."""
    heard, _, _ = select.select([line], [] if out.free else [line], [], seconds)
    if heard and not line.recv(1):
        raise OSError("the line is gone")
    out.flush()


def _drain(out: _Out, queue: CameraQueue) -> None:
    """Send what waits, in the time that the alarm leaves."""
    while queue or not out.free:
        if out.free:
            taken, flags, totals = queue.take()
            out.put(Head(EVENTS, flags, taken.events.nbytes, taken.received_ns, totals), taken.events)
        else:
            select.select([], [out.line], [], 0.1)
            out.flush()


class _Out:
    """Sends one frame after the other without waiting."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self._parts: list[memoryview] = []

    @property
    def free(self) -> bool:
        """Whether the last frame has gone."""
        return not self._parts

    def put(self, head: Head, body: Any) -> None:
        """Begin to send a frame."""
        self._parts = [memoryview(head.pack())]
        if body is not None:
            self._parts.append(memoryview(body.view("u1")))
        self.flush()

    def flush(self) -> None:
        """Send what can be sent now."""
        while self._parts:
            try:
                sent = self.line.sendmsg(self._parts)
            except BlockingIOError:
                return
            while self._parts and sent >= len(self._parts[0]):
                sent -= len(self._parts.pop(0))
            if self._parts:
                self._parts[0] = self._parts[0][sent:]


if __name__ == "__main__":
    main(int(sys.argv[1]))
    os._exit(0)  # without the driver's destructors, some of which wait for ever
