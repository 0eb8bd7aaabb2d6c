"""The public wire format: message <-> bytes. docs/wire-format.md specifies it for other languages.

A message is three frames, `[topic, header, payload]`: the topic in ASCII, the header in JSON, the payload as the raw
little-endian array that the header's `shape` and `dtype` describe. The receiver decides which dtypes it accepts;
nothing is ever unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from eventveil.errors import WireError
from eventveil.stream.protocol.event_records import EVENT, EVENT_DTYPE

VERSION: Final = 3
WINDOW, GESTURE, EVENTS, STATE = "window", "gesture", "events", "state"
VALUE: Final = "<f4"
MAX_VALUES = 1 << 26  # of one payload: 256 MiB of float32, far above any camera, and small enough to be harmless
MAX_HEADER = 1 << 20  # bytes
MAX_CERTIFICATE = 1 << 18  # characters
CERTIFICATE_STATE: Final = "certificate"
REPLAY_STATE: Final = "replay"

Name = Annotated[str, Field(max_length=256, pattern=r"^\P{Cc}*$")]  # printed on terminals: no control characters
StreamName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]  # subscribers build file names from it
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Time = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)]
Axis = Annotated[int, Field(ge=1, le=MAX_VALUES)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _whole_percent(share: float) -> float:
    if share != round(share, 2):
        raise ValueError("expected a multiple of 0.01")
    return share


Percent = Annotated[float, Field(ge=0, le=1), AfterValidator(_whole_percent)]


class Header(BaseModel):
    """Base of all headers. Unknown keys and values of an undocumented type are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    version: Literal[3] = VERSION
    shape: tuple[int, ...]
    dtype: Literal["<f4", "<i8,<u2,<u2,u1"] = VALUE


class Geometry(BaseModel):
    """Size of the sensor in pixels, before cropping and scaling."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    width: Annotated[int, Field(ge=1, le=65_536)]
    height: Annotated[int, Field(ge=1, le=65_536)]


class StreamHeader(Header):
    """The part of the header that windows, gestures and events share.

    Attributes:
        stream: name of the source.
        run: name of the pipeline's run, a new one at each start; `seq` then starts again.
        life: 1, plus 1 for each restart of the publisher within the run; `seq` then continues.
        sensor: geometry of the camera; for a stand-in, that of the book.
        seq: number of the window in its stream; a jump of more than one is a gap.
        t_start_us: start of the window, camera time in microseconds.
        t_end_us: end of the window, excluded.
        age_ms: time from the window's end, on the publisher's clock, to its publication, in whole milliseconds.
        lost: windows missing since the stream began, by reason.
        incidents: windows in or before which something happened to the camera, by kind, since the stream began.
        anonymizer: digest of the anonymizer's weights (`Metadata.identity`).
        trained: False if the anonymizer is untrained: its noise does not protect.
        certificate: SHA-256 of the audit certificate of these weights, or None if there is none.
        book: for a stand-in, SHA-256 of the book; the content of the message is what it says of word and time.
        word: for a stand-in, the number of the word.
        bits_per_second: for a stand-in, the most bits that the words of any second carry.
    """

    stream: StreamName
    run: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    life: Count
    sensor: Geometry
    seq: Count
    t_start_us: Time
    t_end_us: Time
    age_ms: Count
    lost: dict[Name, Count] = {}
    incidents: dict[Literal["overflow", "backlog", "away", "clock"], Count] = {}
    anonymizer: Digest
    trained: bool
    certificate: Digest | None = None
    book: Digest | None = None
    word: Count | None = None
    bits_per_second: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _names_book_and_word_together(self) -> Self:
        if len({value is None for value in (self.book, self.word, self.bits_per_second)}) > 1:
            raise ValueError("book, word and bits_per_second come together")
        return self


class WindowHeader(StreamHeader):
    """An anonymized window; the payload is float32 (C, H, W), channel 2*k + p of bin k and polarity p."""

    shape: tuple[Axis, Axis, Axis]
    dtype: Literal["<f4"] = VALUE


class GestureHeader(StreamHeader):
    """The gesture recognised in a published window, or that of its word; the payload is empty.

    Attributes:
        labels: the classes.
        label: the most probable one; None: no gesture is recognised with enough certainty.
        probability: probability of that label, a multiple of 0.01; None without a label, and for a stand-in.
        presence: for a stand-in, whether its word shows a person.
        classifier: digest of the classifier's weights; None for a stand-in, which has none.
        classifier_trained: False if the classifier is untrained: its gestures mean nothing; None without one.
    """

    shape: tuple[Literal[0]] = (0,)
    dtype: Literal["<f4"] = VALUE
    labels: tuple[Name, ...]
    label: Name | None
    probability: Percent | None
    presence: bool | None = None
    classifier: Digest | None
    classifier_trained: bool | None

    @model_validator(mode="after")
    def _is_of_a_classifier_or_of_a_word(self) -> Self:
        of_classifier = (self.classifier, self.classifier_trained)
        expected = (self.book is None, self.book is None, self.book is not None)
        if tuple(value is not None for value in (*of_classifier, self.presence)) != expected:
            raise ValueError("a gesture is either of a classifier, or of a word, which alone tells presence")
        if (self.probability is None) != (self.label is None or self.book is not None):
            raise ValueError("a label of a classifier comes with its probability, and no other does")
        return self


class EventsHeader(StreamHeader):
    """The events of a word; the payload is one record of 13 bytes (`EVENT_DTYPE`) each, then zeros.

    The zeros make all payloads of a pipeline equally long: encryption does not hide the length of a message.
    """

    shape: tuple[Annotated[int, Field(ge=0, le=MAX_VALUES)]]
    dtype: Literal["<i8,<u2,<u2,u1"] = EVENT


class StateHeader(Header):
    """A change of state of a stream or of the whole pipeline; the payload is empty.

    Attributes:
        state: `ended` (all of it was published), `failed` (the source failed or the pipeline stopped before that),
            `camera_lost` (the stream pauses until) `camera_back`, `certificate` and `replay` (what follows is a
            recording of what was published, not live), both repeated every two seconds, for subscribers that join late.
        stream: the stream, or None for the whole pipeline.
        reason: the cause in words, if there is one.
        lost: windows lost since the stream began, by reason, including those after its last message.
        certificate: text of the audit certificate, in state `certificate`; its SHA-256 is in the other headers.
    """

    shape: tuple[Literal[0]] = (0,)
    dtype: Literal["<f4"] = VALUE
    state: Literal["ended", "failed", "camera_lost", "camera_back", "certificate", "replay"]
    stream: StreamName | None = None
    reason: Annotated[str, Field(max_length=1024, pattern=r"^\P{Cc}*$")] = ""
    lost: dict[Name, Count] = {}
    certificate: Annotated[str, Field(max_length=MAX_CERTIFICATE)] | None = None


HEADERS: dict[str, type[Header]] = {
    WINDOW: WindowHeader,
    GESTURE: GestureHeader,
    EVENTS: EventsHeader,
    STATE: StateHeader,
}


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message as a subscriber receives it.

    Attributes:
        topic: `window`, `gesture`, `events` or `state`.
        header: a `WindowHeader`, `GestureHeader`, `EventsHeader` or `StateHeader`, by topic.
        array: the payload, read-only: float32, or records of `EVENT_DTYPE` for `events`.
        missing: windows missing between this message and the previous one of its topic and stream, by reason;
            `network` counts those that were published and did not arrive.
    """

    topic: str
    header: Any
    array: npt.NDArray[Any]
    missing: dict[str, int] = field(default_factory=dict)


def encode(header: Header, array: npt.NDArray[Any] | None = None, *, size: int = 0, payload_size: int = 0) -> list[Any]:
    """Encode a header and its payload as frames; the header must already contain shape and dtype.

    Args:
        header: header of the message.
        array: its payload.
        size: bytes to which the header is padded with spaces; 0 does not pad.
        payload_size: bytes to which the payload of events is padded with zeros; 0 does not pad.

    Raises:
        WireError: the header or the payload is longer than that.
    """
    topic = next(topic for topic, kind in HEADERS.items() if isinstance(header, kind))
    payload: Any = b""
    if isinstance(header, EventsHeader):
        payload = b"" if array is None else array.tobytes()
        if payload_size and len(payload) > payload_size:
            raise WireError(
                f"{len(payload)} bytes of events would be longer than the others ({payload_size}): not sent"
            )
        payload = payload.ljust(payload_size, b"\0")
    elif array is not None:
        payload = np.ascontiguousarray(array, dtype=VALUE).data
    text = header.model_dump_json(exclude_none=False).encode()
    if size and len(text) > size:
        raise WireError(f"a {topic} header of {len(text)} bytes would be longer than the others ({size}): not sent")
    return [topic.encode(), text.ljust(size), payload]


def decode(frames: Sequence[Any]) -> Message:
    """Decode frames into a message.

    Raises:
        WireError: not three frames, an unknown topic or version, a header that breaks the format, or a payload whose
            size does not match its shape.
    """
    if len(frames) != 3:
        raise WireError(
            f"expected 3 frames [topic, header, payload], got {len(frames)}; is this an eventveil endpoint?"
        )
    topic = bytes(frames[0]).decode("ascii", errors="replace")
    kind = HEADERS.get(topic)
    if kind is None:
        raise WireError(f"unknown topic {topic[:32]!r}; known: {', '.join(HEADERS)}")
    if len(frames[1]) > MAX_HEADER:
        raise WireError(f"{topic} header: expected at most {MAX_HEADER} bytes, got {len(frames[1])}")
    try:
        header = kind.model_validate_json(bytes(frames[1]))
    except ValidationError as error:
        finding = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in finding["loc"]) or "header"
        raise WireError(
            f"{topic} header: {place[:64]!r}: {finding['msg']} (this is version {VERSION} of the format)"
        ) from None
    return Message(topic, header, _payload(header, memoryview(frames[2])))


def _payload(header: Header, payload: memoryview) -> npt.NDArray[Any]:
    dtype = EVENT_DTYPE if isinstance(header, EventsHeader) else np.dtype(VALUE)
    values = math.prod(header.shape)
    # Python's integers are unbounded, so check the size before numpy allocates anything.
    size, padded = values * dtype.itemsize, isinstance(header, EventsHeader)
    if values > MAX_VALUES or size > payload.nbytes or (size < payload.nbytes and not padded):
        raise WireError(
            f"expected a payload of shape {list(header.shape)} in {header.dtype} (at most {MAX_VALUES} values), "
            f"got {payload.nbytes} bytes"
        )
    if payload[size:].tobytes().strip(b"\0"):
        raise WireError(f"{values} events are followed by bytes other than zeros; is this an eventveil endpoint?")
    return np.frombuffer(payload, dtype, count=values).reshape(header.shape)
