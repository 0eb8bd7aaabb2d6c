"""The line's end of a camera's process: starts it, takes its frames, and notices when it dies or says nothing more."""

from __future__ import annotations

import json
import select
import signal
import socket
import subprocess
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.errors import CameraError
from eventveil.io.camera.frames import HEAD, LOST, OPENED, Frame, Head, frame, room_for
from eventveil.io.camera.process import OPEN_S, STUCK_S
from eventveil.io.camera.uri import CameraInfo, CameraUri, Tuning
from eventveil.processes import describe_exit, module_command

SILENCE_S = 2.0  # beyond the process's own alarm: it may have been stopped, and alarms with it


class CameraLink:
    """One opening of one camera. `close` ends its process, whatever that is doing.

    Args:
        uri: the camera.
        tuning: what it is told.
        max_age_ms: events that have waited longer are given up before they get here; None: only too many are.
    """

    def __init__(self, uri: CameraUri, tuning: Tuning, max_age_ms: int | None) -> None:
        self.uri = uri
        self.info: CameraInfo | None = None
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                module_command("eventveil.io.camera.process", str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # What drivers write is other people's words, and might hold anything.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        asked = {"uri": str(uri), "max_age_ms": max_age_ms, **asdict(tuning)}
        self._socket.sendall(json.dumps(asked).encode() + b"\n")
        self._socket.setblocking(False)
        self._head = bytearray(HEAD.size)
        self._opened: Head | None = None  # the head of the frame that is being read
        self._body: npt.NDArray[Any] = np.empty(0, np.uint8)
        self._filled = 0
        self._heard_s = time.monotonic()

    def read(self, seconds: float) -> Frame | None:
        """Return the next frame; None: there was none in so many seconds.

        Raises:
            CameraError: the camera is gone, or was never there.
        """
        deadline = time.monotonic() + seconds
        while (got := self._take()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                self._mind_the_silence()
                return None
            select.select([self._socket], [], [], left)
        self._heard_s = time.monotonic()
        if got.head.kind == OPENED:
            self.info = CameraInfo.of(got.said)
        if got.head.kind == LOST:
            raise CameraError(str(self.uri), **got.said)
        return got

    def close(self) -> None:
        """End the process. May be called twice."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _take(self) -> Frame | None:
        """Read on; return a frame where one is whole."""
        if self._opened is None:
            if not self._fill(memoryview(self._head)):
                return None
            self._opened = Head.unpack(self._head)
            self._body, self._filled = room_for(self._opened), 0
        if self._opened.size and not self._fill(self._body.view(np.uint8).data):
            return None
        got, self._opened, self._filled = frame(self._opened, self._body), None, 0
        return got

    def _fill(self, room: memoryview) -> bool:
        """Read until the room is full, as far as that goes without waiting."""
        while self._filled < len(room):
            try:
                count = self._socket.recv_into(room[self._filled :])
            except BlockingIOError:
                return False
            except ConnectionError:
                count = 0
            if count == 0:
                raise self._died()
            self._filled += count
        return True

    def _mind_the_silence(self) -> None:
        allowed_s = SILENCE_S + (OPEN_S if self.info is None else STUCK_S)
        if time.monotonic() - self._heard_s > allowed_s:
            raise self._error(f"its driver's process has said nothing for {allowed_s:.0f} s")

    def _died(self) -> CameraError:
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            status = 0
        if status == -signal.SIGALRM:
            if self.info is None:
                return self._error(
                    "its driver waited in vain for an answer (on the network: does the peer send DV events?)"
                )
            return self._error(f"its driver did not come back within {STUCK_S} s")
        return self._error(f"its driver's process has died ({describe_exit(status)})")

    def _error(self, found: str) -> CameraError:
        return CameraError(str(self.uri), found=found, remedy="see what `eventveil cameras` says", passing=True)
