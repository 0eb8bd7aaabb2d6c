"""Simulated gestures beside real ones, in numbers: rates, polarities, events a pixel, times between events.

    EVENTVEIL_REAL_DATA=FOLDER python benchmarks/simulator_statistics.py

FOLDER holds real trials of DVS128 Gesture as tonic stores them, below `dvs_gesture/`. Each real trial stands beside
five simulated people who make the same gesture as long, each under another light. Times are cut to whole milliseconds
on both sides, for the real ones come so. Each figure is the median over trials, with the smallest and the largest.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.camera import DVS128, simulate

PEOPLE = 5
SECONDS = 1.45  # as long as the real trials
Columns = tuple[npt.NDArray[np.int64], ...]  # x, y, p, t in ms


def statistics(
    x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], p: npt.NDArray[np.int64], t: npt.NDArray[np.int64]
) -> dict[str, float]:
    place = y * DVS128.width + x
    counts = np.bincount(place, minlength=DVS128.width * DVS128.height)
    seen = counts[counts > 0]
    order = np.lexsort((np.arange(len(t)), t, place))
    same = np.diff(place[order]) == 0
    gaps, changed = np.diff(t[order])[same], (np.diff(p[order]) != 0)[same]
    return {
        "events a second, thousands": len(t) / SECONDS / 1e3,
        "ON share": p.mean(),
        "pixels with an event, share": len(seen) / len(counts),
        "events a pixel: median": np.median(seen),
        "events a pixel: 90 %": np.percentile(seen, 90),
        "events a pixel: 99 %": np.percentile(seen, 99),
        "ms to the pixel's next event: 10 %": np.percentile(gaps, 10),
        "ms to the pixel's next event: median": np.median(gaps),
        "ms to the pixel's next event: 90 %": np.percentile(gaps, 90),
        "next event of the other polarity, share": changed.mean(),
        "pixels with a single event, share": (seen == 1).mean(),
    }


def real(folder: Path) -> dict[int, Columns]:
    files = sorted(folder.glob("dvs_gesture/ibmGesture*/*/*.npy"))
    return {int(file.stem): tuple(np.load(file).astype(np.int64).T) for file in files}


def simulated(gesture: int, subject: int) -> Columns:
    packets = list(simulate(0, subject=subject, session=subject, gesture=gesture, seconds=SECONDS))
    x, y, p, t = (np.concatenate([getattr(packet, name) for packet in packets]).astype(np.int64) for name in "xypt")
    return x, y, p, t // 1000


def told(values: list[float]) -> str:
    low, middle, high = np.percentile(values, [0, 50, 100])
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def main() -> None:
    folder = os.environ.get("EVENTVEIL_REAL_DATA")
    if not folder:
        sys.exit("EVENTVEIL_REAL_DATA does not name a folder of real recordings")
    trials = real(Path(folder))
    ours = {
        gesture: [statistics(*simulated(gesture, subject)) for subject in range(1, PEOPLE + 1)] for gesture in trials
    }
    theirs = {gesture: statistics(*trial) for gesture, trial in trials.items()}
    table = Table(
        "statistic", "real", "simulated", title=f"{len(trials)} real trials, {PEOPLE * len(trials)} simulated"
    )
    for name in next(iter(theirs.values())):
        table.add_row(
            name,
            told([one[name] for one in theirs.values()]),
            told([one[name] for many in ours.values() for one in many]),
        )
    rates = Table("gesture", "real", "simulated", title="events a second, thousands")
    for gesture in trials:
        name = "events a second, thousands"
        rates.add_row(GESTURES[gesture], f"{theirs[gesture][name]:.0f}", told([one[name] for one in ours[gesture]]))
    Console(soft_wrap=True).print(table, rates)


if __name__ == "__main__":
    main()
