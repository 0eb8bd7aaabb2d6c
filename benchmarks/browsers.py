"""Measure how much ten browsers at the page of `eventveil view`, one of them halted, delay windows.

    python benchmarks/browsers.py [--seconds 60] [--rate 30] [--rounds 2]

A publisher sends windows of 2x96x128 at a steady rate; `eventveil view`, in a process of its own, passes them to
browsers: WebSocket clients, all in the process of the publisher. In turns, one browser watches, or ten, of which one
never reads. The delay of a window is the time from its publication to its receipt by a reading browser, on one clock.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import getloadavg
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import zmq
from machine import processor
from websockets.asyncio.client import connect

from eventveil.host.processes import module_command
from eventveil.stream.protocol.wire import Geometry, WindowHeader, encode

SHAPE = (2, 96, 128)  # large, so that what waits for a halted browser fills the buffers of the kernel
ALLOWED = 1.2  # p99 of ten browsers in that of one
PREFIX = struct.Struct("<II")


def publish(endpoint: str, rate: float, stop: threading.Event) -> None:
    """Send windows whose start is the time of their publication, from the first subscription on."""
    picture = np.random.default_rng(0).poisson(0.1, SHAPE).astype(np.float32)
    common = {"shape": SHAPE, "stream": "0", "run": "0" * 16, "life": 1, "age_ms": 0, "trained": True}
    with zmq.Context() as context, context.socket(zmq.XPUB) as public:
        public.linger = 0
        public.bind(endpoint)
        public.recv()
        begun_s, seq = time.monotonic(), 0
        while not stop.wait(max(0.0, begun_s + seq / rate - time.monotonic())):
            now_us = time.monotonic_ns() // 1000
            times = {"seq": seq, "t_start_us": now_us, "t_end_us": now_us + 1}
            header = WindowHeader(sensor=Geometry(width=128, height=96), anonymizer="ab" * 32, **times, **common)
            public.send_multipart(encode(header, picture))
            seq += 1


@contextmanager
def page(endpoint: str) -> Iterator[str]:
    """Run `eventveil view`; yield the address of its frames."""
    command = module_command("eventveil.cli", "view", endpoint, "--http", "127.0.0.1:0")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as view:
        assert view.stderr is not None
        try:
            address = re.search(r"127\.0\.0\.1:\d+", view.stderr.readline())
            assert address is not None
            yield f"ws://{address[0]}/frames"
        finally:
            view.terminate()


async def watch(address: str, seconds: float) -> tuple[list[float], int]:
    """Be a browser that reads; return the delay of each window in milliseconds, and the number of frames missed."""
    delays_ms, dropped = [], 0
    end_s = time.monotonic() + seconds
    async with connect(address, compression=None) as connection:
        async for message in connection:
            now_us = time.monotonic_ns() / 1000
            dropped, size = PREFIX.unpack_from(message)
            header = json.loads(message[PREFIX.size : PREFIX.size + size])
            if header["kind"] == "window" and now_us / 1e6 > end_s - seconds + 1:  # not the newest of before
                delays_ms.append((now_us - header["t_start_us"]) / 1000)
            if now_us / 1e6 > end_s:
                break
    return delays_ms, dropped


async def halt(address: str, seconds: float) -> int:
    """Be a browser that reads nothing, with little room; return the frames missed, as the first late message says."""
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.setblocking(False)
        host, port = urlsplit(address).hostname, urlsplit(address).port
        await asyncio.get_running_loop().sock_connect(plain, (host, port))
        async with connect(address, sock=plain, compression=None, max_queue=1, close_timeout=1) as connection:
            await asyncio.sleep(seconds)
            dropped = 0
            while not dropped:
                dropped = PREFIX.unpack_from(await connection.recv())[0]
    return dropped


async def browsers(address: str, reading: int, halted: int, seconds: float) -> tuple[list[float], int, int]:
    """Watch with this many browsers at once; return all delays, and the frames missed by reading and halted ones."""
    waiting = asyncio.gather(*(halt(address, seconds) for _ in range(halted)))
    results = await asyncio.gather(*(watch(address, seconds) for _ in range(reading)))
    delays_ms = [delay for delays, _ in results for delay in delays]
    return delays_ms, sum(dropped for _, dropped in results), sum(await waiting)


def main() -> None:
    """Measure in turns, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of one browser or of ten")
    parser.add_argument("--rate", type=float, default=30.0, help="windows a second")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    stop = threading.Event()
    p99_ms: dict[str, list[float]] = {"one": [], "ten": []}
    with tempfile.TemporaryDirectory(prefix="ev-") as folder:
        endpoint = f"ipc://{Path(folder)}/public"
        publisher = threading.Thread(target=publish, args=(endpoint, options.rate, stop))
        publisher.start()
        with page(endpoint) as address:
            for _ in range(options.rounds):
                for name, reading, halted in (("one", 1, 0), ("ten", 9, 1)):
                    delays_ms, missed, late = asyncio.run(browsers(address, reading, halted, options.seconds))
                    p50, p99 = np.percentile(delays_ms, [50, 99])
                    p99_ms[name].append(float(p99))
                    print(
                        f"{name}: {len(delays_ms)} windows, p50 {p50:.2f} ms, p99 {p99:.2f} ms, {missed} missed", end=""
                    )
                    print(f"; the halted one missed {late}" if halted else "")
            stop.set()
        publisher.join()
    ratio = np.mean(p99_ms["ten"]) / np.mean(p99_ms["one"])
    print(f"p99 of ten in that of one: {ratio:.2f}, allowed {ALLOWED}; {processor()}, load {getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
