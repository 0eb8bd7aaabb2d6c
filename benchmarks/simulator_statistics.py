"""Compare simulated gestures with real ones: rates, polarities, events per pixel, times between events.

    EVENTVEIL_REAL_DATA=FOLDER python benchmarks/simulator_statistics.py [--look plain]

FOLDER holds real trials of DVS128 Gesture as tonic stores them, below `dvs_gesture/`. Each real trial is compared with
five simulated people who make the same gesture for the same time, each in a different light. Times are truncated to
whole milliseconds on both sides, because the real ones are. Each figure is the median over trials, with the smallest
and the largest.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.camera import DVS128, Shot, simulate
from eventveil.replay.simulation.looks import LOOKS

PEOPLE = 5
SECONDS = 1.45  # as long as the real trials
Columns = tuple[npt.NDArray[np.int64], ...]  # x, y, p, t in ms


def statistics(
    x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], p: npt.NDArray[np.int64], t: npt.NDArray[np.int64]
) -> dict[str, float]:
    place = y * DVS128.width + x
    counts = np.bincount(place, minlength=DVS128.width * DVS128.height)
    active = counts[counts > 0]
    order = np.lexsort((np.arange(len(t)), t, place))
    same = np.diff(place[order]) == 0
    gaps, changed = np.diff(t[order])[same], (np.diff(p[order]) != 0)[same]
    return {
        "events per second, thousands": len(t) / SECONDS / 1e3,
        "ON share": p.mean(),
        "pixels with an event, share": len(active) / len(counts),
        "events per pixel: median": np.median(active),
        "events per pixel: 90 %": np.percentile(active, 90),
        "events per pixel: 99 %": np.percentile(active, 99),
        "ms to the pixel's next event: 10 %": np.percentile(gaps, 10),
        "ms to the pixel's next event: median": np.median(gaps),
        "ms to the pixel's next event: 90 %": np.percentile(gaps, 90),
        "next event of the other polarity, share": changed.mean(),
        "pixels with a single event, share": (active == 1).mean(),
    }


def real(folder: Path) -> dict[int, Columns]:
    files = sorted(folder.glob("dvs_gesture/ibmGesture*/*/*.npy"))
    return {int(file.stem): tuple(np.load(file).astype(np.int64).T) for file in files}


def simulated(gesture: int, subject: int, shot: Shot) -> Columns:
    packets = list(simulate(0, subject=subject, session=subject, gesture=gesture, seconds=SECONDS, shot=shot))
    x, y, p, t = (np.concatenate([getattr(packet, name) for packet in packets]).astype(np.int64) for name in "xypt")
    return x, y, p, t // 1000


def spread(values: list[float]) -> str:
    low, middle, high = np.percentile(values, [0, 50, 100])
    return f"{middle:.3g} ({low:.3g} to {high:.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--look", default="plain", help=f"look of people and rooms: {', '.join(LOOKS)}")
    shot = Shot(look=parser.parse_args().look)
    folder = os.environ.get("EVENTVEIL_REAL_DATA")
    if not folder:
        sys.exit("EVENTVEIL_REAL_DATA does not name a folder of real recordings")
    trials = real(Path(folder))
    simulated_trials = {
        gesture: [statistics(*simulated(gesture, subject, shot)) for subject in range(1, PEOPLE + 1)]
        for gesture in trials
    }
    real_trials = {gesture: statistics(*trial) for gesture, trial in trials.items()}
    table = Table(
        "statistic", "real", "simulated", title=f"{len(trials)} real trials, {PEOPLE * len(trials)} simulated"
    )
    for name in next(iter(real_trials.values())):
        table.add_row(
            name,
            spread([trial[name] for trial in real_trials.values()]),
            spread([trial[name] for group in simulated_trials.values() for trial in group]),
        )
    rates = Table("gesture", "real", "simulated", title="events per second, thousands")
    for gesture in trials:
        name = "events per second, thousands"
        simulated_rates = [trial[name] for trial in simulated_trials[gesture]]
        rates.add_row(GESTURES[gesture], f"{real_trials[gesture][name]:.0f}", spread(simulated_rates))
    Console(soft_wrap=True).print(table, rates)


if __name__ == "__main__":
    main()
