"""Measure how much faster than real time the simulated camera is, on one core.

    python benchmarks/simulator.py [--seconds 4]

Each gesture has a different person and a different light; the sizes are 128x128 and two others. Times are processor
time of this process, which runs on one core, and cover everything from the person to the sorted packets. The median of
several runs counts.
"""

from __future__ import annotations

import argparse
import statistics
import time

from machine import processor
from rich.console import Console
from rich.table import Table

from eventveil.events import Sensor
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.camera import Shot, simulate

REPEATS = 5
SIZES = (Sensor(128, 128), Sensor(346, 260), Sensor(640, 480))


def run(gesture: int, sensor: Sensor, seconds: float) -> tuple[float, int]:
    """Return the processor time in seconds and the number of events."""
    shot = Shot(sensor=sensor)
    began = time.process_time()
    events = sum(map(len, simulate(0, subject=gesture, session=gesture, gesture=gesture, seconds=seconds, shot=shot)))
    return time.process_time() - began, events


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each take")
    seconds = parser.parse_args().seconds
    run(0, SIZES[0], 0.1)  # compiles the kernels
    table = Table("gesture", "sensor", "events/s simulated", "times real time", title=f"{processor()}, one core")
    cases = [(gesture, SIZES[0]) for gesture in range(len(GESTURES))] + [(0, size) for size in SIZES[1:]]
    ratios = []
    for gesture, sensor in cases:
        runs = [run(gesture, sensor, seconds) for _ in range(REPEATS)]
        ratio = seconds / statistics.median(taken for taken, _ in runs)
        if sensor == SIZES[0]:
            ratios.append(ratio)
        table.add_row(GESTURES[gesture], str(sensor), f"{runs[0][1] / seconds / 1e3:.0f} k", f"{ratio:.1f}")
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"at {SIZES[0]}: {min(ratios):.1f} to {max(ratios):.1f}, median {statistics.median(ratios):.1f}")


if __name__ == "__main__":
    main()
