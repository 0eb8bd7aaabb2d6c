"""Attack the arrival times of a live pipeline's packets: do they reveal whether something moved in a window?

    python benchmarks/arrival_times.py [--windows 300] [--seed 1]

A process sends the events of a simulated camera in real time, over dv-processing's protocol. In each window of 100 ms,
something moves or nothing does, by a coin that the seed tosses; the scene is either dark (without motion, no event) or
full of sensor noise. A watcher notes only when each window reaches it, as anyone on the network could, encryption or
not. A nearest-neighbour classifier learns from the first half of the windows and tells busy from quiet ones in the
second half, each from the delays of itself and of the four windows around it. By chance it is right half of the time.

Compared are windows that are published as soon as they are complete (lossless delivery with a release of 1 ms) and
windows that are published at a constant delay (live delivery). The weights are small and untrained: they have no part
in this.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from os import getloadavg
from pathlib import Path

import numpy as np
import zmq
from machine import processor
from rich.console import Console
from rich.table import Table

from eventveil.config import run_settings
from eventveil.host.addresses import free_port
from eventveil.models import save_weights
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.protocol.wire import WINDOW, decode

SENSOR, SIZE = (64, 64), (32, 32)
WINDOW_US, BINS = 100_000, 5
SCENES = {"dark": 0, "sensor noise": 400}  # events per second while nothing moves
MOVING = 20_000  # events per second while something moves
RELEASES = {"as soon as complete": ("lossless", 1), "constant": ("live", 250)}  # delivery and release_ms
NEIGHBOURS, AROUND = 15, 2
SETTLE = 20  # the first windows are left out: processes still start

SENDER = f"""
import datetime, json, os, sys, time
import dv_processing as dv
import numpy as np
port, noise, seed, busy = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
writer = dv.io.NetworkWriter("127.0.0.1", port, dv.io.Stream.EventStream(0, "events", "benchmark", {SENSOR}))
print("up", flush=True)
while writer.getClientCount() == 0:
    time.sleep(0.001)
time.sleep(1)  # a client is counted before it listens, and would miss what is written immediately
random, began = np.random.default_rng(seed), time.monotonic()
for start_us in range(0, len(busy) * {WINDOW_US}, 5_000):
    rate = noise + {MOVING} * busy[start_us // {WINDOW_US}]
    count = int(random.poisson(rate * 0.005))
    length = datetime.timedelta(milliseconds=5)
    uniform = dv.data.generate.uniformEventsWithinTimeRange
    events = uniform(start_us, length, {SENSOR}, count, start_us) if count else None
    time.sleep(max(0.0, began + (start_us + 5_000) / 1e6 - time.monotonic()))
    if events is not None:
        writer.writeEvents(events)
time.sleep(1)
os._exit(0)  # the writer's destructor never returns
"""


def watch(folder: Path, scene: str, release: str, busy: list[bool], seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Run a pipeline; return the numbers of the windows that arrived, when in ms, and how many did not arrive."""
    port, endpoint = free_port(), f"ipc://{folder}/public"
    delivery, release_ms = RELEASES[release]
    values = {
        "sources": [{"uri": f"dv+tcp://127.0.0.1:{port}", "scene": {"hot_pixels": "off"}}],
        "anonymize": {"weights": str(folder / "weights.safetensors"), "allow_untrained": True, "device": "cpu"},
        "publish": {"bind": endpoint, "wait_for": 1},
        "line": {"delivery": delivery, "release_ms": release_ms, "run_as": "processes"},
    }
    command = [sys.executable, "-c", SENDER, str(port), str(SCENES[scene]), str(seed), json.dumps(list(map(int, busy)))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as sender, zmq.Context() as context:
        assert sender.stdout is not None
        sender.stdout.readline()
        pipeline = Pipeline(run_settings(values, name="benchmark"))
        runner = threading.Thread(target=pipeline.run)
        socket = context.socket(zmq.SUB)
        socket.rcvhwm = 0
        socket.subscribe(WINDOW)
        socket.connect(endpoint)
        runner.start()
        seen: list[tuple[list[bytes], int]] = []
        while sender.poll() is None:
            if socket.poll(100):
                seen.append((socket.recv_multipart(), time.monotonic_ns()))
        pipeline.stop()
        runner.join()
        socket.close()
    if pipeline.status.failure is not None and "could not publish" not in pipeline.status.failure:
        raise SystemExit(pipeline.status.failure)
    numbers = np.array([decode(frames).header.t_start_us // WINDOW_US for frames, _ in seen])
    kept = (numbers >= SETTLE) & (numbers < len(busy))
    arrivals_ms = np.array([now_ns for _, now_ns in seen]) / 1e6
    return numbers[kept], arrivals_ms[kept], len(busy) - SETTLE - int(kept.sum())


def accuracy(numbers: np.ndarray, arrivals_ms: np.ndarray, busy: np.ndarray) -> tuple[float, float, int]:
    """Return the classifier's balanced accuracy, half the width of its 95 % interval, and the number of tests."""
    delays_ms = arrivals_ms - numbers * (WINDOW_US / 1000)
    delays_ms -= np.median(delays_ms)
    rows = np.lib.stride_tricks.sliding_window_view(delays_ms, 2 * AROUND + 1)
    labels = busy[numbers[AROUND:-AROUND]]
    half = len(rows) // 2
    scale = rows[:half].std(axis=0) + 1e-9
    distances = np.linalg.norm(rows[half:, None] / scale - rows[None, :half] / scale, axis=2)
    votes = labels[:half][np.argsort(distances, axis=1)[:, :NEIGHBOURS]].mean(axis=1) > 0.5
    right = [(votes == labels[half:])[labels[half:] == kind] for kind in (False, True)]
    variance = sum(float(np.var(one)) / len(one) for one in right) / 4
    return float(np.mean([one.mean() for one in right])), 1.96 * variance**0.5, len(votes)


def main() -> None:
    """Print how often the watcher is right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=300, help="windows of each run")
    parser.add_argument("--seed", type=int, default=1, help="of the scenes")
    arguments = parser.parse_args()
    busy = np.random.default_rng(arguments.seed).random(arguments.windows) < 0.5
    title = f"{processor()}, load {getloadavg()[0]:.1f} before; seed {arguments.seed}; chance 50 %"
    table = Table(
        "scene", "release", "busy or quiet?", "windows judged", "delays: standard deviation", "missing", title=title
    )
    with tempfile.TemporaryDirectory(prefix="ev-") as name:
        folder = Path(name)
        model = initialise("anonynoise", {"channels": 2 * BINS, "noise_std": 32.0}, seed=1)
        cut = {"bins": BINS, "bin_us": WINDOW_US // BINS, "hop": BINS, "size": SIZE, "trained": False}
        save_weights(folder / "weights.safetensors", model, Metadata.of(model, role="anonymizer", **cut))
        for scene in SCENES:
            for release in RELEASES:
                numbers, arrivals_ms, missing = watch(folder, scene, release, busy.tolist(), arguments.seed)
                share, margin, count = accuracy(numbers, arrivals_ms, busy)
                spread_ms = float(np.std(arrivals_ms - numbers * (WINDOW_US / 1000)))
                figures = (f"{share:.0%} ± {margin:.0%}", str(count), f"{spread_ms:.2f} ms", str(missing))
                table.add_row(scene, release, *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
