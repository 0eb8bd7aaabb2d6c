"""What classifiers get out of simulated events: the gesture of people they have not seen, and who it is.

    eventveil simulate people
    [EVENTVEIL_REAL_DATA=FOLDER] python benchmarks/simulator_cues.py people

A small network (ResNet-18 of 16 channels, on logarithms of counts) sees windows of one second, 64x64, and says of a
trial what its windows say together. One learns the gesture from the people of the training side and is tried on the
others; another learns who is who from all sessions but the last, and is tried on that. Beside them ridge regression on
the logarithm of a whole trial's counts in squares of 8x8 pixels, a floor, with time and polarity and without. Intervals
hold 95 %, by person. With a folder of real trials the network of gestures is tried on those, too.
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

from eventveil.models.resnet import ResNetClassifier, ResNetConfig
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


def made(trials: Sequence[Trial], cache: Path, *, whole: bool) -> Windows:
    """Return the windows of trials: of one second, or each trial as one."""
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


def taught(windows: Windows, truth: Labels, how: Training, what: str) -> ResNetClassifier:
    """Train a network from scratch: windows at random places, `PER_TRIAL` of each trial in each epoch."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    net = ResNetClassifier(
        ResNetConfig(depth=18, channels=2 * BINS, classes=int(truth.max()) + 1, width=16, embedding=128, logarithm=True)
    )
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = len(windows.trials) * PER_TRIAL // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), lr=how.rate, weight_decay=how.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, how.rate, total_steps=how.epochs * steps)
    swapped = torch.tensor(MIRRORED_GESTURES)
    for epoch in track(range(how.epochs), description=what, console=Console(stderr=True)):
        draw = at_random(windows, PER_TRIAL, 0.0, np.random.default_rng(epoch))
        for batch in np.random.default_rng(epoch).permutation(len(draw))[: steps * BATCH].reshape(-1, BATCH):
            x, label = torch.from_numpy(windows.cut(draw[batch].start)), torch.from_numpy(truth[draw[batch].trial])
            parameters = draw_augmentation(BATCH, SIZE, generator, AugmentSettings(rotation_deg=5, mirror=how.mirror))
            label = torch.where(parameters[:, 3] > 0, swapped[label], label) if how.mirror else label
            loss = functional.cross_entropy(net(augment(x, parameters)).logits, label, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def told(net: ResNetClassifier, windows: Windows) -> Labels:
    """What the windows of each trial say together: the class whose log-probabilities add up to the most."""
    draw = in_order(windows, windows.shape.per_window)
    with torch.inference_mode():
        parts = [
            net(torch.from_numpy(windows.cut(part))).logits.log_softmax(1).numpy()
            for part in np.array_split(draw.start, max(1, len(draw) // 64))
        ]
    total = np.zeros((len(windows.trials), parts[0].shape[1]))
    np.add.at(total, draw.trial, np.concatenate(parts))
    return total.argmax(1)


def squares(windows: Windows, *, alone: bool) -> npt.NDArray[np.float64]:
    """Logarithm of the counts of whole trials in 8x8 squares; `alone`: without time and polarity."""
    x = torch.from_numpy(windows.cut(windows.first_row[:-1]))
    counts = functional.avg_pool2d(x, 8) * 64
    return (counts.sum(1) if alone else counts).flatten(1).log1p().double().numpy()


def linear(train: npt.NDArray[np.float64], truth: Labels, test: npt.NDArray[np.float64]) -> Labels:
    """Fit ridge regression to one-hot labels, and return what it says of `test`."""
    a, b = train - train.mean(0), test - train.mean(0)
    onehot = np.eye(truth.max() + 1)[truth]
    kernel = a @ a.T
    weights = np.linalg.solve(kernel + RIDGE * np.trace(kernel) / len(a) * np.eye(len(a)), onehot - onehot.mean(0))
    return (b @ a.T @ weights + onehot.mean(0)).argmax(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `eventveil simulate` wrote")
    asked = parser.parse_args()
    dataset = open_dataset(asked.folder)
    cache = asked.folder / "cache"
    trials = made(dataset.trials, cache, whole=True).trials  # in the order that all windows have
    person, session, gesture = (numbers(trials, key) for key in ("subject", "session", "target"))
    seen, early = np.array([trial.split == "train" for trial in trials]), session < session.max()
    title = f"{len(dataset.subjects)} people, {session.max() + 1} sessions, {len(trials)} trials; {processor()}, seed 0"
    table = Table("question", "who answers", "right", "95 %", "chance", title=title)

    def sides(known: npt.NDArray[np.bool_], *, whole: bool) -> list[Windows]:
        return [made(np.array(trials, object)[side].tolist(), cache, whole=whole) for side in (known, ~known)]

    def ask(question: str, truth: Labels, known: npt.NDArray[np.bool_], how: Training) -> ResNetClassifier:
        people, chance = person[~known], 1 / (truth.max() + 1)
        for_training, for_test = sides(known, whole=False)
        net = taught(for_training, truth[known], how, question)
        answers = {"network": told(net, for_test)}
        for_training, for_test = sides(known, whole=True)
        for name, alone in (("linear", False), ("linear, counts alone", True)):
            answers[name] = linear(squares(for_training, alone=alone), truth[known], squares(for_test, alone=alone))
        for by, answer in answers.items():
            right = answer == truth[~known]
            interval = accuracy_interval(right, people)
            between = f"{interval.low:.1%} to {interval.high:.1%}"
            table.add_row(question, by, f"{right.mean():.1%}", between, f"{chance:.1%}")
        return net

    net = ask(f"gesture of {len(set(person[~seen]))} unseen people", gesture, seen, GESTURES)
    ask("who, in an unseen session", person, early, PEOPLE)
    console.print(table)
    if folder := os.environ.get("EVENTVEIL_REAL_DATA"):
        real = made(open_dataset(Path(folder) / "dvs_gesture").trials, cache, whole=False)
        truth = np.array([trial.target for trial in real.trials])
        console.print(f"gesture of {len(truth)} real trials: network {(told(net, real) == truth).sum()} right")


if __name__ == "__main__":
    main()
