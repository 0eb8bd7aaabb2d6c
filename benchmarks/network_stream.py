"""Measure the rate that the whole pipeline sustains, with events of another process over dv-processing's protocol.

    python benchmarks/network_stream.py [--rate 10] [--seconds 60] [--delivery live|lossless]

A process sends uniform random events of a 640x480 sensor, in packets of 10 ms in real time, with dv-processing's own
NetworkWriter. The pipeline reads them as `dv+tcp://`, in processes, and publishes what the noisy channel makes of
them. The counts of both ends are compared: every event sent is in a window, or counted where it was dropped. The rate
is sustained if the sender was never late and nothing was dropped. On a busy machine it is not; the processor time of
each process per event is then the useful figure (Linux). A subscriber records how old each window was when it was
published.
"""

from __future__ import annotations

import argparse
import json
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
from eventveil.host.addresses import free_port
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
time.sleep(1)  # a client is counted before it listens, and would miss what is written immediately
length = datetime.timedelta(microseconds={PACKET_US})
began, began_cpu, worst = time.monotonic(), time.process_time(), 0.0
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
totals = {{"sent": per_packet * packets, "seconds": took, "late_ms": worst * 1e3}}
print(json.dumps(totals | {{"cpu_s": time.process_time() - began_cpu}}), flush=True)
sys.stdin.readline()
os._exit(0)  # the writer's destructor never returns
"""


def settings(port: int, endpoint: str, delivery: str) -> Any:
    """Return the settings of the pipeline: one network stream, the noisy channel, no filter before the windows."""
    camera = {"quiet_ms": 500, "wait": True}
    values = {
        "sources": [{"uri": f"dv+tcp://127.0.0.1:{port}", "camera": camera, "scene": {"hot_pixels": "off"}}],
        "anonymize": {"weights": str(shipped.NOISY_CHANNEL), "device": "cpu"},
        "classify": {"weights": str(shipped.NOISY_CHANNEL_GESTURES), "device": "cpu"},
        "publish": {"bind": endpoint, "wait_for": 1},
        "line": {"delivery": delivery, "run_as": "processes", "queue": 2, "max_age_ms": 1000, "release_ms": 1000},
    }
    return run_settings(values, name="benchmark")


def cpu_s(pid: int) -> float:
    """Return the processor time of a process with all its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / sysconf("SC_CLK_TCK")


def camera_process(parent: int) -> int:
    """Return the pid of the camera process that a stage reads from."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return next(int(pid) for pid in children if b"camera.process" in Path(f"/proc/{pid}/cmdline").read_bytes())


def run(rate_mev: float, seconds: float, delivery: str) -> tuple[dict[str, float], Status, dict[int, int]]:
    """Send for a time and wait until all of it is read; return the sender's totals, the status, and ages by window."""
    port, endpoint = free_port(), f"tcp://127.0.0.1:{free_port()}"
    age_ms: dict[int, int] = {}

    def listen() -> None:
        messages = (message for message in subscribe(endpoint) if message.topic == WINDOW)
        age_ms.update((message.header.seq, message.header.age_ms) for message in messages)

    per_packet = round(rate_mev * PACKET_US)
    packets = round(seconds * 1e6 / PACKET_US)
    command = [sys.executable, "-c", SENDER, str(port), str(per_packet), str(packets)]
    sender = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert sender.stdout is not None
    assert sender.stdin is not None
    sender.stdout.readline()
    pipeline = Pipeline(settings(port, endpoint, delivery))
    runner, listener = threading.Thread(target=pipeline.run), threading.Thread(target=listen, daemon=True)
    runner.start()
    listener.start()
    while not pipeline.status.total("histogram", "camera_read") and runner.is_alive():
        time.sleep(0.1)
    stage = pipeline.members["histogram:0"].pid
    before = cpu_s(camera_process(stage)), cpu_s(stage)  # what they used to start
    totals = json.loads(sender.stdout.readline())
    deadline = time.monotonic() + PATIENCE_S
    while pipeline.status.total("histogram", "camera_read") < totals["sent"] and time.monotonic() < deadline:
        time.sleep(0.1)
    after = cpu_s(camera_process(stage)), cpu_s(stage)
    totals |= {"camera_cpu_s": after[0] - before[0], "stage_cpu_s": after[1] - before[1]}
    pipeline.stop()
    runner.join()
    listener.join(PATIENCE_S)
    sender.communicate("\n")
    return totals, pipeline.status, age_ms


def main() -> None:
    """Print what was sent, what arrived, and where it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=10.0, help="million events per second")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to send")
    parser.add_argument("--delivery", choices=("live", "lossless"), default="live")
    arguments = parser.parse_args()
    load = getloadavg()[0]
    totals, status, age_ms = run(arguments.rate, arguments.seconds, arguments.delivery)
    sent = totals["sent"]
    camera = {
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
        ("sent", f"{sent:,} in {totals['seconds']:.1f} s = {sent / totals['seconds'] / 1e6:.2f} Mev/s"),
        ("sender late at worst", f"{totals['late_ms']:.0f} ms"),
        *((f"camera: {name}", f"{value:,}") for name, value in camera.items()),
        ("histogrammer: received", f"{received:,}"),
        ("windows", f"{status.total('histogram', 'windows')}, published {status.total('publish', 'windows')}"),
        ("windows dropped", str(status.dropped() or "none")),
        ("window to publication", f"p50 {delay('all_p50_ms')} ms, p99 {delay('all_p99_ms')} ms"),
        ("slowest windows", ", ".join(f"{age_ms[number]} ms (number {number})" for number in slowest)),
        *(
            (f"processor time: {process}", f"{totals[key] / sent * 1e9:.0f} ns/event")
            for process, key in (
                ("sender", "cpu_s"),
                ("camera process", "camera_cpu_s"),
                ("source stage", "stage_cpu_s"),
            )
        ),
        ("failure", str(status.failure)),
    ):
        table.add_row(name, value)
    Console().print(table)
    balanced = (
        camera["read"] == sent,
        camera["read"] == camera["delivered"] + camera["dropped"] + camera["late"] + camera["damaged"],
        camera["delivered"] == received == binned + late + outside,
    )
    print("every event is accounted for" if all(balanced) else f"NOT EVERY EVENT IS ACCOUNTED FOR: {balanced}")


if __name__ == "__main__":
    main()
