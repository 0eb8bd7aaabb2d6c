"""Draws a book: a row for each clip, with a few moments and all of its events."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from eventveil.errors import BookError
from eventveil.host.files import atomic_file
from eventveil.models.book import Book, Word

MOMENTS = 4
MOMENT_US = 30_000
MAX_ROWS = 64
COLUMNS = 2
TITLE, MARGIN = 14, 8
PAPER, INK = (255, 255, 255), (30, 30, 30)


def draw_book(book: Book) -> Image.Image:
    """Draw the first word of each clip, of the first 64 clips.

    A row shows the first 30 ms of a few steps, ON white and OFF black, and all events of the clip.
    """
    words = {word.clip: number for number, word in reversed(list(enumerate(book.words)))}
    shown = [words[clip] for clip in sorted(words)][:MAX_ROWS]
    rows = -(-len(shown) // COLUMNS)
    width, height = (MOMENTS + 1) * book.sensor.width, book.sensor.height + TITLE
    sheet = Image.new("RGB", (COLUMNS * (width + MARGIN) + MARGIN, rows * (height + MARGIN) + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, number in enumerate(shown):
        left = MARGIN + place // rows * (width + MARGIN)
        top = MARGIN + place % rows * (height + MARGIN)
        draw.text((left, top), title(number, book.words[number]), fill=INK)
        sheet.paste(Image.fromarray(_row(book, number)), (left, top + TITLE))
    return sheet


def write_picture(path: Path, picture: Image.Image, *, replace: bool = True) -> None:
    """Write a picture as PNG, atomically.

    Raises:
        BookError: it cannot be written.
    """
    try:
        with atomic_file(path, replace=replace) as file:
            picture.save(file, format="PNG")
    except OSError as error:
        raise BookError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder and free space"
        ) from error


def title(number: int, word: Word) -> str:
    """Return the number and the label of a word, and what differs from the usual."""
    usual = Word(label=word.label, presence=word.presence, clip=word.clip)
    parts = [f"{key} {value:g}" for key in ("size", "amplitude") if (value := getattr(word, key)) != 1]
    if (word.dx, word.dy) != (0, 0):
        parts.append(f"at {word.dx:+d},{word.dy:+d}")
    if word.tempo != usual.tempo:
        parts.append("tempo " + "/".join(map(str, word.tempo)))
    if word.phase:
        parts.append(f"phase {word.phase}")
    return f"{number}: {', '.join([word.label, *parts])}"


def _row(book: Book, number: int) -> npt.NDArray[np.uint8]:
    steps = [book.events(number, step * book.step_us) for step in range(book.metadata.steps)]
    shape = (book.sensor.height, book.sensor.width)
    pictures = []
    for moment in range(MOMENTS):
        events = steps[moment * len(steps) // MOMENTS]
        now = events.t - events.t // book.step_us * book.step_us < MOMENT_US
        picture = np.full(shape, 128.0)
        np.add.at(picture, (events.y[now], events.x[now]), np.where(events.p[now], 50, -50))
        pictures.append(picture)
    total = np.zeros(shape)
    for events in steps:
        np.add.at(total, (events.y, events.x), 4)
    row: npt.NDArray[np.uint8] = np.clip(np.hstack([*pictures, total]), 0, 255).astype(np.uint8)
    return row
