"""Two network namespaces and a cable between them that delays, reorders and loses packets, or is cut.

Each end is a TUN device whose other side is open here, so the kernel's own TCP has to recover real losses, and
every packet can be inspected. This needs no kernel module, only the right to create namespaces.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest

PUBLISHER, SUBSCRIBER = "192.0.2.1", "192.0.2.2"  # addresses for documentation (RFC 5737)
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_LARGEST = 1 << 16
_IPV4, _TCP = 4, 6
_STEP_S = 0.05  # how soon the thread notices the end of the test


@dataclass(frozen=True)
class End:
    """One namespace; `within` goes before a command to run it there."""

    pid: int

    @property
    def within(self) -> tuple[str, ...]:
        return "nsenter", f"--net=/proc/{self.pid}/ns/net"


class Link:
    """The cable between the two ends. Packets overtake each other if their delays differ enough.

    Attributes:
        delay_s: shortest and longest delay of a packet; each packet has its own.
        loss: fraction of packets that is lost.
        cut: whether the cable is cut: nothing passes, not even packets in flight.
        lost: number of packets that did not arrive.
    """

    def __init__(self, publisher: End, subscriber: End, devices: tuple[int, int]) -> None:
        self.publisher, self.subscriber = publisher, subscriber
        self.delay_s, self.loss, self.cut, self.lost = (0.0, 0.0), 0.0, False, 0
        self._devices = devices
        self._packets: list[bytes] = []
        self._random = random.Random(1)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._pass_on)

    def payloads(self) -> bytes:
        """Return the bytes that TCP carried, each direction of each connection in one piece.

        Headers are left out: their checksums are random and their other fields are mostly zeros, which makes short
        patterns turn up by chance.
        """
        flows: dict[bytes, dict[int, bytes]] = {}
        for packet in self._packets:
            if packet[0] >> 4 != _IPV4 or packet[9] != _TCP:
                continue
            tcp = packet[4 * (packet[0] & 0xF) : int.from_bytes(packet[2:4], "big")]
            sequence = int.from_bytes(tcp[4:8], "big")
            payload = tcp[4 * (tcp[12] >> 4) :]
            if payload:
                segments = flows.setdefault(packet[12:20] + tcp[:4], {})
                segments[sequence] = max(payload, segments.get(sequence, b""), key=len)
        return b"\0".join(map(_in_order, flows.values()))

    @contextmanager
    def passing(self) -> Iterator[Link]:
        """Pass packets on in a thread."""
        self._thread.start()
        try:
            yield self
        finally:
            self._done.set()
            self._thread.join()

    def _pass_on(self) -> None:
        others = dict(zip(self._devices, reversed(self._devices), strict=True))
        in_flight: list[tuple[float, int, int, bytes]] = []  # due, number, to, packet
        while not self._done.is_set():
            wait_s = max(0.0, in_flight[0][0] - time.monotonic()) if in_flight else _STEP_S
            for device in select.select(self._devices, [], [], min(wait_s, _STEP_S))[0]:
                packet = os.read(device, _LARGEST)
                self._packets.append(packet)
                due = time.monotonic() + self._random.uniform(*self.delay_s)
                heapq.heappush(in_flight, (due, len(self._packets), others[device], packet))
            while in_flight and in_flight[0][0] <= time.monotonic():
                _, _, to, packet = heapq.heappop(in_flight)
                if self.cut or self._random.random() < self.loss:
                    self.lost += 1
                else:
                    os.write(to, packet)


def _in_order(segments: dict[int, bytes]) -> bytes:
    """Join the segments of one direction by their sequence numbers, which wrap at 2^32; overlaps count once."""
    first = next(iter(segments))  # they were noted as they were sent, so the first one has the lowest number
    stream = bytearray()
    for number in sorted(segments, key=lambda number: (number - first) % (1 << 32)):
        known = len(stream) - (number - first) % (1 << 32)
        stream += segments[number][known:]
    return bytes(stream)


@contextmanager
def link() -> Iterator[Link]:
    """Create both ends; skip the test if that is not permitted. Everything is removed, however the test ends."""
    with ExitStack() as stack:
        try:
            ends = [stack.enter_context(_namespace()) for _ in range(2)]
            devices = tuple(_device(stack, *each) for each in zip(ends, (PUBLISHER, SUBSCRIBER), strict=True))
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"may not make network namespaces with TUN devices: {error}")
        yield stack.enter_context(Link(*ends, devices).passing())


@contextmanager
def _namespace() -> Iterator[End]:
    """A namespace without a name: it lives as long as its process, which ends when the pipe to it closes."""
    command = ["unshare", "--net", "sh", "-c", "echo made; exec cat"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        if not process.stdout.readline():
            raise PermissionError(process.stderr.read().decode().strip())
        yield End(process.pid)


def _device(stack: ExitStack, end: End, address: str) -> int:
    """Create the one device of a namespace, and return our side of it."""
    ours = os.open("/dev/net/tun", os.O_RDWR)
    stack.callback(os.close, ours)
    request = fcntl.ioctl(ours, _TUNSETIFF, struct.pack("16sH22x", b"ev%d", _IFF_TUN | _IFF_NO_PI))
    name = request[:16].rstrip(b"\0").decode()
    for command in (
        ("ip", "link", "set", name, "netns", str(end.pid)),
        (*end.within, "ip", "address", "add", f"{address}/24", "dev", name),
        (*end.within, "ip", "link", "set", "lo", "up"),
        (*end.within, "ip", "link", "set", name, "up"),
    ):
        subprocess.run(command, check=True, capture_output=True, text=True)
    return ours
