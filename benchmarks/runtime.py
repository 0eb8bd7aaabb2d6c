"""Measure how fast windows are anonymized: on the CPU and every CUDA device, in fp32 and bf16.

Prints one table: latency of a single window (batch 1, p50 and p99), windows per second in batches, the share of a
batch's time for its upload to the device, and each throughput relative to the first row of its size: the CPU in fp32
or, at 640x480 without `--full`, the first GPU in fp32.
Every figure covers the whole call, with checks, fresh noise and both copies, from counts to values. The weights are
untrained: their values do not affect the time.

    python benchmarks/runtime.py [--full]

Without --full the CPU is measured at 128x128 only: at 640x480 it takes seconds per window.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from machine import processor

from eventveil.models.device import computes_bf16
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.models.runtime import Anonymizer
from eventveil.models.transfer import Transfer
from eventveil.models.weights import Weights

BATCH = {"cpu": 8, "cuda": 64}
SECONDS = 6.0  # per figure; at least MIN_RUNS calls, at most MAX_RUNS
MIN_RUNS, MAX_RUNS = 5, 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="measure the CPU at 640x480 too")
    full = parser.parse_args().full
    devices = [torch.device("cpu"), *(torch.device("cuda", i) for i in range(torch.cuda.device_count()))]
    if len(devices) == 1:
        print("No CUDA device: figures of the CPU only.")
    print(f"torch {torch.__version__}, numpy {np.__version__}, python {platform.python_version()}")
    for device in devices:
        print(f"{device}: {name_of(device)}")
    print(
        f"{'device':8} {'size':>8} {'prec.':5} {'p50 ms':>8} {'p99 ms':>8} {'batch':>5} {'windows/s':>9} "
        f"{'upload':>6} {'ratio':>6}"
    )
    for size in ((128, 128), (640, 480)):
        baseline = None
        for device in devices:
            if device.type == "cpu" and size != (128, 128) and not full:
                continue
            for precision in ("fp32", "bf16"):
                if precision == "fp32" or computes_bf16(device):
                    rate = measure(device, size, precision, baseline)
                    baseline = baseline or rate


def measure(device: torch.device, size: tuple[int, int], precision: str, baseline: float | None) -> float:
    """Print one row; return windows per second."""
    runtime = Anonymizer(weights(size), device=str(device), precision=precision)
    batch = windows(size, BATCH[device.type])
    transfer = Transfer(device)

    def upload() -> None:
        transfer.up(batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    alone_s = times(lambda: runtime(batch[:1]))
    batch_s = statistics.median(times(lambda: runtime(batch)))
    share = statistics.median(times(upload)) / batch_s
    rate = len(batch) / batch_s
    ratio = f"{rate / baseline:5.2f}x" if baseline else "1.00x"
    print(
        f"{device!s:8} {size[0]:>4}x{size[1]:<3} {precision:5} {1e3 * statistics.median(alone_s):8.2f} "
        f"{1e3 * float(np.percentile(alone_s, 99)):8.2f} {len(batch):5} {rate:9.1f} {share:6.1%} {ratio:>6}",
        flush=True,
    )
    return rate


def times(call: Callable[[], object]) -> list[float]:
    """Return the seconds of each of many calls, after two that do not count."""
    call()
    call()
    seconds: list[float] = []
    while len(seconds) < MIN_RUNS or (sum(seconds) < SECONDS and len(seconds) < MAX_RUNS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def weights(size: tuple[int, int]) -> Weights:
    model = initialise("anonynoise", {"noise_std": 32.0}, seed=0)
    return Weights(model, Metadata.of(model, role="anonymizer", bin_us=20_000, hop=5, size=size, trained=False), "")


def windows(size: tuple[int, int], n: int) -> list[np.ndarray]:
    counts = np.random.default_rng(0).poisson(0.2, (n, 5, 2, size[1], size[0]))
    return list(counts.astype(np.uint16))


def name_of(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    main()
