"""Measure how long a killed stage is away: from the detection of its death until its successor is ready.

    python benchmarks/restart.py [--times 5]

A live pipeline of processes runs with the shipped weights and the simulated camera. Each stage in turn is killed
(kill -9) several times, each time when all stages are back. On a busy machine: chrt -f 40 python benchmarks/restart.py
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from os import getloadavg
from statistics import median
from typing import Any

from machine import processor
from rich.console import Console
from rich.table import Table

from eventveil.host.processes import module_command

STAGES = {"histogram:0": 2.0, "anonymize": 5.0, "publish": 2.0}  # the shipped stand-in has no classifier
"""The stages, and how many seconds each of them may be away."""


def away(beats: Iterator[dict[str, Any]], stage: str) -> float:
    """Kill a working stage; return the seconds until it was ready again."""
    beat = next(beats)
    before = beat["restarts"]
    os.kill(beat["stages"][stage]["pid"], signal.SIGKILL)
    for beat in beats:
        if beat["restarts"] > before and (seconds := beat["incidents"][-1]["back_s"]) is not None:
            # Its pid comes with its own first report. That it works is certain once windows are published.
            published = beat["published_windows"]
            while beat["published_windows"] <= published:
                beat = next(beats)
            return float(seconds)
    raise SystemExit(f"the pipeline ended: {beat['failure']}")


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="Measure how long a killed stage is away.")
    parser.add_argument("--times", type=int, default=5, help="how often each stage is killed")
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory(prefix="ev-") as folder:
        settings = ["line.run_as=processes", "line.delivery=live", "line.restarts=1000"]
        command = module_command("eventveil.cli", "run", "simulate:", "--weights", "shipped", "--json")
        options = [f"--set={setting}" for setting in (*settings, f"publish.bind=ipc://{folder}/public")]
        pipeline = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert pipeline.stdout is not None
        beats = (beat for beat in map(json.loads, pipeline.stdout) if beat["published_windows"])
        measured = {stage: [away(beats, stage) for _ in range(times)] for stage in STAGES}
        pipeline.send_signal(signal.SIGINT)
        pipeline.communicate()
    table = Table("stage", "median", "longest", "allowed", title=f"{processor()}, load {getloadavg()[0]:.1f}; seconds")
    for stage, seconds in measured.items():
        table.add_row(stage, f"{median(seconds):.2f}", f"{max(seconds):.2f}", f"{STAGES[stage]:g}")
    Console().print(table)
    sys.exit(any(max(seconds) > STAGES[stage] for stage, seconds in measured.items()))


if __name__ == "__main__":
    main()
