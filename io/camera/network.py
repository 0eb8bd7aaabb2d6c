"""A camera's events over the network, as dv-processing and the DV software send them.

    eventveil run dv+tcp://192.168.0.7:7777
    eventveil run 'dv+tcp://192.168.0.7:7777?certificate=client.pem&key=client.key'     TLS
    eventveil run dv+unix:///run/dv/events.sock

Behaviour of dv-processing's NetworkReader, observed with 2.0.4: it blocks forever, with the whole interpreter, if its
peer accepts the connection and sends nothing (the alarm of this process ends that); it buffers without bound (so it is
emptied in every round, and events wait in our own queue); when its peer is gone, it discards what it has not delivered.
With certificate and key it authenticates to the peer; whether it verifies the peer is not documented: use a network
that you trust.

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
from eventveil.host.addresses import split_host_port
from eventveil.io.camera.configure import refusal
from eventveil.io.camera.device import CameraBatch, CameraInfo, Tuning
from eventveil.io.camera.dv import as_records
from eventveil.io.camera.uri import DV_PROCESSING, DV_TCP, CameraUri

CONNECT_S = 4


class NetworkStream:
    """The events that a `dv.io.NetworkWriter` sends.

    Args:
        uri: dv+tcp://HOST:PORT or dv+unix:///PATH.
        tuning: must be empty: a camera is configured where it is attached.
    """

    def __init__(self, uri: CameraUri, tuning: Tuning) -> None:
        self._uri = uri
        if tuning != Tuning():
            raise refusal(uri, "biases, roi or max_event_rate", "the camera is at the other end")
        self._reader = self._connect()
        if not self._reader.isEventStreamAvailable():
            raise self._error("the peer does not send events", "make it send events", passing=False)
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
        """Close the connection by deleting it."""
        del self._reader

    def _connect(self) -> Any:
        if self._uri.kind != DV_TCP:
            return self._open(lambda: dv.io.NetworkReader(self._uri.name))
        host, port = split_host_port(self._uri.name)
        try:
            address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4][0]
        except OSError:
            raise self._error(f"the host {host} is not known", "check its spelling", passing=True) from None
        if not self._uri.options:
            return self._open(lambda: dv.io.NetworkReader(address, int(port)))
        files = [self._uri.options[name] for name in ("certificate", "key")]
        for path in files:
            if not Path(path).is_file():
                raise self._error(f"there is no file {path}", "name the PEM file of this client", passing=False)
        return self._open(lambda: dv.io.NetworkReader(address, int(port), *files))

    def _open(self, connect: Any) -> Any:
        signal.alarm(CONNECT_S)  # while the reader waits, nothing else can end it
        try:
            return connect()
        except RuntimeError:
            remedy = "check that it runs" + (" and that the port is open" if self._uri.kind == DV_TCP else "")
            raise self._error("no sender of DV events answers there", remedy, passing=True) from None

    def _error(self, found: str, remedy: str, *, passing: bool) -> CameraError:
        return CameraError(str(self._uri), found=found, remedy=remedy, passing=passing)
