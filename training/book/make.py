"""Makes a book: films the clips of a stand-in, and combines them with every place, tempo and phase into words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from eventveil.errors import BookError
from eventveil.events import EventPacket
from eventveil.models.book import Book, Word
from eventveil.models.book_format import MAX_WORDS
from eventveil.replay.datasets.dvs_gesture import GESTURES, NO_GESTURE, NOBODY
from eventveil.replay.simulation.camera import Shot
from eventveil.replay.simulation.loops import FilmedPerson, film_loop
from eventveil.replay.simulation.sensor_models import sensor_model
from eventveil.settings import Settings

WORD_LABELS = (*GESTURES, NO_GESTURE, NOBODY)
"""The labels of a book, in the order of its words."""

Share = Annotated[float, Field(ge=0.1, le=4)]
Part = Annotated[int, Field(ge=1, le=16)]


class FilmedPersonSettings(Settings):
    """The person in the clips, and what films it: see `eventveil.replay.simulation.loops.FilmedPerson`."""

    seed: Annotated[int, Field(ge=0)] = 0
    number: Annotated[int, Field(ge=0)] = 0
    take: Annotated[int, Field(ge=0)] = 0
    look: str = "dvs-gesture"
    light: Literal["fluorescent", "fluorescent_led", "lab", "led", "natural"] = "natural"
    distance: Annotated[float, Field(ge=0.3, le=10)] = 1.0
    sensor: str = "DVS128"

    def built(self) -> FilmedPerson:
        """Return the person, the camera and the light.

        Raises:
            EventError: an unknown look or sensor.
        """
        model = sensor_model(self.sensor)
        shot = Shot(sensor=model.sensor, pixels=model.pixels, distance=self.distance, look=self.look)
        return FilmedPerson(seed=self.seed, number=self.number, take=self.take, light=self.light, shot=shot)


class WordSettings(Settings):
    """What the words of one label differ in: there is a word for every combination.

    Attributes:
        places: pixels to the right and down.
        sizes, amplitudes: relative to the person's own; each pair takes a clip of its own.
        tempos: (a, b): a/b times as fast.
        phases: how many beginnings, evenly spread over the clip.
    """

    places: tuple[tuple[int, int], ...] = ((0, 0),)
    sizes: tuple[Share, ...] = (1.0,)
    amplitudes: tuple[Share, ...] = (1.0,)
    tempos: tuple[tuple[Part, Part], ...] = ((1, 1),)
    phases: Annotated[int, Field(ge=1, le=MAX_WORDS)] = 1

    @model_validator(mode="after")
    def _are_sets(self) -> Self:
        for key in ("places", "sizes", "amplitudes", "tempos"):
            values = getattr(self, key)
            if not values or len(set(values)) < len(values):
                raise ValueError(f"{key}: expected one value or more, all different, got {list(values)}")
        return self


class BookSettings(Settings):
    """Everything that a book follows from.

    Attributes:
        person: the person in the clips, the camera and the light.
        steps: steps in a clip.
        step_us: length of a step, and so of a published window, microseconds.
        bins: bins in a published window.
        words: what the words of a label differ in.
        note: note of the file.
    """

    person: FilmedPersonSettings = FilmedPersonSettings()
    steps: Annotated[int, Field(ge=1, le=600)] = 25
    step_us: Annotated[int, Field(ge=2_000, le=10_000_000)] = 100_000
    bins: Annotated[int, Field(ge=1, le=100)] = 1
    words: WordSettings = WordSettings()
    note: str = ""


Clip = tuple[str, float, float]
"""Label, size and amplitude of a clip."""


@dataclass(frozen=True, slots=True)
class BookLayout:
    """The words of a book, and the clips that they play, by number."""

    words: tuple[Word, ...]
    clips: tuple[Clip, ...]


def lay_out_book(settings: BookSettings) -> BookLayout:
    """List the words and the clips of a book.

    A gesture has a word for every combination. "Person, no gesture" has no tempo, amplitude and phase, so one for each
    size and place; and "nobody" has one.

    Raises:
        BookError: there are too many words, or a tempo or the phases do not fit the clips.
    """
    words: list[Word] = []
    clips: dict[Clip, int] = {}
    for label in WORD_LABELS:
        for clip, rest in _variations(label, settings):
            number = clips.setdefault(clip, len(clips))
            words.append(
                Word(label=label, presence=label != NOBODY, clip=number, size=clip[1], amplitude=clip[2], **rest)
            )
            if len(words) > MAX_WORDS:
                raise BookError(f"expected at most {MAX_WORDS} words, got more; list fewer places, tempos or phases")
    return BookLayout(tuple(words), tuple(clips))


def film_clips(settings: BookSettings, layout: BookLayout) -> Iterator[EventPacket]:
    """Film the clips one after the other; a few seconds each.

    Raises:
        EventError: a clip cannot be filmed as requested.
    """
    who, seconds = settings.person.built(), settings.steps * settings.step_us / 1e6
    for label, size, amplitude in layout.clips:
        yield film_loop(who, label, seconds=seconds, size=size, amplitude=amplitude)


def compose_book(settings: BookSettings, layout: BookLayout, clips: list[EventPacket]) -> Book:
    """Make the book of filmed clips.

    Raises:
        BookError: settings contradict each other.
    """
    return Book.compose(
        clips, layout.words, sensor=sensor_model(settings.person.sensor).sensor, steps=settings.steps,
        step_us=settings.step_us, bins=settings.bins, seed=settings.person.seed, note=settings.note,
    )  # fmt: skip


def _variations(label: str, settings: BookSettings) -> Iterator[tuple[Clip, dict[str, Any]]]:
    """Yield the clip and the other attributes of each word of a label."""
    words = settings.words
    sizes, places = words.sizes, words.places
    amplitudes, tempos, phases = words.amplitudes, words.tempos, words.phases
    if label not in GESTURES:
        amplitudes, tempos, phases = (1.0,), ((1, 1),), 1
    if label == NOBODY:
        sizes, places = (1.0,), ((0, 0),)
    for size, amplitude, (faster, slower), (dx, dy) in product(sizes, amplitudes, tempos, places):
        steps, rest = divmod(settings.steps * slower, faster)
        if rest or steps < phases:
            raise BookError(
                f"at {faster}/{slower} of the tempo a clip of {settings.steps} steps takes {steps + rest / faster:g}: "
                f"expected a whole number, and at least the {phases} phases; change steps, tempos or phases"
            )
        for phase in range(phases):
            attributes = {"dx": dx, "dy": dy, "tempo": (faster, slower), "phase": phase * steps // phases}
            yield (label, size, amplitude), attributes
