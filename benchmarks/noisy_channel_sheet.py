"""Draw windows of simulated people that no weights were trained on, and below each the published window.

    python benchmarks/noisy_channel_sheet.py docs/noisy_channel.png

Each window is the first of its trial, with all bins added, in its own scale. The noise is fresh, so the lower row
differs in every sheet. Needs matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eventveil.models import load_weights, shipped
from eventveil.models.runtime import Anonymizer
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.camera import DVS128, simulate
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.training.stages.plots import side_by_side

SEED = 1  # the people of seed 0 trained the noisy channel
SHOWN = (0, 1, 4, 7, 8, 9)


def window(gesture: int, bins: int, bin_us: int, size: tuple[int, int]) -> npt.NDArray[np.uint16]:
    """Return the first window of a new person's gesture, (bins, 2, H, W)."""
    histogrammer = WindowedHistogrammer(DVS128, bins=bins, bin_us=bin_us, size=size)
    for packet in simulate(SEED, subject=gesture + 1, session=0, gesture=gesture, seconds=2.0):
        for raw in histogrammer.push(packet):
            return raw.counts
    raise AssertionError("two seconds contain a window of one second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="a PNG file")
    out = parser.parse_args().out
    weights = load_weights(shipped.NOISY_CHANNEL)
    metadata = weights.metadata
    assert metadata.bin_us is not None
    counts = [window(gesture, metadata.bins, metadata.bin_us, metadata.size) for gesture in SHOWN]
    published = Anonymizer(weights, device="cpu")(counts)
    raw = np.stack(counts).reshape(published.shape).astype(np.float32)
    side_by_side(out, raw, published, [GESTURES[gesture] for gesture in SHOWN])


if __name__ == "__main__":
    main()
