"""A client of a DV network stream, without dv-processing: the bytes of an AEDAT4 file without its magic line."""

from __future__ import annotations

import socket
import threading
import time

from eventveil.io.formats.aedat4 import MAGIC
from eventveil.io.source import open_events

PATIENCE_S = 60


class DvClient:
    """Connects to a port of this machine as soon as a server listens there, and collects all bytes until the end."""

    def __init__(self, port: int) -> None:
        self.connected, self._data = threading.Event(), bytearray()
        self._thread = threading.Thread(target=self._collect, args=(port,))
        self._thread.start()

    def _collect(self, port):
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
                    while data := connection.recv(1 << 16):
                        self._data += data
                        self.connected.set()
                    return
            except ConnectionRefusedError:
                time.sleep(0.002)

    def events(self, folder) -> tuple[str, list[list[int]]]:
        """Wait for the end; return the sensor and all events, read as a recording."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        (folder / "received.aedat4").write_bytes(MAGIC + self._data)
        with open_events(folder / "received.aedat4") as source:
            packets = list(source)
            return str(source.sensor), join(packets)


def join(packets):
    """Return packets as one list of columns."""
    return [[value for packet in packets for value in getattr(packet, name).tolist()] for name in "txyp"]
