"""How long a stage is away that was killed: from the moment when its death is noticed until its successor is ready.

    python benchmarks/restart.py [--times 5]

A live line of processes with the shipped weights and the simulated camera. Each stage is killed (kill -9) so many
times, one after the other, each when everybody is back. On a crowded machine: chrt -f 40 python benchmarks/restart.py
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

STAGES = {"histogram:0": 2.0, "anonymize": 5.0, "classify": 5.0, "publish": 2.0}
"""The stages, and how many seconds each of them may take."""


def away(beats: Iterator[dict[str, Any]], stage: str) -> float:
    """Kill a stage at work; return the seconds until it was ready again."""
    beat = next(beats)
    before = beat["restarts"]
    os.kill(beat["stages"][stage]["pid"], signal.SIGKILL)
    for beat in beats:
        if beat["restarts"] > before and (seconds := beat["incidents"][-1]["back_s"]) is not None:
            # Its pid is told with its own first report, and that it works, once windows come out.
            published = beat["published_windows"]
            while beat["published_windows"] <= published:
                beat = next(beats)
            return float(seconds)
    raise SystemExit(f"the line ended: {beat['failure']}")


def main() -> None:
    """Measure, and tell."""
    parser = argparse.ArgumentParser(description="How long is a stage away that was killed?")
    parser.add_argument("--times", type=int, default=5)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory(prefix="ev-") as folder:
        settings = ["line.run_as=processes", "line.delivery=live", "line.restarts=1000"]
        command = [sys.executable, "-m", "eventveil.cli", "run", "simulate:", "--weights", "shipped", "--json"]
        options = [f"--set={each}" for each in (*settings, f"publish.bind=ipc://{folder}/public")]
        line = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert line.stdout is not None
        beats = (beat for beat in map(json.loads, line.stdout) if beat["published_windows"])
        measured = {stage: [away(beats, stage) for _ in range(times)] for stage in STAGES}
        line.send_signal(signal.SIGINT)
        line.communicate()
    table = Table("stage", "median", "longest", "asked", title=f"{processor()}, load {getloadavg()[0]:.1f}; seconds")
    for stage, seconds in measured.items():
        table.add_row(stage, f"{median(seconds):.2f}", f"{max(seconds):.2f}", f"{STAGES[stage]:g}")
    Console().print(table)
    sys.exit(any(max(seconds) > STAGES[stage] for stage, seconds in measured.items()))


if __name__ == "__main__":
    main()
