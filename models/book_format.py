"""The file format of books: words and settings as JSON in the header of a safetensors file, and events as its tensors.

docs/book-format.md describes it to the byte. Everything in a file is checked before anything uses it.
"""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import safetensors.numpy
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError

from eventveil.errors import BookError
from eventveil.settings import first_finding

METADATA_KEY = "eventveil"
FORMAT_VERSION = 1
MAX_WORDS = 4096
MAX_COUNTS = 1 << 24  # of a window: 64 MiB
SMALL = 256  # pixels: the coordinates of a sensor up to this width and height are one byte each

_Limited = partial(Field, le=1_000_000)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class _Versioned(BaseModel):
    """The one key that must stay readable in files of later versions, whatever else they hold."""

    format_version: int


class Word(_Strict):
    """One word of a book: a clip, and how to play it.

    Attributes:
        label: what it shows, such as a gesture.
        presence: whether it shows a person.
        clip: number of the clip.
        dx, dy: the clip is moved to the right and down by this many pixels; what leaves the sensor is left out.
        tempo: (a, b): the clip is played a/b times as fast, in steps * b / a steps, a whole number.
        phase: steps by which the clip is ahead of the clock.
        size, amplitude: of the person and of the motion in the clip, as shares of the usual ones. They describe the
            clip; nothing is computed from them.
    """

    label: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\P{Cc}*$")]
    presence: bool
    clip: Annotated[int, Field(ge=0)]
    dx: Annotated[int, Field(gt=-65_536, lt=65_536)] = 0
    dy: Annotated[int, Field(gt=-65_536, lt=65_536)] = 0
    tempo: tuple[Annotated[int, _Limited(ge=1)], Annotated[int, _Limited(ge=1)]] = (1, 1)
    phase: Annotated[int, Field(ge=0)] = 0
    size: Annotated[float, Field(gt=0, le=100)] = 1.0
    amplitude: Annotated[float, Field(ge=0, le=100)] = 1.0


class BookMetadata(_Strict):
    """The part of a book that is text.

    Attributes:
        format_version: version of the format.
        sensor: width and height in pixels.
        step_us: length of a step, microseconds: a published window spans one step.
        steps: steps in a clip.
        bins: bins in a published window.
        words: the words, by number.
        seed: seed of the simulation that the clips come from.
        note: origin of the book.
    """

    format_version: Literal[1] = 1
    sensor: tuple[Annotated[int, Field(ge=1, le=65_536)], Annotated[int, Field(ge=1, le=65_536)]]
    step_us: Annotated[int, _Limited(ge=1)] = 100_000
    steps: Annotated[int, _Limited(ge=1)]
    bins: Annotated[int, _Limited(ge=1)] = 1
    words: Annotated[tuple[Word, ...], Field(min_length=1, max_length=MAX_WORDS)]
    seed: int = 0
    note: Annotated[str, Field(max_length=4096)] = ""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.steps * self.step_us >= 1 << 32:
            raise ValueError(f"a clip is shorter than {1 << 32} µs, got {self.steps} steps of {self.step_us} µs")
        if self.step_us % self.bins:
            raise ValueError(f"a step of {self.step_us} µs does not divide into {self.bins} bins of whole microseconds")
        if 2 * self.bins * self.sensor[0] * self.sensor[1] > MAX_COUNTS:
            raise ValueError(f"a window of {self.bins} bins of this sensor has more than {MAX_COUNTS} counts")
        return self


Tensors = dict[str, npt.NDArray[Any]]
"""The tensors t, x, y, p and starts, as `Book` describes them."""


def coordinate_type(size: tuple[int, int]) -> type[np.uint8] | type[np.uint16]:
    """Return the type of x and y for a sensor of this width and height."""
    return np.uint8 if max(size) <= SMALL else np.uint16


def played_steps(steps: int, word: Word) -> int:
    """Return how many steps a word takes to play a clip of this many steps."""
    faster, slower = word.tempo
    return steps * slower // faster


def serialise(metadata: BookMetadata, tensors: Tensors) -> bytes:
    """Return the bytes of a file; equal books have equal bytes on every machine."""
    return safetensors.numpy.save(tensors, metadata={METADATA_KEY: metadata.model_dump_json()})


def parse(data: bytes, name: str) -> tuple[BookMetadata, Tensors]:
    """Parse and check the bytes of a file called `name`.

    Raises:
        BookError: they are not a book, or contradict themselves.
    """
    try:
        tensors: Tensors = safetensors.numpy.load(data)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that NumPy does not have
        raise _damaged(name, "a safetensors file", f"something else or a part of one ({error})") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    stored = header.get("__metadata__", {})
    text = stored.get(METADATA_KEY)
    if text is None:
        raise BookError(f"{name}: a safetensors file without words; make a book with `eventveil book make`")
    if len(stored) > 1:
        raise _damaged(name, f"{METADATA_KEY} as the only metadata", ", ".join(sorted(stored)))
    try:
        version = _Versioned.model_validate_json(text).format_version
        if version > FORMAT_VERSION:
            raise BookError(f"{name}: book format {version}, this eventveil reads {FORMAT_VERSION}; update eventveil")
        metadata = BookMetadata.model_validate_json(text)
    except ValidationError as error:
        raise BookError(f"{name}: {first_finding(error)}; make the book again") from error
    _check_keys(name, metadata)
    _check_types(name, metadata, tensors)
    _check_events(name, metadata, tensors)
    _check_words(name, metadata, clips=(len(tensors["starts"]) - 1) // metadata.steps)
    return metadata, tensors


def check_range(name: str, key: str, values: npt.NDArray[Any], limit: int) -> None:
    """Check that all values are 0 to below `limit`.

    Raises:
        BookError: one is not.
    """
    if len(values) and not 0 <= values.min() <= values.max() < limit:
        raise _damaged(name, f"{key} from 0 to {limit - 1}", f"{values.min()} to {values.max()}")


def _check_keys(name: str, metadata: BookMetadata) -> None:
    """Refuse missing keys: the defaults are for those who make books, and other readers have none."""
    places = {"": metadata} | {f"words.{number}.": word for number, word in enumerate(metadata.words)}
    for place, part in places.items():
        if missing := [key for key in type(part).model_fields if key not in part.model_fields_set]:
            raise BookError(f"{name}: {place}{missing[0]}: is missing; make the book again")


def _check_types(name: str, metadata: BookMetadata, tensors: Tensors) -> None:
    pixel = np.dtype(coordinate_type(metadata.sensor))
    types = {"t": np.dtype(np.uint32), "x": pixel, "y": pixel, "p": np.dtype(np.uint8), "starts": np.dtype(np.int64)}
    if tensors.keys() != types.keys():
        raise _damaged(name, f"the tensors {', '.join(types)}", ", ".join(sorted(tensors)) or "none")
    for key, tensor in tensors.items():
        if tensor.dtype != types[key] or tensor.ndim != 1:
            raise _damaged(name, f"{key} as 1-D {types[key]}", f"{tensor.dtype} of shape {list(tensor.shape)}")
        if key != "starts" and len(tensor) != len(tensors["t"]):
            raise _damaged(name, f"{key} of {len(tensors['t'])} events, as t", f"{len(tensor)}")


def _check_events(name: str, metadata: BookMetadata, tensors: Tensors) -> None:
    starts, t, steps = tensors["starts"], tensors["t"], metadata.steps
    if len(starts) % steps != 1 % steps or len(starts) <= steps:
        raise _damaged(name, f"starts of whole clips of {steps} steps, and the end", f"{len(starts)} numbers")
    if starts[0] != 0 or starts[-1] != len(t) or (starts[1:] < starts[:-1]).any():
        raise _damaged(name, f"starts that rise from 0 to {len(t)}", "others")
    for key, limit in (("x", metadata.sensor[0]), ("y", metadata.sensor[1]), ("p", 2)):
        check_range(name, key, tensors[key], limit)
    step_of_event = np.repeat(np.arange(len(starts) - 1) % steps, np.diff(starts))
    if (t // metadata.step_us != step_of_event).any():
        raise _damaged(name, "each event within its step", "an event outside it")
    falls = t[1:] < t[:-1]
    falls[starts[(starts > 0) & (starts < len(t))] - 1] = False  # a clip may end after the next one begins
    if falls.any():
        raise _damaged(name, "the events of a step in order of time", "others")


def _check_words(name: str, metadata: BookMetadata, *, clips: int) -> None:
    presence: dict[str, bool] = {}
    for number, word in enumerate(metadata.words):
        who = f"word {number} ({word.label})"
        if word.clip >= clips:
            raise _damaged(name, f"{who}: a clip from 0 to {clips - 1}", f"{word.clip}")
        faster, slower = word.tempo
        if metadata.steps * slower % faster or math.gcd(faster, slower) != 1:
            expected = f"a tempo in lowest terms that plays {metadata.steps} steps in whole steps"
            raise _damaged(name, f"{who}: {expected}", f"{faster}/{slower}")
        if word.phase >= played_steps(metadata.steps, word):
            raise _damaged(name, f"{who}: a phase below {played_steps(metadata.steps, word)} steps", f"{word.phase}")
        if abs(word.dx) >= metadata.sensor[0] or abs(word.dy) >= metadata.sensor[1]:
            raise _damaged(name, f"{who}: a shift that leaves some of the clip on the sensor", f"{word.dx}, {word.dy}")
        if presence.setdefault(word.label, word.presence) != word.presence:
            raise _damaged(name, f"{who}: presence as in the other words of this label", f"{word.presence}")
    if len(set(metadata.words)) < len(metadata.words):
        raise _damaged(name, "words that differ", "two that are the same")
    if unused := set(range(clips)) - {word.clip for word in metadata.words}:
        raise _damaged(name, "words for all clips", f"none for clip {min(unused)}")


def _damaged(name: str, expected: str, got: str) -> BookError:
    return BookError(f"{name}: expected {expected}, got {got}; make the book again, or fetch it again")
