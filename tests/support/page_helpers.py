"""Support for tests of the page: a publisher that sends what a test says, and browsers without a screen."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
import urllib.error
import urllib.request

import numpy as np
import zmq
from pipeline_helpers import gesture_header, window_header
from websockets.sync.client import connect

from eventveil.stream.clients.web.app import make_app
from eventveil.stream.clients.web.feed import Feed, WatchedPipeline
from eventveil.stream.clients.web.server import PageServer
from eventveil.stream.protocol.wire import encode

PATIENCE_S = 60.0  # far longer than anything takes: a broken test must not hang


class Publisher:
    """A publisher without a pipeline."""

    def __init__(self, endpoint="tcp://127.0.0.1:*"):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self._socket.linger, self._socket.rcvtimeo = 1000, int(PATIENCE_S * 1000)
        self._socket.bind(endpoint)
        self.endpoint = self._socket.last_endpoint.decode()

    def wait(self):
        """Wait for a subscriber: its subscription to `state` comes last."""
        while self._socket.recv() != b"\x01state":
            pass

    def send(self, header, array=None):
        """Publish a message."""
        self._socket.send_multipart(encode(header, array))

    def window(self, seq=0, values=None, **changed):
        """Publish a window."""
        values = np.zeros((2, 3, 4), np.float32) if values is None else np.asarray(values, np.float32)
        self.send(window_header(seq=seq, shape=values.shape, **changed), values)

    def gesture(self, seq=0, **changed):
        """Publish a gesture."""
        self.send(gesture_header(seq=seq, **changed))

    def close(self):
        """End, as a publisher whose machine fails."""
        self._context.destroy(linger=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def decoded(message):
    """Decode a message to a browser: the frames dropped before it, its header, its payload. See docs/view.md."""
    dropped, size = struct.unpack_from("<II", message)
    return dropped, json.loads(message[8 : 8 + size]), message[8 + size :]


class Browser:
    """A WebSocket to the page's server."""

    def __init__(self, socket):
        self.socket = socket

    def next(self, *kinds):
        """Return the next frame of these kinds, decoded."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            frame = decoded(self.socket.recv(PATIENCE_S))
            if frame[1]["kind"] in kinds:
                return frame
        raise AssertionError(f"no frame of {kinds}")


@contextlib.contextmanager
def browser(address, *, host=None, **options):
    """Open the WebSocket of the page at an address; `host` is what the request calls the machine."""
    with socket.create_connection(address, PATIENCE_S) as plain:
        url = f"ws://{host or f'{address[0]}:{address[1]}'}/frames"
        with connect(url, sock=plain, max_size=None, proxy=None, **options) as opened:
            yield Browser(opened)


@contextlib.contextmanager
def page(endpoint, token=None, **options):
    """Serve the page of an endpoint, and yield the server's address."""
    watched = WatchedPipeline(endpoint, **options)
    with Feed(watched) as feed, PageServer(("127.0.0.1", 0), make_app(feed, token)) as server:
        yield server.address


def get(address, path="/", **headers):
    """Return the status, the headers and the text of a page."""
    request = urllib.request.Request(f"http://{address[0]}:{address[1]}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read().decode()
