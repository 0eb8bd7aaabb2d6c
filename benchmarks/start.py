"""Measure how soon a pipeline publishes its first gesture, and what its processes take of the memory at rest.

    python benchmarks/start.py [--cold] [--times 3] [--weights shipped]

From the start of the command `eventveil run simulate:`, with a process for each stage, to the first gesture that a
subscriber receives; a window of one second is part of it. `--cold` lets the kernels be compiled. Memory is the
proportional set size (PSS): pages that processes share are divided among them. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from machine import processor
from rich.console import Console
from rich.table import Table

from eventveil.host.addresses import free_port
from eventveil.host.processes import module_command
from eventveil.stream import subscribe

REST_S = 2.0  # after the first gesture


def run_once(weights: str, caches: str | None) -> tuple[float, dict[str, int], set[str]]:
    """Start a pipeline; return the seconds to its first gesture, PSS in MB by process, and who has loaded torch."""
    endpoint = f"tcp://127.0.0.1:{free_port()}"
    command = module_command("eventveil.cli", "run", "simulate:", "--weights", weights)
    command += ["--set=line.run_as=processes", f"--set=publish.bind={endpoint}"]
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # installed modules are not compiled at each start
    if caches is not None:
        environment["NUMBA_CACHE_DIR"] = caches
    began = time.monotonic()
    pipeline = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        next(iter(subscribe(endpoint, ["gesture"], timeout_s=120)))
        seconds = time.monotonic() - began
        time.sleep(REST_S)
        pids = family(pipeline.pid)
        names = {f"{number} {name_of(pid, pipeline.pid)}": pid for number, pid in enumerate(pids)}
        return (
            seconds,
            {name: pss_mb(pid) for name, pid in names.items()},
            {n for n, p in names.items() if has_torch(p)},
        )
    finally:
        pipeline.terminate()
        pipeline.wait()


def family(pid: int) -> list[int]:
    """Return a process and its descendants."""
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return [pid, *(one for child in children for one in family(child))]


def name_of(pid: int, supervisor: int) -> str:
    """Return what a process is, as far as its command line says."""
    text = Path(f"/proc/{pid}/cmdline").read_bytes()
    if pid == supervisor:
        return "supervisor"
    return "Python's resource tracker" if b"resource_tracker" in text else "fork server or stage"


def pss_mb(pid: int) -> int:
    """Return the proportional set size of a process."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) // 1024


def has_torch(pid: int) -> bool:
    """Return whether torch is mapped into a process."""
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Measure start and memory of a pipeline.")
    parser.add_argument("--times", type=int, default=3, help="how often the pipeline is started")
    parser.add_argument("--cold", action="store_true", help="compile the kernels, too")
    parser.add_argument("--weights", default="shipped", help="weights of the pipeline")
    options = parser.parse_args()
    seconds, console = [], Console()
    for _ in range(options.times):
        with tempfile.TemporaryDirectory() as folder:
            taken, memory, torch = run_once(options.weights, folder if options.cold else None)
            seconds.append(taken)
    table = Table("process", "PSS, MB", "torch", title="the last run, two seconds after its first gesture")
    for name, size in memory.items():
        table.add_row(name, str(size), "yes" if name in torch else "")
    table.add_row("all", str(sum(memory.values())))
    console.print(table)
    listed = ", ".join(f"{one:.1f}" for one in seconds)
    console.print(
        f"first gesture after {listed} s, median {median(seconds):.1f} s", "(cold)" if options.cold else "(warm)"
    )
    console.print(
        f"{processor()}, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, {sys.version.split()[0]}"
    )


if __name__ == "__main__":
    main()
