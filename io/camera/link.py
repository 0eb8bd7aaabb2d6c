"""The pipeline's end of a camera's process: starts it, receives its frames, and notices when it dies or goes silent."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.errors import CameraError
from eventveil.host.processes import describe_exit, module_command, readable
from eventveil.io.camera.device import CameraInfo, Tuning
from eventveil.io.camera.frames import HEAD, LOST, OPENED, Frame, Head, body_buffer, make_frame
from eventveil.io.camera.process import OPEN_S, STUCK_S
from eventveil.io.camera.uri import CameraUri

SILENCE_S = 2.0  # beyond the process's own alarm: a stopped process gets no alarms either


class CameraLink:
    """One connection to one camera. `close` ends its process, whatever that is doing.

    Args:
        uri: the camera.
        tuning: its settings.
        max_age_ms: events that have waited longer are dropped before they get here; None: only when the queue is full.
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
                # The output of drivers is third-party text and might contain anything.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        settings = {"uri": str(uri), "max_age_ms": max_age_ms, **asdict(tuning)}
        self._socket.sendall(json.dumps(settings).encode() + b"\n")
        self._socket.setblocking(False)
        self._head = bytearray(HEAD.size)
        self._pending: Head | None = None  # the head of the frame being read
        self._body: npt.NDArray[Any] = np.empty(0, np.uint8)
        self._filled = 0
        self._received_s = time.monotonic()

    def read(self, seconds: float) -> Frame | None:
        """Return the next frame; None: none came within `seconds`.

        Raises:
            CameraError: the camera is gone, or could not be opened.
        """
        deadline = time.monotonic() + seconds
        while (frame := self._take()) is None:
            left = deadline - time.monotonic()
            if left <= 0:
                self._check_silence()
                return None
            readable(self._socket.fileno(), left)
        self._received_s = time.monotonic()
        if frame.head.kind == OPENED:
            self.info = CameraInfo.from_dict(frame.content)
        if frame.head.kind == LOST:
            raise CameraError(str(self.uri), **frame.content)
        return frame

    def close(self) -> None:
        """End the process. May be called twice."""
        self._process.kill()
        self._process.wait()
        self._socket.close()

    def _take(self) -> Frame | None:
        """Continue reading; return a frame once it is complete."""
        if self._pending is None:
            if not self._fill(memoryview(self._head)):
                return None
            self._pending = Head.unpack(self._head)
            self._body, self._filled = body_buffer(self._pending), 0
        if self._pending.size and not self._fill(self._body.view(np.uint8).data):
            return None
        frame, self._pending, self._filled = make_frame(self._pending, self._body), None, 0
        return frame

    def _fill(self, buffer: memoryview) -> bool:
        """Read without waiting; return whether the buffer is full."""
        while self._filled < len(buffer):
            try:
                count = self._socket.recv_into(buffer[self._filled :])
            except BlockingIOError:
                return False
            except ConnectionError:
                count = 0
            if count == 0:
                raise self._exit_error()
            self._filled += count
        return True

    def _check_silence(self) -> None:
        allowed_s = SILENCE_S + (OPEN_S if self.info is None else STUCK_S)
        if time.monotonic() - self._received_s > allowed_s:
            raise self._error(f"its driver's process has been silent for {allowed_s:.0f} s")

    def _exit_error(self) -> CameraError:
        try:
            status = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            status = 0
        if status == -signal.SIGALRM:
            if self.info is None:
                return self._error("its driver got no answer (on the network: does the peer send DV events?)")
            return self._error(f"its driver did not return within {STUCK_S} s")
        return self._error(f"its driver's process has died ({describe_exit(status)})")

    def _error(self, found: str) -> CameraError:
        return CameraError(str(self.uri), found=found, remedy="run `eventveil cameras` to see its state", passing=True)
