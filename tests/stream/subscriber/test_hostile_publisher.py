"""Hostile publishers against subscribers: an error or a retry, and no memory for bytes that are not sent."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading

import pytest
from hostile_peers import MIB, frame, greeting, memory, ready
from pipeline_helpers import pipeline_ended, values, window_header

from eventveil.errors import WireError
from eventveil.stream import subscribe
from eventveil.stream.protocol.wire import encode

pytestmark = [
    pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is measured on Linux"),  # noqa: PTH110
    pytest.mark.timeout(300),
]

PATIENCE_S = 60
WINDOW, END = encode(window_header(), values()), encode(pipeline_ended())


def message(frames):
    """Encode frames as a publisher sends them."""
    parts = [bytes(part) for part in frames]
    return b"".join(frame(part, flags=0x01) for part in parts[:-1]) + frame(parts[-1])


def changed(**keys):
    """Return a window with changed header keys."""
    header = json.loads(bytes(WINDOW[1])) | keys
    return message([b"window", json.dumps(header).encode(), bytes(WINDOW[2])])


@contextlib.contextmanager
def false_publisher(*answers):
    """Speak ZMTP to one subscriber after the other, and send each of them the next answer."""

    def serve():
        for answer in answers:
            with contextlib.suppress(OSError), server.accept()[0] as connection:
                connection.settimeout(PATIENCE_S)
                connection.sendall(greeting())
                received = b""
                while b"READY" not in received and (more := connection.recv(4096)):
                    received += more
                connection.sendall(ready(b"PUB"))
                connection.sendall(answer)
                connection.settimeout(0.5)
                while connection.recv(4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)  # ends a waiting accept
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        message([b"window"]),
        message([b"window", b"", b""]),
        message([b"window"] * 5),
        message([b"windows", bytes(WINDOW[1]), bytes(WINDOW[2])]),
        message([b"window", b"[" * 100_000, b""]),
        message([b"window", b'{"version":' + b"9" * 100_000 + b"}", b""]),
        message([b"window", b" " * (2 * MIB), b""]),
        changed(version=1),
        changed(version="2"),
        changed(dtype="<f8"),
        changed(dtype="O"),
        changed(shape=[2, 3]),
        changed(shape=[1 << 31, 1 << 31, 1 << 31]),
        changed(shape=[1 << 26, 1, 1]),
        changed(shape=[10**4000, 1, 1]),
        changed(shape=[-2, -3, 4]),
        changed(shape=[0, 0, 0]),
        changed(stream="../../etc/passwd"),
        changed(seq=1 << 64),
        changed(lost={"queue": -1}),
        message([*(bytes(part) for part in WINDOW[:2]), bytes(WINDOW[2])[:-1]]),
    ],
)  # fmt: skip
def test_an_invalid_message_gives_a_wire_error_and_takes_no_memory(answer):
    before = memory(os.getpid())
    with false_publisher(answer) as endpoint, contextlib.closing(subscribe(endpoint, timeout_s=PATIENCE_S)) as messages:
        with pytest.raises(WireError) as caught:
            next(messages)
        assert len(str(caught.value)) < 500
        assert memory(os.getpid()) < before + 32 * MIB


def received_from(*answers):
    """Return the topics that a subscriber receives from a false publisher, and the error that ends it, if any."""
    before, topics = memory(os.getpid()), []
    with false_publisher(*answers) as endpoint:
        try:
            for each in subscribe(endpoint, timeout_s=PATIENCE_S):
                topics.append(each.topic)  # noqa: PERF401 - keep the topics before an error
        except WireError as error:
            topics.append(str(error))
    assert memory(os.getpid()) < before + 32 * MIB
    return topics


@pytest.mark.parametrize(
    "answer",
    [
        frame(b"window", flags=0x01) + frame(b"half", claimed=200),
        message(WINDOW)[:-5],
        struct.pack(">BQ", 2, 299 * MIB),
        frame(bytes(1000), claimed=299 * MIB),
    ],
    ids=["half a frame", "cut off", "299 MiB claimed", "299 MiB started"],
)
def test_after_a_message_that_was_cut_off_a_subscriber_goes_on(answer):
    assert received_from(answer, message(WINDOW) + message(END)) == ["window", "state"]


@pytest.mark.parametrize(
    "answer",
    [
        frame(b"window", flags=0x01, claimed=1 << 62),
        frame(b"window", claimed=1 << 63),
        frame(bytes(1000), claimed=400 * MIB),
        b"\xff" * 10_000,
    ],
    ids=["2^62", "2^63", "400 MiB", "ones"],
)
def test_a_publisher_that_sends_no_frames_is_listened_to_no_longer_and_that_is_said(answer):
    (error,) = received_from(answer, message(WINDOW))
    assert "the connection was closed for good" in error
    assert received_from(message(WINDOW) + answer)[0] == "window"
