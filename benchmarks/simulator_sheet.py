"""Draw a contact sheet of the simulated gestures, with real ones for comparison.

    python benchmarks/simulator_sheet.py docs/simulator.png
    EVENTVEIL_REAL_DATA=FOLDER python benchmarks/simulator_sheet.py --real comparison.png

A gesture is three moments of 30 ms each, ON white and OFF black, and all events of 1.45 s. Without `--real`, a row
shows two gestures; with it, one, and the real trial of the gesture on its right. Such a picture shows a real person:
never publish it. Needs Pillow.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.camera import DVS128, simulate

SECONDS = 1.45
MOMENTS_MS = (200, 500, 800)
MOMENT_MS = 30
Picture = npt.NDArray[np.uint8]


def row(
    x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], p: npt.NDArray[np.int64], t: npt.NDArray[np.int64]
) -> Picture:
    """Return the pictures of one trial side by side; t in ms."""
    shape = (DVS128.height, DVS128.width)
    pictures = []
    for moment in MOMENTS_MS:
        now = (t >= moment) & (t < moment + MOMENT_MS)
        picture = np.full(shape, 128.0)
        np.add.at(picture, (y[now], x[now]), np.where(p[now], 50, -50))
        pictures.append(picture)
    total = np.zeros(shape)
    np.add.at(total, (y, x), 4)
    return np.clip(np.hstack([*pictures, total]), 0, 255).astype(np.uint8)


def simulated(gesture: int) -> Picture:
    packets = list(simulate(0, subject=gesture + 1, session=gesture, gesture=gesture, seconds=SECONDS))
    x, y, p, t = (np.concatenate([getattr(packet, name) for packet in packets]).astype(np.int64) for name in "xypt")
    return row(x, y, p, t // 1000)


def real(folder: Path, gesture: int) -> Picture:
    files = sorted(folder.glob(f"dvs_gesture/ibmGesture*/*/{gesture}.npy"))
    if not files:
        return np.zeros((DVS128.height, DVS128.width * (len(MOMENTS_MS) + 1)), np.uint8)
    x, y, p, t = np.load(files[0]).astype(np.int64).T
    return row(x, y, p, t - t[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="a PNG file")
    parser.add_argument(
        "--real", action="store_true", help="add real trials on the right; EVENTVEIL_REAL_DATA names the folder"
    )
    options = parser.parse_args()
    rows = [simulated(gesture) for gesture in range(len(GESTURES))]
    if options.real:
        folder = Path(os.environ["EVENTVEIL_REAL_DATA"])
        rows = [np.hstack([pictures, real(folder, gesture)]) for gesture, pictures in enumerate(rows)]
        sheet = np.vstack(rows)
    else:
        # Two columns: a page is wider than it is high.
        rows.append(np.zeros_like(rows[0]))
        sheet = np.hstack([np.vstack(rows[:6]), np.vstack(rows[6:])])
    Image.fromarray(sheet).save(options.out, optimize=True)


if __name__ == "__main__":
    main()
