"""The public wire format: message <-> bytes. docs/wire-format.md specifies it for other languages.

A message is three frames, `[topic, header, payload]`: the topic in ASCII, the header in JSON, the payload as the raw
little-endian array that the header's `shape` and `dtype` describe. The receiver decides which dtypes it accepts;
nothing is ever unpickled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from eventveil.errors import WireError

VERSION: Final = 2
WINDOW, GESTURE, STATE = "window", "gesture", "state"
MAX_VALUES = 1 << 26  # of one payload: 256 MiB of float32, far above any camera, and small enough to be harmless
MAX_HEADER = 1 << 20  # bytes
MAX_CERTIFICATE = 1 << 18  # characters
CERTIFICATE_STATE: Final = "certificate"

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
    """Base of all headers. Unknown keys and values of another type than documented are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    version: Literal[2] = VERSION
    shape: tuple[int, ...]
    dtype: Literal["<f4"] = "<f4"


class Geometry(BaseModel):
    """Size of the sensor in pixels, before cropping and scaling."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    width: Annotated[int, Field(ge=1, le=65_536)]
    height: Annotated[int, Field(ge=1, le=65_536)]


class StreamHeader(Header):
    """The part of the header that windows and gestures share.

    Attributes:
        stream: name of the source.
        run: name of the pipeline's run, a new one at each start; `seq` then starts again.
        life: 1, plus 1 for each restart of the publisher within the run; `seq` then continues.
        sensor: geometry of the camera.
        seq: number of the window in its stream; a jump of more than one is a gap.
        t_start_us: start of the window, camera time in microseconds.
        t_end_us: end of the window, excluded.
        age_ms: time from the window's end, on the publisher's clock, to its publication, in whole milliseconds.
        lost: windows missing since the stream began, by reason.
        incidents: windows in or before which something happened to the camera, by kind, since the stream began.
        anonymizer: SHA-256 of the anonymizer's tensors.
        trained: False if the anonymizer is untrained: its noise does not protect.
        certificate: SHA-256 of the audit certificate of these weights, or None if they were never audited.
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


class WindowHeader(StreamHeader):
    """An anonymized window; the payload is float32 (C, H, W), channel 2*k + p of bin k and polarity p."""

    shape: tuple[Axis, Axis, Axis]


class GestureHeader(StreamHeader):
    """The gesture recognised in a published window; the payload is empty.

    Attributes:
        labels: the classes.
        label: the most probable one.
        probability: of that label, a multiple of 0.01.
        classifier: SHA-256 of the classifier's tensors.
        classifier_trained: False if the classifier is untrained: its gestures mean nothing.
    """

    shape: tuple[Literal[0]] = (0,)
    labels: tuple[Name, ...]
    label: Name
    probability: Percent
    classifier: Digest
    classifier_trained: bool


class StateHeader(Header):
    """A change of state of a stream or of the whole pipeline; the payload is empty.

    Attributes:
        state: `ended` (all of it was published), `failed` (the source failed or the pipeline stopped before that),
            `camera_lost` (the stream pauses until) `camera_back`, `certificate` (repeated every two seconds, for
            subscribers that join late).
        stream: the stream, or None for the whole pipeline.
        reason: the cause in words, if there is one.
        lost: windows lost since the stream began, by reason, including those after its last message.
        certificate: text of the audit certificate, in state `certificate`; its SHA-256 is in the other headers.
    """

    shape: tuple[Literal[0]] = (0,)
    state: Literal["ended", "failed", "camera_lost", "camera_back", "certificate"]
    stream: StreamName | None = None
    reason: Annotated[str, Field(max_length=1024, pattern=r"^\P{Cc}*$")] = ""
    lost: dict[Name, Count] = {}
    certificate: Annotated[str, Field(max_length=MAX_CERTIFICATE)] | None = None


HEADERS: dict[str, type[Header]] = {WINDOW: WindowHeader, GESTURE: GestureHeader, STATE: StateHeader}


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """A message as a subscriber receives it.

    Attributes:
        topic: `window`, `gesture` or `state`.
        header: a `WindowHeader`, `GestureHeader` or `StateHeader`, by topic.
        array: the payload, read-only.
        missing: windows missing between this message and the previous one of its topic and stream, by reason;
            `network` counts those that were published and did not arrive.
    """

    topic: str
    header: Any
    array: npt.NDArray[np.float32]
    missing: dict[str, int] = field(default_factory=dict)


def encode(header: Header, array: npt.NDArray[np.float32] | None = None, *, size: int = 0) -> list[Any]:
    """Encode a header and its payload as frames; the header must already contain shape and dtype.

    Args:
        header: of the message.
        array: its payload.
        size: bytes to which the header is padded with spaces; 0 does not pad.

    Raises:
        WireError: the header is longer than that.
    """
    topic = next(topic for topic, kind in HEADERS.items() if isinstance(header, kind))
    payload = b"" if array is None else np.ascontiguousarray(array, dtype="<f4").data
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


def _payload(header: Header, payload: memoryview) -> npt.NDArray[np.float32]:
    values = math.prod(header.shape)
    # Python's integers are unbounded, so check the size before numpy allocates anything.
    if values > MAX_VALUES or values * 4 != payload.nbytes:
        raise WireError(
            f"expected a payload of shape {list(header.shape)} in float32 (at most {MAX_VALUES} values), "
            f"got {payload.nbytes} bytes"
        )
    return np.frombuffer(payload, dtype="<f4").reshape(header.shape)
