"""Attack recordings of two real people, and ten real gestures, with what needs no training: a smoke test.

    python benchmarks/real_people.py FOLDER

FOLDER holds people/*.aedat, two takes of each of two people who do the same (named PERSON_TAKE.aedat), and dvs_gesture/
as tonic stores DVS128 Gesture. Windows are attacked raw and as the shipped noisy channel publishes them, by three
attackers of the audit that learn nothing: nearest neighbours by log counts in squares, by the bits of the numbers, and
by the published gestures.

*person*: which of the other takes does a window, or a whole take, resemble most, that of the same person or one of the
other? Chance is 50 %. With two people there is no interval by person, and seat, clothes and moment differ, too: NO
CLAIM ABOUT IDENTIFICATION CAN BE MADE from these figures, whatever they are. *own window*: which raw window of the take
was a published one made from? *gesture*: how many of the ten trials the classifier names.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import torch
from machine import processor
from rich.console import Console
from rich.table import Table

from eventveil.audit.attacks.gestures import embed_gestures
from eventveil.audit.attacks.nearest import EMBEDDINGS, without_class_means
from eventveil.events import Sensor
from eventveil.io import open_events
from eventveil.models import load_weights
from eventveil.models.runtime import Anonymizer, Classifier
from eventveil.models.shipped import NOISY_CHANNEL, NOISY_CHANNEL_GESTURES
from eventveil.replay.datasets import dvs_gesture
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.stream.protocol.gesture import published_gesture

Counts = npt.NDArray[np.uint16]  # (N, K, 2, H, W)
Embedding = npt.NDArray[np.float32]  # (N, E)
DRAWS = 50  # of the noise


def windows_of(path: Path, options: str = "") -> Counts:
    """Return the windows of a recording of a DVS128, as the noisy channel takes them."""
    metadata = load_weights(NOISY_CHANNEL).metadata
    histogrammer = WindowedHistogrammer(Sensor(128, 128), metadata.size, metadata.bins, metadata.bin_us)
    with open_events(f"file://{quote(str(path.resolve()))}{options}", sensor=Sensor(128, 128)) as source:
        windows = [window.counts for packet in source for window in histogrammer.push(packet)]
    return np.array(windows)


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
    per_take = [windows_of(path) for path in paths]
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
    raw = np.stack([windows_of(path, "?columns=x,y,p,t&unit=ms")[0] for path in paths])
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with people/ and dvs_gesture/")
    folder = parser.parse_args().folder
    console = Console(width=120)
    attack_people(folder / "people", console)
    attack_gestures(folder / "dvs_gesture", console)
    console.print("Two people: no claim about identification can be made.")


if __name__ == "__main__":
    main()
