"""A false publisher's bytes against subscribers: an error, or a next try; no memory for what is not sent."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading

import pytest
from hostile_peers import MIB, frame, greeting, memory, ready
from pipeline_helpers import line_ended, values, window_header

from eventveil.errors import WireError
from eventveil.stream import subscribe
from eventveil.stream.protocol.wire import encode

pytestmark = [
    pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is weighed on Linux"),  # noqa: PTH110
    pytest.mark.timeout(300),
]

PATIENCE_S = 60
WINDOW, END = encode(window_header(), values()), encode(line_ended())


def message(frames):
    """Frames as a publisher sends them."""
    parts = [bytes(part) for part in frames]
    return b"".join(frame(part, flags=0x01) for part in parts[:-1]) + frame(parts[-1])


def changed(**keys):
    """A window whose header says something else."""
    header = json.loads(bytes(WINDOW[1])) | keys
    return message([b"window", json.dumps(header).encode(), bytes(WINDOW[2])])


@contextlib.contextmanager
def false_publisher(*answers):
    """Speaks ZMTP to one subscriber after the other, and sends each of them the next answer."""

    def serve():
        for answer in answers:
            with contextlib.suppress(OSError), server.accept()[0] as connection:
                connection.settimeout(PATIENCE_S)
                connection.sendall(greeting())
                heard = b""
                while b"READY" not in heard and (more := connection.recv(4096)):
                    heard += more
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
        changed(version=2),
        changed(version="1"),
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
def test_a_message_that_is_none_gives_a_wire_error_and_takes_no_memory(answer):
    before = memory(os.getpid())
    with false_publisher(answer) as endpoint, contextlib.closing(subscribe(endpoint, timeout_s=PATIENCE_S)) as messages:
        with pytest.raises(WireError) as caught:
            next(messages)
        assert len(str(caught.value)) < 500
        assert memory(os.getpid()) < before + 32 * MIB


def heard(*answers):
    """The topics that a subscriber hears of a false publisher, and how it ends."""
    before, topics = memory(os.getpid()), []
    with false_publisher(*answers) as endpoint:
        try:
            for one in subscribe(endpoint, timeout_s=PATIENCE_S):
                topics.append(one.topic)  # noqa: PERF401 - what came before an error counts
        except WireError as error:
            topics.append(str(error))
    assert memory(os.getpid()) < before + 32 * MIB
    return topics


@pytest.mark.parametrize(
    "answer",
    [
        frame(b"window", flags=0x01) + frame(b"half", said=200),
        message(WINDOW)[:-5],
        struct.pack(">BQ", 2, 299 * MIB),
        frame(bytes(1000), said=299 * MIB),
    ],
    ids=["half a frame", "cut off", "299 MiB said", "299 MiB begun"],
)
def test_after_a_message_that_was_cut_off_a_subscriber_goes_on(answer):
    assert heard(answer, message(WINDOW) + message(END)) == ["window", "state"]


@pytest.mark.parametrize(
    "answer",
    [
        frame(b"window", flags=0x01, said=1 << 62),
        frame(b"window", said=1 << 63),
        frame(bytes(1000), said=400 * MIB),
        b"\xff" * 10_000,
    ],
    ids=["2^62", "2^63", "400 MiB", "ones"],
)
def test_a_publisher_that_sends_no_frames_is_listened_to_no_longer_and_that_is_said(answer):
    (told,) = heard(answer, message(WINDOW))
    assert "the connection was closed for good" in told
    assert heard(message(WINDOW) + answer)[0] == "window"
