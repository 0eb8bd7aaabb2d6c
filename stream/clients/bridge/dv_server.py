"""Serves events as a DV network stream, so that dv-processing, DV and eventveil open them like a camera.

A client that connects gets the header of an AEDAT4 file without its magic line, and then the packets of such a file,
uncompressed: what dv-processing's NetworkWriter sends, whose destructor never returns and whose queue has no bound.
Clients send nothing.

Source: the bytes that the NetworkWriter of dv-processing 2.0.4 sends.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from types import TracebackType
from typing import Self

from eventveil.errors import ConfigError
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.aedat4_writer import packet_bytes, stream_header
from eventveil.stream.protocol.endpoints import dv_address

MAX_CLIENTS = 10
QUEUE = 50  # packets for a slow client: 5 s of steps
SEND_S = 5.0  # after which a client that reads nothing is disconnected
POLL_S = 0.1  # how often a waiting thread checks whether the server closes
COMPRESSION = "NONE"


class DvServer:
    """A server of events, a context manager.

    A client that is too slow misses packets, and one that reads nothing is disconnected; neither delays the others.

    Args:
        uri: `dv+tcp://HOST:PORT` on a loopback address.
        sensor: geometry of the events.

    Attributes:
        missed: packets that slow clients did not get.

    Raises:
        ConfigError: the address is not one of this machine, or in use.
    """

    def __init__(self, uri: str, sensor: Sensor) -> None:
        try:
            address = dv_address(uri)
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            self._listener = socket.create_server(address, family=family)
        except (ValueError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"cannot serve events on {uri}: {reason}; choose another address") from error
        self._listener.settimeout(POLL_S)
        self._header = stream_header(sensor, COMPRESSION)
        self._clients: dict[threading.Thread, queue.Queue[bytes]] = {}
        self._lock = threading.Lock()  # over the clients
        self._closed = False
        self.missed = 0
        self._accepting = threading.Thread(target=self._accept, name="dv server", daemon=True)
        self._accepting.start()

    @property
    def clients(self) -> int:
        """How many clients are connected; one that has left counts until the next packets."""
        with self._lock:
            return len(self._clients)

    def send(self, events: EventPacket) -> None:
        """Send a packet to all clients, without waiting for any."""
        if not len(events):
            return
        data = packet_bytes(events, COMPRESSION)
        with self._lock:
            for waiting in self._clients.values():
                try:
                    waiting.put_nowait(data)
                except queue.Full:
                    self.missed += 1

    def close(self) -> None:
        """Stop listening, send what waits, and disconnect all clients."""
        self._closed = True
        self._listener.close()
        self._accepting.join()
        with self._lock:
            serving = list(self._clients)
        for thread in serving:
            thread.join(SEND_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except TimeoutError:  # no client yet
                continue
            except OSError:  # the server closes, the client has left already, or there are too many open files
                time.sleep(POLL_S)
                continue
            with self._lock:
                if len(self._clients) >= MAX_CLIENTS:
                    client.close()
                    continue
                waiting: queue.Queue[bytes] = queue.Queue(QUEUE)
                thread = threading.Thread(target=self._serve, args=(client, waiting), name="dv client", daemon=True)
                self._clients[thread] = waiting
            try:
                thread.start()
            except RuntimeError:  # the machine has no thread left
                with self._lock:
                    del self._clients[thread]
                client.close()

    def _serve(self, client: socket.socket, waiting: queue.Queue[bytes]) -> None:
        try:
            with client:
                client.settimeout(SEND_S)
                client.sendall(self._header)
                while True:
                    try:
                        data = waiting.get(timeout=POLL_S)
                    except queue.Empty:
                        if self._closed:
                            return
                        continue
                    client.sendall(data)
        except OSError:  # it has left, or reads nothing
            return
        finally:
            with self._lock:
                del self._clients[threading.current_thread()]
