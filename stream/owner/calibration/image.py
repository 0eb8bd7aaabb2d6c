"""Draws the profile of a source: event rate per pixel, the network's input, and an input from training.

The image shows raw events, and so the person in front of the camera. Only its owner may read the file, and the image
is labelled as private.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from eventveil.errors import ConfigError
from eventveil.host.files import atomic_file
from eventveil.stream.owner.calibration.profile import SourceProfile

SIDE = 480  # width and height of a panel, pixels
MARGIN, TITLE = 12, 34
PAPER, INK, ALARM = (255, 255, 255), (30, 30, 30), (200, 0, 0)
NOTICE = "PRIVATE: made from raw events of the people in front of the camera. Do not share it; delete it when done."


def draw_sheet(profile: SourceProfile, training: SourceProfile | None) -> Image.Image:
    """Draw a source next to one that resembles the training data, or None if there is none."""
    panels = [
        (_rates(profile), f"events per pixel, {profile.seconds:.2f} s (hot pixels: red)"),
        (_window(profile.window), f"what the network sees of {profile.sensor}"),
        (_window(None if training is None else training.window), "training" if training else "training: unknown"),
    ]
    sheet = Image.new("RGB", (len(panels) * (SIDE + MARGIN) + MARGIN, SIDE + 2 * TITLE + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, (panel, title) in enumerate(panels):
        left = MARGIN + number * (SIDE + MARGIN)
        sheet.paste(panel, (left + (SIDE - panel.width) // 2, TITLE + (SIDE - panel.height) // 2))
        draw.text((left, 12), title, fill=INK)
    draw.text((MARGIN, SIDE + TITLE + MARGIN), NOTICE, fill=ALARM)
    return sheet


def write_private(path: Path, picture: Image.Image, *, replace: bool = True) -> None:
    """Write an image atomically, to a file that only its owner may read.

    Args:
        path: the file.
        picture: the image, written as PNG.
        replace: whether an existing file may be replaced.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        with atomic_file(path, replace=replace) as file:
            picture.save(file, format="PNG")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder and free space, or omit --out"
        ) from error


def _rates(profile: SourceProfile) -> Image.Image:
    """Draw the whole sensor on a logarithmic scale, where one event differs from none; hot pixels are red."""
    shade = np.log1p(profile.per_pixel.astype(np.float64))
    grey = (255 * shade / max(float(shade.max()), 1e-9)).astype(np.uint8)
    colour = np.stack([grey] * 3, axis=2)
    colour[profile.hot] = (255, 0, 0)
    return _fitted(Image.fromarray(colour))


def _window(counts: npt.NDArray[np.float32] | None) -> Image.Image:
    """Draw a window in grey, scaled from its 1st to its 99th percentile, so that windows of any density compare."""
    if counts is None:
        return Image.new("RGB", (SIDE, SIDE), (230, 230, 230))
    low, high = np.percentile(counts, (1, 99))
    grey = np.clip(255 * (counts - low) / max(float(high - low), 1e-9), 0, 255).astype(np.uint8)
    return _fitted(Image.fromarray(grey).convert("RGB"))


def _fitted(picture: Image.Image) -> Image.Image:
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # BOX keeps bright pixels visible when it shrinks an image; NEAREST keeps pixels square when it enlarges one.
    return picture.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST)
