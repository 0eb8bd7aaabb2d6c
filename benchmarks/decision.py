"""Measure the whole pipeline with the shipped stand-in on one core: time of a decision, and processor time.

    python benchmarks/decision.py RECORDING

RECORDING is at least 40 s long and filmed by a sensor of 128x128, such as a visit of `eventveil simulate sequences`.
`eventveil run` replays it at its own pace, in threads and in processes, pinned to one core of this machine, with
`line.release_ms=1`: so the latency is the time from the end of a window of 0.1 s to its publication, all computing
included. Processor time is that of all processes of the run from second 10 to second 35. Nothing else should run: the
load is printed. The goals are 10 ms (p50), 20 ms (p99), and a third of a core at ten decisions a second. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import processor
from rich.console import Console
from rich.table import Table

from eventveil.host.processes import module_command

FIRST_S, LAST_S, STOP_S = 10, 35, 38
UTIME, STIME, SESSION = 13, 14, 5  # fields of /proc/PID/stat, from 0, see proc_pid_stat(5)


def processor_s(session: int) -> float:
    """Return the processor time of all processes of a session so far."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it has ended
            continue
        fields = ["", "", *text[text.rindex(")") + 2 :].split()]  # a name may hold blanks
        if int(fields[SESSION]) == session:
            ticks += int(fields[UTIME]) + int(fields[STIME])
    return ticks / os.sysconf("SC_CLK_TCK")


def run(recording: Path, run_as: str, core: int) -> tuple[dict[str, Any], float]:
    """Return the summary that `eventveil run` prints, and how many cores it used."""
    with tempfile.TemporaryDirectory() as folder:
        settings = (f"line.run_as={run_as}", "line.release_ms=1", f"publish.bind=ipc://{folder}/public")
        command = module_command("eventveil.cli", "run", str(recording), "--weights", "shipped", "--json")
        command += ["--stop", str(STOP_S), *(word for setting in settings for word in ("--set", setting))]
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(core), *command], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None
        spent = []
        for line in process.stdout:
            summary = json.loads(line)
            if len(spent) < 2 and summary["seconds"] >= (FIRST_S, LAST_S)[len(spent)]:
                spent.append((time.monotonic(), processor_s(process.pid)))
    (first_s, first), (last_s, last) = spent
    return summary, (last - first) / (last_s - first_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="number of the core [the last]")
    options = parser.parse_args()
    table = Table(
        "stages as", "decisions", "p50", "p99", "cores used", title=f"{processor()}, load {os.getloadavg()[0]:.1f}"
    )
    for run_as in ("threads", "processes"):
        summary, cores = run(options.recording, run_as, options.core)
        latency = [f"{summary[f'latency_{share}_ms']:.1f} ms" for share in ("p50", "p99")]
        table.add_row(run_as, str(summary["published_gestures"]), *latency, f"{cores:.2f}")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
