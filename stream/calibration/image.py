"""A picture of what a source is like: rate per pixel, what the network sees of it, and what it saw in training.

It shows raw events, and so whoever was before the camera. The file is its owner's alone, and says what it is.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from eventveil.errors import ConfigError
from eventveil.files import atomic_file
from eventveil.stream.calibration.profile import SourceProfile

SIDE = 480  # of a panel, pixels
MARGIN, TITLE = 12, 34
PAPER, INK, ALARM = (255, 255, 255), (30, 30, 30), (200, 0, 0)
NOTICE = "PRIVATE: made of raw events of whoever was before the camera. Keep it to yourself, delete it when done."


def draw_sheet(look: SourceProfile, beside: SourceProfile | None) -> Image.Image:
    """Draw a source beside one that looks as the training did; None: nobody knows one."""
    panels = [
        (_rates(look), f"events per pixel, {look.seconds:.2f} s (hot pixels: red)"),
        (_window(look.window), f"what the network sees of {look.sensor}"),
        (_window(None if beside is None else beside.window), "training" if beside else "training: not known"),
    ]
    sheet = Image.new("RGB", (len(panels) * (SIDE + MARGIN) + MARGIN, SIDE + 2 * TITLE + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (panel, title) in enumerate(panels):
        left = MARGIN + number * (SIDE + MARGIN)
        sheet.paste(panel, (left + (SIDE - panel.width) // 2, TITLE + (SIDE - panel.height) // 2))
        pen.text((left, 12), title, fill=INK)
    pen.text((MARGIN, SIDE + TITLE + MARGIN), NOTICE, fill=ALARM)
    return sheet


def write_private(path: Path, picture: Image.Image) -> None:
    """Write a picture in one step, as a file that its owner alone may read.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        with atomic_file(path, private=True) as file:
            picture.save(file, format="PNG")
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror or error}); check folder and space, or leave --out out"
        ) from error


def _rates(look: SourceProfile) -> Image.Image:
    """The whole sensor as the camera has it, in logarithms: one event is told from none, and a hot pixel burns red."""
    shade = np.log1p(look.per_pixel.astype(np.float64))
    grey = (255 * shade / max(float(shade.max()), 1e-9)).astype(np.uint8)
    colour = np.stack([grey] * 3, axis=2)
    colour[look.hot] = (255, 0, 0)
    return _fitted(Image.fromarray(colour))


def _window(counts: npt.NDArray[np.float32] | None) -> Image.Image:
    """A window in grey, from its first to its last per cent: windows of other densities look alike."""
    if counts is None:
        return Image.new("RGB", (SIDE, SIDE), (230, 230, 230))
    low, high = np.percentile(counts, (1, 99))
    grey = np.clip(255 * (counts - low) / max(float(high - low), 1e-9), 0, 255).astype(np.uint8)
    return _fitted(Image.fromarray(grey).convert("RGB"))


def _fitted(picture: Image.Image) -> Image.Image:
    scale = SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    # What is made smaller keeps its brightest pixels as little else does; what is made larger keeps its pixels square.
    return picture.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.NEAREST)
