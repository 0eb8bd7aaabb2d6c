"""Train a classifier of raw windows on simulated scenes alone, and test it on real recordings.

    EVENTVEIL_REAL_DATA=FOLDER python benchmarks/simulated_training.py SET... [--trainings 10] [--epochs 30]

Each SET is a folder of `eventveil simulate sequences`, `negatives` or `gestures`; all of its recordings are trained on.
FOLDER holds real recordings: `dvs_gesture/`, ten trials of one person, and `negatives/` and `people/`, in which nobody
makes a gesture. Windows of one second, every 0.1 s. For each training the table gives the real trials recognised (the
windows of a trial vote; chance is 0.9 of 10), and in the other recordings the longest time for which the same gesture
was named, how many were named a minute, and the share of windows that named one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from machine import processor
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.nn import functional

from eventveil.events import Sensor
from eventveil.io.source import open_events
from eventveil.models.configs import ResNetConfig
from eventveil.models.resnet import ResNetClassifier
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.dvs_gesture import GESTURES, LABELS
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.training.data.augment import MIRRORED_GESTURES, augment, draw_augmentation
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.sampling import Draw, at_random
from eventveil.training.data.windows import Windows, build
from eventveil.training.settings import AugmentSettings

BINS, BIN_US, SIZE = 10, 100_000, (32, 32)
BATCH, PER_TRIAL, STRADDLE, RATE = 64, 2, 0.5, 3e-3
MORE_PER_GESTURE = 4  # windows besides from each file that holds one gesture, as they are few next to the visits
NAMED = len(GESTURES) - 1  # classes below this are gestures with a name; "other gestures" is not
SWAPPED = torch.tensor([*MIRRORED_GESTURES, *range(len(GESTURES), len(LABELS))])
AUGMENT = AugmentSettings(rotation_deg=12, mirror=True)
SWAP_POLARITY, RATE_FACTOR = 0.5, 3.0
STDERR = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Recording:
    """Windows of one real recording, (N, 2 * BINS, H, W), one every 0.1 s; `gesture` is None where there is none."""

    name: str
    gesture: int | None
    windows: npt.NDArray[np.float32]


def windows_of(path: Path, options: str = "") -> npt.NDArray[np.float32]:
    """Return the windows of a recording; a part at its end that fills no window is left out."""
    with open_events(f"{path.resolve().as_uri()}{options}", sensor=Sensor(128, 128)) as packets:
        histogrammer = WindowedHistogrammer(packets.sensor, SIZE, 1, BIN_US)
        bins = [window.counts[0] for packet in packets for window in histogrammer.push(packet)]
        bins += [window.counts[0] for window in histogrammer.finish()]
    counts = np.stack(bins).astype(np.float32)
    return np.stack([counts[at : at + BINS].reshape(-1, *counts.shape[2:]) for at in range(len(counts) - BINS + 1)])


def real_recordings(folder: Path) -> list[Recording]:
    found = [
        Recording(trial.name, trial.target, windows_of(trial.path, "?columns=x,y,p,t&unit=ms"))
        for trial in open_dataset(folder / "dvs_gesture").trials
    ]
    for part in ("negatives", "people"):
        paths = (path for path in sorted((folder / part).iterdir()) if path.suffix.startswith(".aedat"))
        found += [Recording(path.name, None, windows_of(path)) for path in paths]
    noise = folder / "negatives" / "sensor_noise.csv"
    return [*found, Recording(noise.name, None, windows_of(noise))]


def simulated(folders: Sequence[Path], cache: Path) -> tuple[Windows, npt.NDArray[np.int64]]:
    trials = [trial for folder in folders for trial in open_dataset(folder).trials]
    shape = RowShape.of(mode="windows", bins=BINS, bin_us=BIN_US, offsets=2, size=SIZE, crop=None)
    windows = build(trials, shape, cache, workers=os.cpu_count() or 1, watch=lambda done, of: show(done, of))
    return windows, np.array([LABELS.index(str(trial.label)) for trial in windows.trials])


def show(done: int, of: int) -> None:
    STDERR.print(f"binning {done} of {of}", end="\r" if done < of else "\n")


def draw_epoch(windows: Windows, random: np.random.Generator) -> Draw:
    draw, more = at_random(windows, PER_TRIAL, STRADDLE, random), at_random(windows, MORE_PER_GESTURE, 0.0, random)
    more = more[np.array([trial.path.suffix == ".npy" for trial in windows.trials])[more.trial].nonzero()[0]]
    return Draw(np.concatenate((draw.start, more.start)), np.concatenate((draw.trial, more.trial)))


def vary(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Exchange the polarities of half of the windows, and change the number of events of each by up to `RATE_FACTOR`.

    The contrast of an arm then says nothing of the direction of a circle: only the order of the bins does.
    """
    counts = x.reshape(len(x), BINS, 2, *SIZE)
    swapped = torch.rand(len(x), 1, 1, 1, 1, generator=generator) < SWAP_POLARITY
    counts = torch.where(swapped, counts.flip(2), counts)
    factor = RATE_FACTOR ** (2 * torch.rand(len(x), 1, 1, 1, 1, generator=generator) - 1)
    return torch.floor(counts * factor + torch.rand(counts.shape, generator=generator)).reshape(x.shape)


def train(windows: Windows, truth: npt.NDArray[np.int64], seed: int, epochs: int) -> ResNetClassifier:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    config = ResNetConfig(depth=18, channels=2 * BINS, classes=len(LABELS), width=16, embedding=128, logarithm=True)
    net = ResNetClassifier(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    steps = len(draw_epoch(windows, np.random.default_rng(0))) // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=epochs * steps)
    for epoch in track(range(epochs), description=f"training {seed}", console=STDERR):
        random = np.random.default_rng((seed, epoch))
        draw = draw_epoch(windows, random)
        for batch in random.permutation(len(draw))[: steps * BATCH].reshape(-1, BATCH):
            x, label = torch.from_numpy(windows.cut(draw[batch].start)), torch.from_numpy(truth[draw[batch].trial])
            parameters = draw_augmentation(BATCH, SIZE, generator, AUGMENT)
            label = torch.where(parameters[:, 3] > 0, SWAPPED[label], label)
            x = vary(augment(x, parameters), generator)
            loss = functional.cross_entropy(net(x).logits, label, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return net.eval()


def answers(net: ResNetClassifier, recording: Recording) -> npt.NDArray[np.float32]:
    """Return the log-probabilities of all windows, (N, classes)."""
    with torch.inference_mode():
        parts = torch.from_numpy(recording.windows).split(256)
        return torch.cat([net(part).logits.log_softmax(1) for part in parts]).numpy()


def held_s(named: npt.NDArray[np.int64]) -> list[float]:
    """Return for how long each named gesture was named without a break, seconds."""
    return [len(list(run)) * BIN_US / 1e6 for gesture, run in groupby(named.tolist()) if gesture < NAMED]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", type=Path, nargs="+", help="folders of simulated recordings")
    parser.add_argument("--trainings", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--cache", type=Path, default=Path("simulated_training"), help="folder of prepared windows")
    options = parser.parse_args()
    real = real_recordings(Path(os.environ["EVENTVEIL_REAL_DATA"]))
    windows, truth = simulated(options.sets, options.cache)
    title = f"{len(windows.trials)} simulated spans, {options.epochs} epochs, {processor()}"
    table = Table("seed", "real trials", "wrong", "longest gesture", "gestures a minute", "windows", title=title)
    totals = []
    for seed in range(options.trainings):
        net = train(windows, truth, seed, options.epochs)
        said = {recording.name: answers(net, recording) for recording in real}
        wrong = [
            f"{recording.gesture}: {LABELS[said[recording.name].sum(0).argmax()]}"
            for recording in real
            if recording.gesture is not None and said[recording.name].sum(0).argmax() != recording.gesture
        ]
        quiet = {recording.name: said[recording.name].argmax(1) for recording in real if recording.gesture is None}
        longest = {name: max(held_s(named), default=0.0) for name, named in quiet.items()}
        worst = max(longest, key=lambda name: longest[name])
        windows_quiet = sum(map(len, quiet.values()))
        gestures = sum(len(held_s(named)) for named in quiet.values())
        share = sum(int((named < NAMED).sum()) for named in quiet.values()) / windows_quiet
        trials = sum(recording.gesture is not None for recording in real)
        totals.append(trials - len(wrong))
        table.add_row(
            str(seed), f"{totals[-1]} of {trials}", ", ".join(wrong), f"{longest[worst]:.1f} s ({worst})",
            f"{gestures / (windows_quiet * BIN_US / 6e7):.1f}", f"{share:.1%}",
        )  # fmt: skip
        for name, named in quiet.items():
            STDERR.print(f"  {name}: {held_s(named)}; {np.bincount(named, minlength=len(LABELS)).tolist()}")
    console = Console(width=160)
    console.print(table)
    console.print(f"mean of real trials: {np.mean(totals):.1f}")


if __name__ == "__main__":
    main()
