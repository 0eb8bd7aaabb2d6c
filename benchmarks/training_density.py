"""Measure the density of events in the training windows of the noisy channel, which their metadata records.

    python benchmarks/training_density.py [TRIALS]

Draws trials (330 of 3036, seed 0) of the people that those weights were trained and validated on, simulates them again
from the same numbers, and cuts every window that starts at a row of the training data, as in
`configs/train/noisy_channel.yaml`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from eventveil.models.shipped import NOISY_CHANNEL
from eventveil.models.weights import load_weights
from eventveil.replay.simulation.camera import DVS128, simulate
from eventveil.replay.simulation.dataset import plan
from eventveil.stream.histogram import WindowedHistogrammer

SUBJECTS, SESSIONS, SECONDS, OFFSETS = 116, 3, 3.0, 2
PERCENTILES = (1, 50, 99)


def main(trials: int = 330) -> None:
    metadata = load_weights(NOISY_CHANNEL).metadata
    assert metadata.bin_us is not None
    row_us, per_window = metadata.bin_us // OFFSETS, metadata.bins * OFFSETS
    planned = plan(Path("people"), subjects=SUBJECTS, sessions=SESSIONS)
    train_trials = [trial for trial in planned if trial.path.parts[1] == "ibmGestureTrain"]
    density: list[float] = []
    for number in np.sort(np.random.default_rng(0).choice(len(train_trials), trials, replace=False)):
        trial = train_trials[number]
        histogrammer = WindowedHistogrammer(DVS128, metadata.size, 1, row_us)
        rows: list[int] = []
        for packet in simulate(0, subject=trial.subject, session=trial.session, gesture=trial.gesture, seconds=SECONDS):
            rows += [window.events for window in histogrammer.push(packet)]
        rows += [window.events for window in histogrammer.finish()]
        until = np.cumsum([0, *rows[: round(SECONDS * 1e6) // row_us]])
        density += ((until[per_window:] - until[:-per_window]) / np.prod(metadata.size)).tolist()
    print(f"{trials} of {len(train_trials)} trials, {len(density)} windows, events per pixel of a window:")
    print({f"{share} %": round(float(np.percentile(density, share)), 2) for share in PERCENTILES})
    print(f"recorded in the file: {metadata.scene}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
