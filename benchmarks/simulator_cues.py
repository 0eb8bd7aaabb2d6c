"""Measure what classifiers learn from simulated events: the gesture of unseen people, and the identity of people.

    eventveil simulate gestures people --seconds 3
    [EVENTVEIL_REAL_DATA=FOLDER] python benchmarks/simulator_cues.py people

A small network (ResNet-18 with 16 channels, on log counts) gets windows of one second, 64x64; its predictions for the
windows of a trial are combined. One network learns the gesture from the training people and is tested on the others;
another learns the identities from all sessions but the last, and is tested on that. The floor is ridge regression on
the log counts of a whole trial in squares of 8x8 pixels, with time and polarity and without. Intervals are 95 %, by
person. With a folder of real trials, the gesture network is tested on those, too.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from machine import processor
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.nn import functional

from eventveil.models.configs import ResNetConfig
from eventveil.models.resnet import ResNetClassifier
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.trials import Trial
from eventveil.training.data.augment import MIRRORED_GESTURES, AugmentSettings, augment, draw_augmentation
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.sampling import at_random, in_order
from eventveil.training.data.windows import Windows, build
from eventveil.training.evaluation.confidence import accuracy_interval

BINS, BIN_US, SIZE = 10, 100_000, (64, 64)
BATCH, PER_TRIAL = 32, 3
RIDGE = 0.1  # of the mean square of the features
console = Console(soft_wrap=True)
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Training:
    """How a network is trained."""

    epochs: int
    rate: float
    decay: float
    mirror: bool


GESTURES = Training(epochs=30, rate=2e-3, decay=0.01, mirror=True)
PEOPLE = Training(epochs=60, rate=3e-3, decay=0.05, mirror=False)


def windows_of(trials: Sequence[Trial], cache: Path, *, whole: bool) -> Windows:
    """Return the windows of trials: of one second, or one per trial if `whole`."""
    shape = RowShape.of(
        mode="recording" if whole else "windows",
        bins=BINS,
        bin_us=None if whole else BIN_US,
        offsets=1 if whole else 2,
        size=SIZE,
        crop=None,
    )
    return build(trials, shape, cache, workers=os.cpu_count() or 1)


def numbers(trials: Sequence[Trial], key: str) -> Labels:
    return np.unique([getattr(trial, key) for trial in trials], return_inverse=True)[1]


def train_network(windows: Windows, truth: Labels, training: Training, description: str) -> ResNetClassifier:
    """Train a network from scratch on windows at random places, `PER_TRIAL` per trial and epoch."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = ResNetClassifier(
        ResNetConfig(depth=18, channels=2 * BINS, classes=int(truth.max()) + 1, width=16, embedding=128, logarithm=True)
    )
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = len(windows.trials) * PER_TRIAL // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), lr=training.rate, weight_decay=training.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.rate, total_steps=training.epochs * steps)
    swapped = torch.tensor(MIRRORED_GESTURES)
    for epoch in track(range(training.epochs), description=description, console=Console(stderr=True)):
        draw = at_random(windows, PER_TRIAL, 0.0, np.random.default_rng(epoch))
        for batch in np.random.default_rng(epoch).permutation(len(draw))[: steps * BATCH].reshape(-1, BATCH):
            x, label = torch.from_numpy(windows.cut(draw[batch].start)), torch.from_numpy(truth[draw[batch].trial])
            parameters = draw_augmentation(
                BATCH, SIZE, generator, AugmentSettings(rotation_deg=5, mirror=training.mirror)
            )
            label = torch.where(parameters[:, 3] > 0, swapped[label], label) if training.mirror else label
            loss = functional.cross_entropy(net(augment(x, parameters)).logits, label, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def predict(net: ResNetClassifier, windows: Windows) -> Labels:
    """Return the class of each trial: the one with the highest sum of log-probabilities over its windows."""
    draw = in_order(windows, windows.shape.per_window)
    with torch.inference_mode():
        parts = [
            net(torch.from_numpy(windows.cut(part))).logits.log_softmax(1).numpy()
            for part in np.array_split(draw.start, max(1, len(draw) // 64))
        ]
    total = np.zeros((len(windows.trials), parts[0].shape[1]))
    np.add.at(total, draw.trial, np.concatenate(parts))
    return total.argmax(1)


def squares(windows: Windows, *, counts_only: bool) -> npt.NDArray[np.float64]:
    """Return the log counts of whole trials in 8x8 squares; `counts_only`: without time and polarity."""
    x = torch.from_numpy(windows.cut(windows.first_row[:-1]))
    counts = functional.avg_pool2d(x, 8) * 64
    return (counts.sum(1) if counts_only else counts).flatten(1).log1p().double().numpy()


def linear(train: npt.NDArray[np.float64], truth: Labels, test: npt.NDArray[np.float64]) -> Labels:
    """Fit ridge regression to one-hot labels, and return its predictions for `test`."""
    a, b = train - train.mean(0), test - train.mean(0)
    onehot = np.eye(truth.max() + 1)[truth]
    kernel = a @ a.T
    weights = np.linalg.solve(kernel + RIDGE * np.trace(kernel) / len(a) * np.eye(len(a)), onehot - onehot.mean(0))
    return (b @ a.T @ weights + onehot.mean(0)).argmax(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `eventveil simulate gestures` wrote")
    options = parser.parse_args()
    dataset = open_dataset(options.folder)
    cache = options.folder / "cache"
    trials = windows_of(dataset.trials, cache, whole=True).trials  # in the order that all windows have
    person, session, gesture = (numbers(trials, key) for key in ("subject", "session", "target"))
    train_people, early = np.array([trial.split == "train" for trial in trials]), session < session.max()
    title = f"{len(dataset.subjects)} people, {session.max() + 1} sessions, {len(trials)} trials; {processor()}, seed 0"
    table = Table("task", "classifier", "right", "95 %", "chance", title=title)

    def divided(train: npt.NDArray[np.bool_], *, whole: bool) -> list[Windows]:
        return [windows_of(np.array(trials, object)[side].tolist(), cache, whole=whole) for side in (train, ~train)]

    def evaluate(task: str, truth: Labels, train: npt.NDArray[np.bool_], training: Training) -> ResNetClassifier:
        people, chance = person[~train], 1 / (truth.max() + 1)
        for_training, for_test = divided(train, whole=False)
        net = train_network(for_training, truth[train], training, task)
        predictions = {"network": predict(net, for_test)}
        for_training, for_test = divided(train, whole=True)
        for name, counts_only in (("linear", False), ("linear, counts alone", True)):
            train_squares, test_squares = (squares(part, counts_only=counts_only) for part in (for_training, for_test))
            predictions[name] = linear(train_squares, truth[train], test_squares)
        for name, prediction in predictions.items():
            right = prediction == truth[~train]
            interval = accuracy_interval(right, people)
            between = f"{interval.low:.1%} to {interval.high:.1%}"
            table.add_row(task, name, f"{right.mean():.1%}", between, f"{chance:.1%}")
        return net

    unseen = len(set(person[~train_people]))
    net = evaluate(f"gesture of {unseen} unseen people", gesture, train_people, GESTURES)
    evaluate("identity, in an unseen session", person, early, PEOPLE)
    console.print(table)
    if folder := os.environ.get("EVENTVEIL_REAL_DATA"):
        real = windows_of(open_dataset(Path(folder) / "dvs_gesture").trials, cache, whole=False)
        truth = np.array([trial.target for trial in real.trials])
        console.print(f"gesture of {len(truth)} real trials: network {(predict(net, real) == truth).sum()} right")


if __name__ == "__main__":
    main()
