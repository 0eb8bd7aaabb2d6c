"""Draw the picture at the top of README.md: raw events, the published window, and an attacker's reconstructions.

    python benchmarks/readme_picture.py docs/overview.png --firenet firenet_1000.pth.tar

All people are simulated, and the shipped weights were trained on others. Without `--firenet` (the published weights of
FireNet, Scheerlinck et al., WACV 2020) the attacker's columns are left out. The noise is seeded here, so that the same
options draw the same picture; live noise has no seed. Needs matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from eventveil.audit.workspace.pictures import grids_of, reconstructed
from eventveil.models import load_weights, shipped
from eventveil.models.noise import SeededNoise
from eventveil.models.reconstruction import BINS, FireNet, load_firenet
from eventveil.models.runtime import AnonymizerRuntime
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.camera import DVS128, simulate
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.training.settings import TrainingWindowSettings

SEED = 1  # the people of seed 0 trained the shipped weights
SHOWN = ((2, 1), (8, 7), (9, 8))  # (person, gesture)
SHORT_US = 40_000  # FireNet was trained on short voxel grids
DPI = 110
Picture = npt.NDArray[np.float32]


def windows(person: int, gesture: int, **settings: object) -> list[npt.NDArray[np.generic]]:
    """Return all windows that close within the first 1.2 s of a person's gesture."""
    histogrammer = WindowedHistogrammer(DVS128, **settings)
    packets = simulate(SEED, subject=person, session=0, gesture=gesture, seconds=1.2)
    return [window.counts for packet in packets for window in histogrammer.push(packet)]


def row(person: int, gesture: int, anonymizer: AnonymizerRuntime, shape: dict[str, object], network: FireNet | None):
    """Return the pictures of one person, from left to right; `shape` is that of the windows of the shipped weights."""
    counts = windows(person, gesture, **shape)[0]
    published = anonymizer([counts])
    raw = counts.astype(np.float32).reshape(published.shape)
    full = windows(person, gesture, **(shape | {"size": None}))[0]
    # Counts span three orders of magnitude: without the logarithm a moving hand outshines the person.
    pictures = [np.log1p(full.sum((0, 1))), published[0].sum(0)]
    if network is None:
        return pictures
    span_us = int(shape["bins"]) * int(shape["bin_us"])
    grids = windows(person, gesture, bins=BINS, bin_us=SHORT_US // BINS, mode="voxel")[: span_us // SHORT_US]
    window = TrainingWindowSettings(**shape)
    return [
        *pictures,
        attack(network, torch.from_numpy(np.stack(grids))[None]),
        attack(network, grids_of(torch.from_numpy(raw), window)),
        attack(network, grids_of(torch.from_numpy(published), window)),
    ]


def attack(network: FireNet, grids_BGVHW: torch.Tensor) -> Picture:
    """Return the picture that FireNet reconstructs after the last voxel grid."""
    with torch.inference_mode():
        picture_B1HW, _ = reconstructed(network, grids_BGVHW)
    return picture_B1HW[0, 0].numpy()


def draw(path: Path, rows: list[list[Picture]], titles: list[str]) -> None:
    """Draw all pictures, each scaled to its own brightness."""
    from matplotlib.figure import Figure

    columns = len(titles)
    figure = Figure(figsize=(1.75 * columns + 0.25, 1.72 * len(rows) + 0.95), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, hspace=0.01, wspace=0.01)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, pictures, (_, gesture) in zip(axes, rows, SHOWN, strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            low, high = np.percentile(picture, (1, 99.5))
            axis.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="nearest")
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(GESTURES[gesture], fontsize=8)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    for spine in (spine for line in axes for spine in line[1].spines.values()):
        spine.set(edgecolor="tab:green", linewidth=2.5)
    figure.supxlabel(
        "Simulated people; the anonymizer was trained on other ones. One second each, brightness scaled per picture.",
        fontsize=8,
    )
    figure.savefig(path, dpi=DPI)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a PNG file")
    parser.add_argument("--firenet", type=Path, metavar="FILE", help="FireNet's weights, firenet_1000.pth.tar")
    options = parser.parse_args()
    weights = load_weights(shipped.NOISY_CHANNEL)
    metadata = weights.metadata
    shape = {"bins": metadata.bins, "bin_us": metadata.bin_us, "size": metadata.size}
    network = None if options.firenet is None else load_firenet(options.firenet)
    anonymizer = AnonymizerRuntime(weights, device="cpu", noise=SeededNoise(SEED))
    rows = [row(person, gesture, anonymizer, shape, network) for person, gesture in SHOWN]
    titles = ["RAW EVENTS\nstay on the machine", "PUBLISHED WINDOW\nleaves, with the gesture"]
    if network is not None:
        titles += [
            "attacker (FireNet),\nfrom raw events",
            f"attacker (FireNet),\nfrom the raw {metadata.size[0]}x{metadata.size[1]} window",
            "attacker (FireNet),\nfrom the published window",
        ]
    draw(options.out, rows, titles)


if __name__ == "__main__":
    main()
