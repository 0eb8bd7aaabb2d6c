"""Hostile peers: violations of ZMTP (ZeroMQ RFC 23), in every way that is cheap for an attacker."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import struct
import time
from collections.abc import Iterator

import zmq

MIB = 1 << 20
PATIENCE_S = 60
SIGNATURE = b"\xff" + bytes(8) + b"\x7f"


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


def greeting(mechanism: bytes = b"NULL", version: bytes = b"\x03\x00", *, server: bool = False) -> bytes:
    """Return the 64 bytes with which each end starts."""
    return SIGNATURE + version + mechanism.ljust(20, b"\0") + bytes([server]) + bytes(31)


def command(name: bytes, body: bytes = b"") -> bytes:
    """Return a command of the handshake."""
    whole = bytes([len(name)]) + name + body
    return frame(whole, flags=0x04)


def frame(body: bytes, *, flags: int = 0, claimed: int | None = None) -> bytes:
    """Return a frame; `claimed` is the length in its header, by default the true one."""
    size = len(body) if claimed is None else claimed
    if size > 255:
        return bytes([flags | 0x02]) + struct.pack(">Q", size) + body
    return bytes([flags, size]) + body


def ready(kind: bytes = b"SUB") -> bytes:
    """Return the last command of the NULL handshake."""
    return command(b"READY", b"\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind)


HANDSHAKE = greeting() + ready()


def after_handshake(*frames: bytes) -> tuple[bytes, bytes]:
    """Return frames to send once the handshake is complete, after a proper subscription."""
    return HANDSHAKE, frame(b"\x01window") + b"".join(frames)


ATTACKS: dict[str, bytes | tuple[bytes, bytes]] = {
    "nothing": b"",
    "one byte": b"\xff",
    "half a signature": SIGNATURE[:7],
    "half a greeting": greeting()[:40],
    "HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "ones": b"\xff" * 5000,
    "zeros": bytes(5000),
    "version 0": greeting(version=b"\x00\x00"),
    "version 1": SIGNATURE + b"\x01\x02",
    "version 2": SIGNATURE + b"\x02\x00\x02\x00\x00" + frame(b"\x01window"),
    "version 99": greeting(version=b"\x63\x63") + ready(),
    "no such mechanism": greeting(b"NOSUCH") + ready(),
    "mechanism of ones": greeting(b"\xff" * 20) + ready(),
    "PLAIN": greeting(b"PLAIN") + command(b"HELLO", b"\x05alice\x06secret"),
    "GSSAPI": greeting(b"GSSAPI") + command(b"INITIATE", bytes(100)),
    "CURVE without its commands": greeting(b"CURVE") + ready(),
    "CURVE, a short HELLO": greeting(b"CURVE") + command(b"HELLO", bytes(10)),
    "CURVE, a HELLO of zeros": greeting(b"CURVE") + command(b"HELLO", b"\x01\x00" + bytes(192)),
    "CURVE, a HELLO of noise": greeting(b"CURVE") + command(b"HELLO", b"\x01\x00" + random.Random(1).randbytes(192)),
    "CURVE, as if it were the server": greeting(b"CURVE", server=True) + command(b"WELCOME", bytes(160)),
    "CURVE, a frame of 2^62 bytes": greeting(b"CURVE") + frame(b"\x05HELLO", flags=0x04, claimed=1 << 62),
    "CURVE, a command of 1 GiB, begun": greeting(b"CURVE")
    + frame(b"\x05HELLO" + bytes(100_000), flags=4, claimed=1 << 30),
    "CURVE, a message at once": greeting(b"CURVE") + frame(b"\x01window"),
    "CURVE, INITIATE at once": greeting(b"CURVE") + command(b"INITIATE", random.Random(2).randbytes(500)),
    "READY that lies about its parts": greeting() + command(b"READY", b"\xffSocket-Type" + struct.pack(">I", 1 << 31)),
    "READY of no such socket": greeting() + ready(b"NOSUCH"),
    "READY of a publisher": greeting() + ready(b"PUB"),
    "a message before the other end is ready": HANDSHAKE + frame(b"\x01window"),
    "a frame of 2^62 bytes": after_handshake(frame(b"\x01window", claimed=1 << 62)),
    "a frame of 2^63 bytes": after_handshake(frame(b"", claimed=1 << 63)),
    "a frame of 1 GiB, begun": after_handshake(frame(bytes(100_000), claimed=1 << 30)),
    "a frame of 2 KiB": after_handshake(frame(b"\x01" + bytes(2047))),
    "half a frame": after_handshake(frame(b"\x01win", claimed=200)),
    "a command of 1 GiB in the handshake": greeting() + frame(b"\x05READY", flags=0x04, claimed=1 << 30),
    "flags that do not exist": after_handshake(frame(b"\x01window", flags=0xF8)),
    "more parts without end": after_handshake(frame(b"\x01window", flags=0x01) * 5000),
    "an unknown command": after_handshake(command(b"NOSUCH", bytes(50))),
    "a PING of the wrong length": after_handshake(command(b"PING", b"\x00")),
    "cancelled and never made": (HANDSHAKE, frame(b"\x00window") * 50),
    "empty messages": after_handshake(frame(b"") * 5000),
}
"""Bytes to send, by description; the second of two are sent after the first have been answered."""


def attacks_after_hello(server_key: bytes) -> dict[str, tuple[bytes, bytes]]:
    """Return bytes to send once a publisher with this key (Z85) has answered the HELLO of an encrypted connection."""
    start = greeting(b"CURVE") + hello(server_key)
    initiate = random.Random(3).randbytes(257)
    return {
        description: (start, rest)
        for description, rest in {
            "and hangs up": b"",
            "INITIATE of noise": command(b"INITIATE", initiate),
            "INITIATE of zeros": command(b"INITIATE", bytes(257)),
            "a short INITIATE": command(b"INITIATE", bytes(10)),
            "INITIATE of 2^62 bytes": frame(b"\x08INITIATE" + initiate, flags=0x04, claimed=1 << 62),
            "INITIATE of 1 GiB, begun": frame(b"\x08INITIATE" + bytes(100_000), flags=0x04, claimed=1 << 30),
            "INITIATE of 2 KiB": command(b"INITIATE", bytes(2048)),
            "HELLO again, without end": hello(server_key) * 500,
            "READY, as without keys": ready(),
            "a message": frame(b"\x01window"),
            "an encrypted message": command(b"MESSAGE", random.Random(4).randbytes(100)),
            "noise": random.Random(5).randbytes(3000),
        }.items()
    }


def hello(server_key: bytes) -> bytes:
    """Return the HELLO that libzmq sends to a server with this key: nothing in it shows that it was recorded."""
    public, secret = zmq.curve_keypair()
    with socket.create_server(("127.0.0.1", 0)) as false, zmq.Context() as context, context.socket(zmq.SUB) as client:
        client.linger, client.curve_serverkey = 0, server_key
        client.curve_publickey, client.curve_secretkey = public, secret
        client.connect(f"tcp://127.0.0.1:{false.getsockname()[1]}")
        with false.accept()[0] as connection:
            connection.sendall(greeting(b"CURVE", server=True))
            received = b""
            while len(received) < 64 + 202:
                received += connection.recv(1000)
    return received[64:]


@contextlib.contextmanager
def clients(endpoint: str, number: int, **options: bytes) -> Iterator[None]:
    """Connect this many libzmq subscribers with these options; they retry by themselves."""
    with zmq.Context() as context, contextlib.ExitStack() as stack:
        for _ in range(number):
            client = stack.enter_context(context.socket(zmq.SUB))
            client.linger, client.reconnect_ivl = 0, 50
            for name, value in options.items():
                setattr(client, name, value)
            client.subscribe(b"")
            client.connect(endpoint)
        yield


def noise(seed: int) -> bytes | tuple[bytes, bytes]:
    """Return random bytes after a valid start of random length."""
    generator = random.Random(seed)
    start = generator.choice([b"", SIGNATURE, greeting(), greeting(b"CURVE"), HANDSHAKE])
    random_bytes = generator.randbytes(generator.choice([1, 10, 100, 3000]))
    return (start, random_bytes) if start == HANDSHAKE else start + random_bytes


def attack(address: tuple[str, int], payload: bytes | tuple[bytes, bytes], *, answer_s: float = 0.0) -> None:
    """Connect, send, wait briefly for an answer, and hang up. The peer should disconnect.

    The second of two payloads is sent after the peer's READY or WELCOME.
    """
    first, second = payload if isinstance(payload, tuple) else (payload, b"")
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as attacker:
        attacker.sendall(first)
        if second:
            answer = b""
            while not (b"READY" in answer or b"WELCOME" in answer) and (more := attacker.recv(4096)):
                answer += more
            attacker.sendall(second)
        attacker.settimeout(answer_s or 0.001)
        receive_to_end(attacker)


def receive_to_end(connection: socket.socket) -> None:
    """Receive until the peer disconnects; fail if it still sends after a minute."""
    until_s = time.monotonic() + PATIENCE_S
    while connection.recv(4096):
        assert time.monotonic() < until_s, "the peer still sends, and does not disconnect"


@contextlib.contextmanager
def crowd(address: tuple[str, int], number: int, payload: bytes = b"") -> Iterator[int]:
    """Open connections that send a payload and then stay silent; yield how many could be opened."""
    with contextlib.ExitStack() as stack:
        opened = 0
        for _ in range(number):
            with contextlib.suppress(OSError):
                connection = stack.enter_context(socket.create_connection(address, timeout=1))
                connection.sendall(payload)
                opened += 1
        yield opened
