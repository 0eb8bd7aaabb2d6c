"""Measure whether the memory of `eventveil record` stays flat at 1,000 windows a second.

    python benchmarks/record_memory.py [--minutes 15] [--rate 1000] [--rotate-size 100MB] [--kept]

A publisher sends numbered windows (2x24x32, sparse counts, new ones each time) at a steady rate to one recorder, in
processes of their own. On a busy machine it sends fewer rather than drop any; the rate that was reached is printed.
The memory of the recorder is read from /proc once a second after five minutes; the slope is that of scripts/soak.
Without --rotate-size there is one file, whose index waits in memory for its end. Rotated files are removed after 30
seconds unless --kept.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import signal
import subprocess
import sys
import tempfile
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from os import getloadavg
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from machine import processor

from eventveil.host.processes import module_command
from eventveil.stream.protocol.wire import Geometry, StateHeader, WindowHeader, encode

WARM_UP_S = 300.0  # as in scripts/soak, for ZeroMQ's queues
SHAPE = (2, 24, 32)
REPOSITORY = Path(__file__).resolve().parent.parent


def soak_script() -> Any:
    """Return scripts/soak as a module, for its measure of growth."""
    loader = SourceFileLoader("soak", str(REPOSITORY / "scripts" / "soak"))
    spec = spec_from_loader("soak", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def publish(endpoint: str, rate: float, seconds: float, sent: Any) -> None:
    """Send windows at a steady rate, and wait for the recorder rather than drop any; put their number into `sent`."""
    rng = np.random.default_rng(0)
    common = {"stream": "0", "run": "0" * 16, "life": 1, "sensor": Geometry(width=128, height=96), "age_ms": 5}
    with zmq.Context() as context, context.socket(zmq.XPUB) as public:
        public.setsockopt(zmq.XPUB_NODROP, 1)
        public.bind(endpoint)
        public.recv()  # one subscription has come; those of other topics follow at once
        begun_s, count = time.monotonic(), 0
        while (now_s := time.monotonic() - begun_s) < seconds:
            for seq in range(count, count + min(50, round(now_s * rate) - count)):
                header = WindowHeader(
                    shape=SHAPE, seq=seq, t_start_us=1000 * seq, t_end_us=1000 * seq + 1000,
                    anonymizer="ab" * 32, trained=True, **common,
                )  # fmt: skip
                public.send_multipart(encode(header, rng.poisson(0.1, SHAPE).astype(np.float32)))
                count += 1
            time.sleep(0.005)
        public.send_multipart(encode(StateHeader(state="ended")))
        sent.put(count)
        time.sleep(60)  # the recorder still reads what is in the queue, and the end


def measure(options: argparse.Namespace, folder: Path) -> tuple[list[tuple[float, float]], dict[str, Any], int]:
    """Record; return samples of (seconds, megabytes), what the recorder reports, and the number of windows sent."""
    soak = soak_script()
    endpoint = f"ipc://{folder}/public"
    sent: Any = multiprocessing.Queue()
    publisher = multiprocessing.Process(target=publish, args=(endpoint, options.rate, options.minutes * 60, sent))
    publisher.start()
    out = ["--out", str(folder / "recordings" / "a.mcap")]
    rotation = [] if options.rotate_size is None else ["--rotate-size", options.rotate_size]
    rotation += ["--keep", "30s"] if rotation and not options.kept else []
    command = module_command("eventveil.cli", "record", endpoint, *out, *rotation, "--json")
    samples = []
    begun_s = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as recorder:
        while recorder.poll() is None:
            time.sleep(1)
            now_s = time.monotonic() - begun_s
            if WARM_UP_S < now_s < options.minutes * 60 and recorder.poll() is None:
                samples.append((now_s, soak.rss_mb(recorder.pid)))
            if now_s > options.minutes * 60 + 300:
                recorder.send_signal(signal.SIGINT)
        assert recorder.stdout is not None
        report = json.loads(recorder.stdout.read())
    publisher.terminate()
    publisher.join()
    return samples, report, sent.get()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="windows a second")
    parser.add_argument("--rotate-size", metavar="SIZE", help="as of `eventveil record`")
    parser.add_argument("--kept", action="store_true", help="do not remove old files")
    options = parser.parse_args()
    if options.minutes * 60 <= 2 * WARM_UP_S:
        sys.exit("record_memory: --minutes must be more than 10, for the first five are not measured")
    with tempfile.TemporaryDirectory(prefix="ev-") as name:
        samples, report, sent = measure(options, Path(name))
    seconds, megabytes = np.array(samples).T
    slope, low, high = soak_script().slope_mb_h(seconds, megabytes)
    rotation = f"files of {options.rotate_size}" if options.rotate_size else "one file"
    rate = report["windows"] / options.minutes / 60
    print(f"{options.minutes:g} minutes, {rotation}: {report['windows']:,} of {sent:,} windows recorded, {rate:.0f}/s")
    print(f"memory: {megabytes[0]:.1f} to {megabytes[-1]:.1f} MB, at most {megabytes.max():.1f} MB")
    print("each minute:", *(f"{megabytes[place]:.1f}" for place in range(0, len(megabytes), 60)))
    print(f"slope: {slope:.2f} MB/h, 95 % interval {low:.2f} to {high:.2f}")
    print(f"{processor()}, load {getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
