"""Draws steps side by side, as a PNG file or as an animated GIF. Both show raw events: they are their owner's alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from eventveil.errors import ConfigError
from eventveil.host.files import write_atomic
from eventveil.stream.owner.show.panels import Grey
from eventveil.stream.owner.show.reel import ReelStep, Shown
from eventveil.stream.owner.show.steps import STEP_US

SIDE, GAP, TITLE = 256, 8, 30  # pixels
LEVELS = 32  # of grey in an animation: fewer make it smaller
PAPER, INK = 255, 0
RECONSTRUCTED = "reconstructed by FireNet"


def draw(step: ReelStep, names: Sequence[str], side: int = SIDE) -> Image.Image:
    """Draw a step: the raw events, then the anonymizers with these names; what FireNet makes of each is below it.

    Args:
        step: the step.
        names: names of the anonymizers.
        side: pixels of the longer side of each picture.
    """
    columns = [step.columns[0], *(one for one in step.columns[1:] if one.name in names)]
    rows = 1 + any(one.picture is not None for one in columns)
    sheet = Image.new("L", (GAP + len(columns) * (side + GAP), GAP + rows * (side + TITLE + GAP)), PAPER)
    for number, shown in enumerate(columns):
        left = GAP + number * (side + GAP)
        _place(sheet, (left, GAP), side, _title(shown), shown.events)
        if shown.picture is not None:
            _place(sheet, (left, 2 * GAP + side + TITLE), side, RECONSTRUCTED, shown.picture)
    return sheet


def png(step: ReelStep, names: Sequence[str]) -> bytes:
    """Return a step as a PNG file."""
    file = io.BytesIO()
    draw(step, names).save(file, "PNG", optimize=True)
    return file.getvalue()


def animation(steps: Sequence[ReelStep], names: Sequence[str], side: int = SIDE, levels: int = LEVELS) -> bytes:
    """Return steps as an animated GIF, at the speed at which they happened, again and again.

    Args:
        steps: one or more.
        names: names of the anonymizers.
        side: pixels of the longer side of each picture.
        levels: of grey.
    """
    greys = np.rint(np.rint(np.arange(256) / 255 * (levels - 1)) / (levels - 1) * 255).astype(int)
    frames = [draw(step, names, side).point(greys.tolist()) for step in steps]
    file = io.BytesIO()
    frames[0].save(
        file, "GIF", save_all=True, append_images=frames[1:], duration=STEP_US // 1000, loop=0, optimize=True
    )
    return file.getvalue()


def save(folder: Path, ending: str, data: bytes) -> Path:
    """Write a picture to a new file of a folder, that only its owner can read; return its path.

    Raises:
        ConfigError: it cannot be written.
    """
    number = 0
    while True:
        number += 1
        path = folder / f"show-{number:03d}.{ending}"
        try:
            write_atomic(path, data, replace=False)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({error.strerror}); check --out and free space") from error
        return path


def _title(shown: Shown) -> str:
    return f"{shown.name}: {shown.label}" if shown.label else shown.name


def _place(sheet: Image.Image, corner: tuple[int, int], side: int, title: str, values: Grey) -> None:
    left, top = corner
    ImageDraw.Draw(sheet).text((left, top + 6), title, fill=INK, font=_font())
    picture = Image.fromarray(values)
    factor = side / max(picture.size)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    sheet.paste(picture.resize(size, Image.Resampling.NEAREST), (left, top + TITLE))


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=14)
