"""What strangers send: ZMTP (ZeroMQ RFC 23) done wrong, in every way that costs them little."""

from __future__ import annotations

import contextlib
import random
import resource
import socket
import struct
from collections.abc import Iterator

import zmq

MIB = 1 << 20
SIGNATURE = b"\xff" + bytes(8) + b"\x7f"


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()


def greeting(mechanism: bytes = b"NULL", version: bytes = b"\x03\x00", *, server: bool = False) -> bytes:
    """The 64 bytes that each end begins with."""
    return SIGNATURE + version + mechanism.ljust(20, b"\0") + bytes([server]) + bytes(31)


def command(name: bytes, body: bytes = b"") -> bytes:
    """A command of the handshake."""
    whole = bytes([len(name)]) + name + body
    return frame(whole, flags=0x04)


def frame(body: bytes, *, flags: int = 0, said: int | None = None) -> bytes:
    """A frame; `said` is the length that it claims to have."""
    size = len(body) if said is None else said
    if size > 255:
        return bytes([flags | 0x02]) + struct.pack(">Q", size) + body
    return bytes([flags, size]) + body


def ready(kind: bytes = b"SUB") -> bytes:
    """The last command of the NULL handshake."""
    return command(b"READY", b"\x0bSocket-Type" + struct.pack(">I", len(kind)) + kind)


HANDSHAKE = greeting() + ready()


def behind(*frames: bytes) -> tuple[bytes, bytes]:
    """What is sent once the handshake is through, behind a proper subscription."""
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
    "CURVE without its words": greeting(b"CURVE") + ready(),
    "CURVE, a short HELLO": greeting(b"CURVE") + command(b"HELLO", bytes(10)),
    "CURVE, a HELLO of zeros": greeting(b"CURVE") + command(b"HELLO", b"\x01\x00" + bytes(192)),
    "CURVE, a HELLO of noise": greeting(b"CURVE") + command(b"HELLO", b"\x01\x00" + random.Random(1).randbytes(192)),
    "CURVE, as if it were the server": greeting(b"CURVE", server=True) + command(b"WELCOME", bytes(160)),
    "CURVE, a frame of 2^62 bytes": greeting(b"CURVE") + frame(b"\x05HELLO", flags=0x04, said=1 << 62),
    "CURVE, a command of 1 GiB, begun": greeting(b"CURVE")
    + frame(b"\x05HELLO" + bytes(100_000), flags=4, said=1 << 30),
    "CURVE, a message at once": greeting(b"CURVE") + frame(b"\x01window"),
    "CURVE, INITIATE at once": greeting(b"CURVE") + command(b"INITIATE", random.Random(2).randbytes(500)),
    "READY that lies about its parts": greeting() + command(b"READY", b"\xffSocket-Type" + struct.pack(">I", 1 << 31)),
    "READY of no such socket": greeting() + ready(b"NOSUCH"),
    "READY of a publisher": greeting() + ready(b"PUB"),
    "a message before the other end is ready": HANDSHAKE + frame(b"\x01window"),
    "a frame of 2^62 bytes": behind(frame(b"\x01window", said=1 << 62)),
    "a frame of 2^63 bytes": behind(frame(b"", said=1 << 63)),
    "a frame of 1 GiB, begun": behind(frame(bytes(100_000), said=1 << 30)),
    "a frame of 2 KiB": behind(frame(b"\x01" + bytes(2047))),
    "half a frame": behind(frame(b"\x01win", said=200)),
    "a command of 1 GiB in the handshake": greeting() + frame(b"\x05READY", flags=0x04, said=1 << 30),
    "flags that do not exist": behind(frame(b"\x01window", flags=0xF8)),
    "more parts without end": behind(frame(b"\x01window", flags=0x01) * 5000),
    "an unknown command": behind(command(b"NOSUCH", bytes(50))),
    "a PING of the wrong length": behind(command(b"PING", b"\x00")),
    "cancelled and never made": (HANDSHAKE, frame(b"\x00window") * 50),
    "empty messages": behind(frame(b"") * 5000),
}
"""Bytes by what they are; of two, the second are sent when the first were answered."""


def begun_with_curve(server_key: bytes) -> dict[str, tuple[bytes, bytes]]:
    """What comes once a publisher with this key (Z85) has answered the first word of an encrypted connection."""
    begun = greeting(b"CURVE") + first_word(server_key)
    initiate = random.Random(3).randbytes(257)
    return {
        what: (begun, then)
        for what, then in {
            "and hangs up": b"",
            "INITIATE of noise": command(b"INITIATE", initiate),
            "INITIATE of zeros": command(b"INITIATE", bytes(257)),
            "a short INITIATE": command(b"INITIATE", bytes(10)),
            "INITIATE of 2^62 bytes": frame(b"\x08INITIATE" + initiate, flags=0x04, said=1 << 62),
            "INITIATE of 1 GiB, begun": frame(b"\x08INITIATE" + bytes(100_000), flags=0x04, said=1 << 30),
            "INITIATE of 2 KiB": command(b"INITIATE", bytes(2048)),
            "the first word again, without end": first_word(server_key) * 500,
            "READY, as without keys": ready(),
            "a message": frame(b"\x01window"),
            "an encrypted message": command(b"MESSAGE", random.Random(4).randbytes(100)),
            "noise": random.Random(5).randbytes(3000),
        }.items()
    }


def first_word(server_key: bytes) -> bytes:
    """The HELLO that libzmq says to who has this key: nothing in it tells whether it was recorded."""
    public, secret = zmq.curve_keypair()
    with socket.create_server(("127.0.0.1", 0)) as false, zmq.Context() as context, context.socket(zmq.SUB) as client:
        client.linger, client.curve_serverkey = 0, server_key
        client.curve_publickey, client.curve_secretkey = public, secret
        client.connect(f"tcp://127.0.0.1:{false.getsockname()[1]}")
        with false.accept()[0] as connection:
            connection.sendall(greeting(b"CURVE", server=True))
            heard = b""
            while len(heard) < 64 + 202:
                heard += connection.recv(1000)
    return heard[64:]


@contextlib.contextmanager
def clients(endpoint: str, number: int, **options: bytes) -> Iterator[None]:
    """So many subscribers of libzmq's that try, and try again, with these options and otherwise as it likes."""
    with zmq.Context() as context, contextlib.ExitStack() as stack:
        for _ in range(number):
            one = stack.enter_context(context.socket(zmq.SUB))
            one.linger, one.reconnect_ivl = 0, 50
            for name, value in options.items():
                setattr(one, name, value)
            one.subscribe(b"")
            one.connect(endpoint)
        yield


def noise(seed: int) -> bytes | tuple[bytes, bytes]:
    """Random bytes behind as much of a good beginning as chance has it."""
    chance = random.Random(seed)
    begun = chance.choice([b"", SIGNATURE, greeting(), greeting(b"CURVE"), HANDSHAKE])
    random_bytes = chance.randbytes(chance.choice([1, 10, 100, 3000]))
    return (begun, random_bytes) if begun == HANDSHAKE else begun + random_bytes


def attack(address: tuple[str, int], what: bytes | tuple[bytes, bytes], *, answer_s: float = 0.0) -> None:
    """Connect, send, wait for an answer for a moment, and hang up. Being thrown out is what is hoped for.

    Of two, the second is sent when the other end has said its READY, or its WELCOME.
    """
    first, then = what if isinstance(what, tuple) else (what, b"")
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=5) as stranger:
        stranger.sendall(first)
        if then:
            answer = b""
            while not (b"READY" in answer or b"WELCOME" in answer) and (more := stranger.recv(4096)):
                answer += more
            stranger.sendall(then)
        stranger.settimeout(answer_s or 0.001)
        while stranger.recv(4096):
            pass


@contextlib.contextmanager
def crowd(address: tuple[str, int], number: int, what: bytes = b"") -> Iterator[int]:
    """So many connections at once that say so much and then nothing; yields how many could be made."""
    with contextlib.ExitStack() as stack:
        made = 0
        for _ in range(number):
            with contextlib.suppress(OSError):
                one = stack.enter_context(socket.create_connection(address, timeout=1))
                one.sendall(what)
                made += 1
        yield made
