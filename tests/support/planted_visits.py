"""Planted visits and scenes with a label for every moment, a book of their labels, and small settings to train on them.

A span lasts 0.2 s. In each, one of 8x8 cells of 16x16 pixels fires, which encodes the class, with little noise around.
"""

from __future__ import annotations

import numpy as np
from dataset_makers import recording

from eventveil.events import EventPacket, Sensor
from eventveil.models.book import Book, Word
from eventveil.replay.datasets.dvs_gesture import LABELS, NOBODY

SPAN_MS, CELL = 200, 16
NEUTRAL = {"shift": 0, "rotation_deg": 0, "size": [1, 1], "mirror": False, "tempo": 1, "contrast": 1, "polarity": 0,
           "noise_hz": 0, "untouched": 1, "cut": 0, "beside": 0}  # fmt: skip
"""Settings of a variation that changes nothing."""


def _recording(root, name, classes, seed):
    random, rows, labels = np.random.default_rng(seed), [], []
    for k, target in enumerate(classes):
        for ms in range(k * SPAN_MS, (k + 1) * SPAN_MS):
            cells = [(target % 8, target // 8)] + [tuple(random.integers(0, 8, 2))] * (ms % 20 == 0)
            for x, y in cells:
                rows.append((1000 * ms, x * CELL + random.integers(CELL), y * CELL + random.integers(CELL), ms % 2))
        labels.append((target + 1, 1000 * k * SPAN_MS, 1000 * (k + 1) * SPAN_MS))
    recording(root, name, labels, np.array(rows, np.int64))


def planted_visits(folder):
    """Write eight people, two of them for tests, who make each gesture, and four scenes."""
    lists = {"train": [], "test": []}
    for person in range(1, 9):
        classes = np.random.default_rng(person).permutation(len(LABELS)).tolist()
        _recording(folder, f"user{person:02}_led", classes, person)
        lists["train" if person <= 6 else "test"].append(f"user{person:02}_led")
    for scene in range(1, 5):
        _recording(folder, f"scene{scene:02}_fan", [11, 11, 11], 100 + scene)
        lists["train" if scene <= 3 else "test"].append(f"scene{scene:02}_fan")
    for split, names in lists.items():
        (folder / f"trials_to_{split}.txt").write_text("".join(f"{name}.aedat\n" for name in names))
    return folder


def reversed_book(path):
    """Write a book with a word for each class, in another order than that of the classes."""
    blink = [EventPacket.of(t=[k], x=[k], y=[0], p=[1]) for k in range(13)]
    words = [Word(label=label, presence=label != NOBODY, clip=k) for k, label in enumerate(reversed(LABELS))]
    Book.compose(blink, words, sensor=Sensor(16, 16), steps=1).write(path)
    return path


def visit_values(root, **changes):
    """Return settings as in a file, with a network that takes milliseconds."""
    merged = {
        "width": 8,
        "batch": 26,
        "windows_per_epoch": 260,
        "data": {"root": str(root), "val_people": 1, "workers": 1},
        "window": {"bins": 2, "bin_us": 50_000, "size": [8, 8], "offsets": 2, "label_before_us": 25_000},
        "variation": NEUTRAL,
        "schedule": {"epochs": 4, "lr": 0.01},
        "rule": {"transition": 1.0, "evidence": 1.0, "threshold": 0.5},
        "run": {"device": "cpu", "tensorboard": False, "pictures": False, "validate_every": 2},
    }
    return merged | changes
