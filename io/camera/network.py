"""A camera's events over the network, as dv-processing and the DV software send them.

    eventveil run dv+tcp://192.168.0.7:7777
    eventveil run 'dv+tcp://192.168.0.7:7777?certificate=client.pem&key=client.key'     TLS
    eventveil run dv+unix:///run/dv/events.sock

What dv-processing's NetworkReader does, seen with 2.0.4: it waits for ever, and with it the whole interpreter, for a
peer that takes the connection and says nothing (the alarm of this process ends that); it takes in whatever comes,
without bound (so it is emptied in every round, and what waits does so in our own queue); when its peer is gone it
forgets what it has not handed out. With certificate and key it shows itself to the peer; whether it checks who the peer
is, it does not say: use a network that you trust.

Source: dv-processing 2.0.4, its Python interface as installed.
"""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path
from typing import Any

import dv_processing as dv

from eventveil.errors import CameraError
from eventveil.events import Sensor
from eventveil.io.camera.configure import refusal
from eventveil.io.camera.device import CameraBatch, CameraInfo, Tuning
from eventveil.io.camera.dv import as_records
from eventveil.io.camera.uri import DV_PROCESSING, DV_TCP, CameraUri

CONNECT_S = 4


class NetworkStream:
    """Events that a `dv.io.NetworkWriter` sends.

    Args:
        uri: dv+tcp://HOST:PORT or dv+unix:///PATH.
        tuning: nothing: a camera is told such things where it is.
    """

    def __init__(self, uri: CameraUri, tuning: Tuning) -> None:
        self._uri = uri
        if tuning != Tuning():
            raise refusal(uri, "biases, roi or max_event_rate", "the camera is at the other end")
        self._reader = self._connect()
        if not self._reader.isEventStreamAvailable():
            raise self._error("the peer sends something else than events", "let it send the events", passing=False)
        self.info = CameraInfo(
            driver=DV_PROCESSING,
            model=self._reader.getCameraName(),
            sensor=Sensor(*self._reader.getEventResolution()),
            connection="network",
            uri=str(uri),
        )

    def read(self) -> CameraBatch | None:
        """Return the next events."""
        events = self._reader.getNextEventBatch()
        if events is not None and len(events):
            return CameraBatch(as_records(events), time.monotonic_ns())
        if not self._reader.isRunning():
            raise self._error("the peer has closed the connection", "start it again", passing=True)
        return None

    def close(self) -> None:
        """Let go of the connection."""
        del self._reader

    def _connect(self) -> Any:
        if self._uri.kind != DV_TCP:
            return self._reached(lambda: dv.io.NetworkReader(self._uri.name))
        host, _, port = self._uri.name.rpartition(":")
        try:
            address = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0][4][0]
        except OSError:
            raise self._error(f"the name {host} is not known", "see to its spelling", passing=True) from None
        if not self._uri.options:
            return self._reached(lambda: dv.io.NetworkReader(address, int(port)))
        files = [self._uri.options[name] for name in ("certificate", "key")]
        for path in files:
            if not Path(path).is_file():
                raise self._error(f"there is no file {path}", "name the PEM file of this client", passing=False)
        return self._reached(lambda: dv.io.NetworkReader(address, int(port), *files))

    def _reached(self, connect: Any) -> Any:
        signal.alarm(CONNECT_S)  # while the reader waits, nothing else can end it
        try:
            return connect()
        except RuntimeError:
            instead = "see that it runs and that the port is open" if self._uri.kind == DV_TCP else "see that it runs"
            raise self._error("nobody who sends DV events answers there", instead, passing=True) from None

    def _error(self, found: str, remedy: str, *, passing: bool) -> CameraError:
        return CameraError(str(self._uri), found=found, remedy=remedy, passing=passing)
