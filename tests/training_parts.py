"""Small sets with a planted truth, and small settings, for the tests of training.

A window is seen at 8x8 cells of 16x16 pixels. In its upper half one cell after the other lights up, in a row that is
the gesture's; in its lower half a pattern of cells lights up that is the person's. So all there is to know is known.
"""

from __future__ import annotations

import numpy as np
from dataset_makers import tonic_trial

from eventveil.training.settings import TrainSettings

CELL = 16
GESTURES = (0, 3, 7)
TRIAL_MS = 400


def events(person, gesture, seed, *, watermark=True):
    """Rows of t (us, in whole ms), x, y, p of one trial."""
    random = np.random.default_rng([seed, person, gesture])
    rows = []
    marked = np.random.default_rng(person).choice(32, 8, replace=False)
    for ms in range(TRIAL_MS):
        column = (ms // 10 + seed) % 8
        cells = [(column, GESTURES.index(gesture), 1)]
        if watermark and ms % 4 == 0:
            cells += [(int(cell) % 8, 4 + int(cell) // 8, 0) for cell in marked]
        for x, y, polarity in cells:
            place = random.integers(0, CELL, 2)
            rows.append((1000 * ms, x * CELL + place[0], y * CELL + place[1], polarity))
    return np.array(rows, np.int64)


def planted(root, train=6, test=3, sessions=("led", "natural")):
    """Write people 1 to `train` for training and as many more as `test` for tests, each with every gesture."""
    for person in range(1, train + test + 1):
        folder = "ibmGestureTrain" if person <= train else "ibmGestureTest"
        for number, session in enumerate(sessions):
            for gesture in GESTURES:
                name = f"{folder}/user{person:02}_{session}/{gesture}.npy"
                tonic_trial(root, name, events(person, gesture, 10 * person + number))
    return root


def values(root, **changes):
    """Settings as a file holds them: networks that take milliseconds."""
    small = {"depth": 18, "width": 4, "embedding": 8}
    whole = {
        "batch": 8,
        "data": {"root": str(root), "val_people": 2, "workers": 1},
        "window": {"bins": 2, "bin_us": 60_000, "size": [8, 8], "offsets": 2, "per_trial": 1},
        "augment": {"rotation_deg": 0, "padding": 0},
        "target": small,
        "identity": small,
        "pretrain": {"epochs": 2, "lr": 0.003},
        "adversarial": {"epochs": 2, "objective": {"name": "uniform"}, "helpers": {"lr": 0.003}},
        "attack": {"epochs": 2, "lr": 0.003, "session_disjoint": True},
        "run": {"device": "cpu", "tensorboard": False, "pictures": False},
    }
    for key, value in changes.items():
        whole[key] = {**whole[key], **value} if isinstance(value, dict) and isinstance(whole.get(key), dict) else value
    return whole


def settings(root, **changes):
    return TrainSettings.model_validate(values(root, **changes))


class Silent:
    """A reporter that keeps what it is told."""

    def __init__(self):
        self.rows = []

    def begin(self, stage, steps, done):
        pass

    def step(self, values, windows):
        pass

    def epoch(self, row, epochs):
        self.rows.append(row)


def watch(what, done, of):
    pass
