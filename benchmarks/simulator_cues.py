"""What a linear classifier gets out of simulated events: the gesture of people it has not seen, and who it is.

    [EVENTVEIL_REAL_DATA=FOLDER] python benchmarks/simulator_cues.py

Twelve people, three sessions, eleven gestures of 1.45 s. A trial is counted in 5 bins, by polarity and in squares of
8x8 pixels; ridge regression on the logarithm of the counts. A floor, not a result: networks see more. With a folder of
real trials the same gesture classifier is tried on those.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eventveil.replay.dvs_gesture import GESTURES
from eventveil.replay.simulator import simulate

PEOPLE, SESSIONS, SECONDS = 12, 3, 1.45
UNSEEN_PEOPLE = 3
SEED = 3
RIDGE = 0.1  # of the mean square of the features
Counts = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def counts(x: Labels, y: Labels, p: Labels, t_us: Labels) -> Counts:
    """Return counts (5, 2, 16, 16)."""
    bins = np.minimum(t_us * 5 // round(SECONDS * 1e6), 4)
    histogram = np.zeros((5, 2, 16, 16))
    np.add.at(histogram, (bins, p, y // 8, x // 8), 1)
    return histogram


def trial(subject: int, session: int, gesture: int) -> Counts:
    packets = list(simulate(SEED, subject=subject, session=session, gesture=gesture, seconds=SECONDS))
    return counts(*(np.concatenate([getattr(packet, name) for packet in packets]).astype(np.int64) for name in "xypt"))


def accuracy(train: Counts, labels: Labels, test: Counts, truth: Labels) -> float:
    """Fit ridge regression to one-hot labels, and return the share of `test` it gets right."""
    a, b = (np.log1p(part.reshape(len(part), -1)) for part in (train, test))
    a, b = a - a.mean(0), b - a.mean(0)
    onehot = np.eye(labels.max() + 1)[labels]
    kernel = a @ a.T
    weights = np.linalg.solve(kernel + RIDGE * np.trace(kernel) / len(a) * np.eye(len(a)), onehot - onehot.mean(0))
    return float(((b @ a.T @ weights + onehot.mean(0)).argmax(1) == truth).mean())


def main() -> None:
    numbers = [(a, b, c) for a in range(1, PEOPLE + 1) for b in range(SESSIONS) for c in range(len(GESTURES))]
    trials = np.array([trial(*number) for number in numbers])
    subject, session, gesture = np.array(numbers).T
    seen, early = subject <= PEOPLE - UNSEEN_PEOPLE, session < SESSIONS - 1
    print(f"gesture of unseen people: {accuracy(trials[seen], gesture[seen], trials[~seen], gesture[~seen]):.1%}")
    print(f"  (chance {1 / len(GESTURES):.1%})")
    for name, features in (("counts in 5 bins", trials), ("counts per square alone", trials.sum((1, 2)))):
        got = accuracy(features[early], subject[early], features[~early], subject[~early])
        print(f"identity in an unseen session, {name}: {got:.1%} (chance {1 / PEOPLE:.1%})")
    files = sorted(Path(os.environ.get("EVENTVEIL_REAL_DATA", "-")).glob("dvs_gesture/ibmGesture*/*/*.npy"))
    if files:
        tables = [np.load(file).astype(np.int64).T for file in files]
        real = np.array([counts(x, y, p, (t - t[0]) * 1000) for x, y, p, t in tables])
        truth = np.array([int(file.stem) for file in files])
        print(f"gesture of {len(files)} real trials, from simulated ones: {accuracy(trials, gesture, real, truth):.1%}")


if __name__ == "__main__":
    main()
