"""Draw the picture at the top of README.md: raw events, published events, and what an attacker makes of both.

    python benchmarks/readme_picture.py docs/overview.png --firenet firenet_1000.pth.tar

All people are simulated, and the shipped stand-in was trained on others. The published events are those of the word
that the stand-in chooses after two seconds. Without `--firenet` (the published weights of FireNet, Scheerlinck et al.,
WACV 2020) the attacker's columns are left out. Needs matplotlib.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from eventveil.events import EventPacket
from eventveil.models import Book, load_weights, shipped
from eventveil.models.pictures import reconstructed
from eventveil.models.reconstruction import BINS, FireNet, load_firenet
from eventveil.models.stand_in_runtime import StandInRuntime
from eventveil.models.weights import Weights
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.camera import DVS128, Shot, simulate
from eventveil.stream.histogram import WindowedHistogrammer

SEED = 1  # the people of seed 0 trained the weights
SHOWN = ((2, 1), (8, 7), (9, 8))  # (person, gesture)
SECONDS = 2.1
SHORT_US = 40_000  # FireNet was trained on short voxel grids
DPI = 110
Picture = npt.NDArray[np.float32]


def filmed(person: int, gesture: int) -> list[EventPacket]:
    """Return the events of a person's gesture."""
    shot = Shot(look="dvs-gesture")
    return list(simulate(SEED, subject=person, session=0, gesture=gesture, seconds=SECONDS, shot=shot))


def chosen(packets: list[EventPacket], weights: Weights) -> int:
    """Return the word that the stand-in has chosen at the end."""
    window = weights.metadata
    histogrammer = WindowedHistogrammer(DVS128, window.size, window.bins, window.bin_us, hop=window.hop)
    counts = [one.counts for packet in packets for one in histogrammer.push(packet)]
    ends_us = [window.bin_us * (number + 1) for number in range(len(counts))]
    runtime = StandInRuntime(weights, device="cpu", below=random.Random(SEED).randrange)
    return runtime(counts, [""] * len(counts), ends_us)[-1]


def published(book: Book, word: int) -> list[EventPacket]:
    """Return the events of a word."""
    return [book.events(word, start_us) for start_us in range(0, int(SECONDS * 1e6), book.step_us)]


def pictures(packets: Iterable[EventPacket], network: FireNet | None) -> list[Picture]:
    """Return the events of a second, and what FireNet reconstructs from them."""
    packets = list(packets)
    histogrammer = WindowedHistogrammer(DVS128, None, 1, 1_000_000, start_us=0)
    counts = next(window.counts for packet in packets for window in histogrammer.push(packet))
    # Counts span three orders of magnitude: without the logarithm a moving hand outshines the person.
    drawn: list[Picture] = [np.log1p(counts.sum((0, 1)).astype(np.float32))]
    if network is not None:
        histogrammer = WindowedHistogrammer(DVS128, None, BINS, SHORT_US // BINS, mode="voxel", start_us=0)
        grids = [window.counts for packet in packets for window in histogrammer.push(packet)][: 1_000_000 // SHORT_US]
        with torch.inference_mode():
            picture_B1HW, _ = reconstructed(network, torch.from_numpy(np.stack(grids))[None])
        drawn.append(picture_B1HW[0, 0].numpy())
    return drawn


def draw(path: Path, rows: list[list[Picture]], titles: list[str]) -> None:
    """Draw all pictures, each scaled to its own brightness; those that leave the machine have a green frame."""
    from matplotlib.figure import Figure

    columns = len(titles)
    figure = Figure(figsize=(1.75 * columns + 0.25, 1.72 * len(rows) + 0.95), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0.01, wspace=0.01)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, shown, (_, gesture) in zip(axes, rows, SHOWN, strict=True):
        for axis, picture in zip(line, shown, strict=True):
            low, high = np.percentile(picture, (1, 99.5))
            axis.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(GESTURES[gesture], fontsize=8)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    for spine in (spine for line in axes for spine in line[columns // 2].spines.values()):
        spine.set(edgecolor="tab:green", linewidth=2.5)
    figure.supxlabel(
        "Simulated people; the network was trained on other ones. Brightness scaled per picture.", fontsize=8
    )
    figure.savefig(path, dpi=DPI)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a PNG file")
    parser.add_argument("--firenet", type=Path, metavar="FILE", help="FireNet's weights, firenet_1000.pth.tar")
    options = parser.parse_args()
    weights, book = load_weights(shipped.STAND_IN), Book.read(shipped.BOOK)
    network = None if options.firenet is None else load_firenet(options.firenet)
    rows = []
    for person, gesture in SHOWN:
        packets = filmed(person, gesture)
        word = chosen(packets, weights)
        print(f"{GESTURES[gesture]}: {book.words[word].label}")
        rows.append([*pictures(packets, network), *pictures(published(book, word), network)])
    titles = ["RAW EVENTS\nstay on the machine", "PUBLISHED EVENTS\nof one stand-in for all"]
    if network is not None:
        titles[1:1] = ["attacker (FireNet),\nfrom raw events"]
        titles.append("attacker (FireNet),\nfrom the published events")
    draw(options.out, rows, titles)


if __name__ == "__main__":
    main()
