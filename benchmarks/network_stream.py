"""Events from another process, over dv-processing's network protocol, through the whole line: what rate holds?

    python benchmarks/network_stream.py [--rate 10] [--seconds 60] [--delivery live|lossless]

A process sends uniform random events of a 640x480 sensor, in packets of 10 ms at the pace at which they happen, with
dv-processing's own NetworkWriter. The line reads them as `dv+tcp://`, in processes, and publishes what the shipped
weights make of them. The books of both ends are held against each other: every event that was sent is in a window, or
counted where it was given up. The rate is held if the sender was never behind and nothing was given up. On a machine
with something else to do it will not be: what each process takes of the processor for an event tells then (Linux). A
subscriber notes how old each window was when it was published.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import threading
import time
from os import getloadavg, sysconf
from pathlib import Path
from typing import Any

from machine import processor
from rich.console import Console
from rich.table import Table

from eventveil.config import run_settings
from eventveil.models import shipped
from eventveil.stream import subscribe
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.pipeline.status import Status
from eventveil.stream.protocol.wire import WINDOW

SENSOR = (640, 480)
PACKET_US = 10_000
PATIENCE_S = 30

SENDER = f"""
import datetime, json, os, sys, time
import dv_processing as dv
port, per_packet, packets = map(int, sys.argv[1:])
stream = dv.io.Stream.EventStream(0, "events", "benchmark", {SENSOR})
writer = dv.io.NetworkWriter("127.0.0.1", port, stream)
print("up", flush=True)
while writer.getClientCount() == 0:
    time.sleep(0.001)
time.sleep(1)  # a client is counted before it listens: what is written at once, it never gets
length = datetime.timedelta(microseconds={PACKET_US})
began, started, worst = time.monotonic(), time.process_time(), 0.0
for number in range(packets):
    events = dv.data.generate.uniformEventsWithinTimeRange(number * {PACKET_US}, length, {SENSOR}, per_packet, number)
    ahead = began + (number + 1) * {PACKET_US} / 1e6 - time.monotonic()
    worst = max(worst, -ahead)
    if ahead > 0:
        time.sleep(ahead)
    writer.writeEvents(events)
took = time.monotonic() - began
while writer.getQueuedPacketCount():
    time.sleep(0.001)
told = {{"sent": per_packet * packets, "seconds": took, "behind_ms": worst * 1e3}}
print(json.dumps(told | {{"cpu_s": time.process_time() - started}}), flush=True)
sys.stdin.readline()
os._exit(0)  # the writer's destructor waits for ever
"""


def settings(port: int, endpoint: str, delivery: str) -> Any:
    """The line: one network stream, the shipped weights, nothing left out before windows are cut."""
    camera = {"quiet_ms": 5000, "wait": True}
    values = {
        "sources": [{"uri": f"dv+tcp://127.0.0.1:{port}", "camera": camera, "scene": {"hot_pixels": "off"}}],
        "anonymize": {"weights": str(shipped.ANONYMIZER), "device": "cpu"},
        "classify": {"weights": str(shipped.GESTURES), "device": "cpu"},
        "publish": {"bind": endpoint, "wait_for": 1},
        "line": {"delivery": delivery, "run_as": "processes", "queue": 2, "max_age_ms": 1000},
    }
    return run_settings(values, name="benchmark")


def cpu_s(pid: int) -> float:
    """Processor time that a process has taken, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / sysconf("SC_CLK_TCK")


def camera_process(parent: int) -> int:
    """The process of the camera that a stage reads."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(int(pid) for pid in children if b"camera.process" in Path(f"/proc/{pid}/cmdline").read_bytes())


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def run(rate_mev: float, seconds: float, delivery: str) -> tuple[dict[str, float], Status, dict[int, float]]:
    """Send for so long, until all of it is accounted for; what the sender says, the line's status, age by window."""
    port, endpoint = free_port(), f"tcp://127.0.0.1:{free_port()}"
    age_ms: dict[int, float] = {}

    def listen() -> None:
        age_ms.update((one.header.seq, one.header.age_ms) for one in subscribe(endpoint) if one.topic == WINDOW)

    per_packet = round(rate_mev * PACKET_US)
    packets = round(seconds * 1e6 / PACKET_US)
    command = [sys.executable, "-c", SENDER, str(port), str(per_packet), str(packets)]
    sender = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert sender.stdout is not None
    assert sender.stdin is not None
    sender.stdout.readline()
    line = Pipeline(settings(port, endpoint, delivery))
    done, listener = threading.Thread(target=line.run), threading.Thread(target=listen, daemon=True)
    done.start()
    listener.start()
    while not line.status.total("histogram", "camera_read") and done.is_alive():
        time.sleep(0.1)
    stage = line.members["histogram:0"].pid
    before = cpu_s(camera_process(stage)), cpu_s(stage)  # what they took to start
    told = json.loads(sender.stdout.readline())
    deadline = time.monotonic() + PATIENCE_S
    while line.status.total("histogram", "camera_read") < told["sent"] and time.monotonic() < deadline:
        time.sleep(0.1)
    after = cpu_s(camera_process(stage)), cpu_s(stage)
    told |= {"camera_cpu_s": after[0] - before[0], "stage_cpu_s": after[1] - before[1]}
    line.stop()
    done.join()
    listener.join(PATIENCE_S)
    sender.communicate("\n")
    return told, line.status, age_ms


def main() -> None:
    """Print what was sent, what arrived, and what became of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10.0, help="million events a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--delivery", choices=("live", "lossless"), default="live")
    arguments = parser.parse_args()
    load = getloadavg()[0]
    told, status, age_ms = run(arguments.rate, arguments.seconds, arguments.delivery)
    books = {
        name: status.total("histogram", f"camera_{name}")
        for name in ("read", "delivered", "dropped", "late", "damaged", "losses", "jumps")
    }
    received, binned, late, outside = (
        status.total("histogram", name) for name in ("received", "binned", "late", "outside")
    )

    def delay(name: str) -> str:
        value = status.value("publish", name)
        return "-" if value is None else f"{value:.0f}"

    slowest = sorted(age_ms, key=age_ms.__getitem__, reverse=True)[:3]
    table = Table(title=f"{processor()}, load {load:.1f} before; {arguments.delivery}", show_header=False)
    for name, value in (
        ("sent", f"{told['sent']:,} in {told['seconds']:.1f} s = {told['sent'] / told['seconds'] / 1e6:.2f} Mev/s"),
        ("sender behind at worst", f"{told['behind_ms']:.0f} ms"),
        *((f"camera: {name}", f"{value:,}") for name, value in books.items()),
        ("histogrammer: received", f"{received:,}"),
        ("windows", f"{status.total('histogram', 'windows')}, published {status.total('publish', 'windows')}"),
        ("windows given up", str(status.dropped() or "none")),
        ("window to publication", f"p50 {delay('all_p50_ms')} ms, p99 {delay('all_p99_ms')} ms"),
        ("slowest windows", ", ".join(f"{age_ms[number]:.0f} ms (number {number})" for number in slowest)),
        *(
            (f"processor time: {who}", f"{told[key] / told['sent'] * 1e9:.0f} ns/event")
            for who, key in (("sender", "cpu_s"), ("camera's process", "camera_cpu_s"), ("source stage", "stage_cpu_s"))
        ),
        ("failure", str(status.failure)),
    ):
        table.add_row(name, value)
    Console().print(table)
    balanced = (
        books["read"] == told["sent"],
        books["read"] == books["delivered"] + books["dropped"] + books["late"] + books["damaged"],
        books["delivered"] == received == binned + late + outside,
    )
    print("every event is accounted for" if all(balanced) else f"THE BOOKS DO NOT BALANCE: {balanced}")


if __name__ == "__main__":
    main()
