"""The private wire format: the messages between the stages of one pipeline, in memory or between processes.

Frames: `[header, payload, scores]`. They never leave the machine, and both ends run the same version of the same
program, so the format is plain; the header is still checked, and nothing is ever unpickled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, StrictBool, StrictInt, TypeAdapter, ValidationError

from eventveil.errors import EventError, WireError
from eventveil.stream.runtime.windows import AnonymizedWindow, ChosenWord, Origin, RawWindow

CameraNotice = Literal["camera_lost", "camera_back"]


@dataclass(slots=True, eq=False)
class StageMessage:
    """A window, a word in its place, a notice about the camera, or the end of a stream.

    Attributes:
        stream: name of the source.
        window: the window, or the word; None for a notice or an end.
        lost: windows of this stream dropped before this one since the stream began, by reason. A running total, so that
            a lost message takes no explanation with it.
        notice: what happened to the camera; without a notice and a window, the stream has ended.
        made: for an end, how many windows the stream had.
        failed: for an end, whether the source failed before it had been read completely.
    """

    stream: str
    window: RawWindow | AnonymizedWindow | ChosenWord | None
    lost: Counter[str] = field(default_factory=Counter)
    notice: CameraNotice | None = None
    made: int = 0
    failed: bool = False

    @property
    def ends(self) -> bool:
        """Whether this is the end of the stream."""
        return self.window is None and self.notice is None

    @property
    def seq(self) -> int:
        """The number of the window in its stream; for an end, the number that another window would have."""
        return self.made if self.window is None else self.window.origin.seq


_ORIGIN = TypeAdapter(Origin)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["raw", "anonymized", "word", "end", "camera_lost", "camera_back"]
    stream: str
    lost: dict[str, NonNegativeInt]
    made: NonNegativeInt = 0
    failed: bool = False
    origin: Origin | None = None
    shape: tuple[NonNegativeInt, ...] = ()
    dtype: Literal["<u2", "<f4"] = "<f4"
    word: StrictInt = -1  # the number of no word
    seal: str = ""
    quiet: StrictBool = False


def pack(message: StageMessage) -> list[Any]:
    """Turn a message into frames, without copying its arrays."""
    window = message.window
    header = _Header(
        kind=message.notice or "end",
        stream=message.stream,
        lost=message.lost,
        made=message.made,
        failed=message.failed,
    )
    if window is None:
        return [header.model_dump_json().encode(), b"", b""]
    if isinstance(window, ChosenWord):
        header.kind, header.origin, header.word, header.seal = "word", window.origin, window.word, window.seal.hex()
        return [header.model_dump_json().encode(), b"", b""]
    array = np.ascontiguousarray(window.counts if isinstance(window, RawWindow) else window.values)
    header.kind = "raw"
    header.origin, header.shape, header.dtype = window.origin, array.shape, array.dtype.str  # type: ignore[assignment]
    scores: Any = b""
    if isinstance(window, AnonymizedWindow):
        header.kind, header.seal, header.quiet = "anonymized", window.seal.hex(), window.quiet
        scores = b"" if window.scores is None else np.ascontiguousarray(window.scores).data
    return [header.model_dump_json().encode(), array.data, scores]


def unpack(frames: Sequence[Any]) -> StageMessage:
    """Turn frames into a message; the arrays are read-only views of the frames.

    Raises:
        WireError: the frames are not a message.
    """
    try:
        header_bytes, payload, scores = frames
        header = _Header.model_validate_json(bytes(header_bytes))
        lost = Counter(header.lost)
        if header.kind == "end":
            return StageMessage(header.stream, None, lost, made=header.made, failed=header.failed)
        if header.kind in ("camera_lost", "camera_back"):
            return StageMessage(header.stream, None, lost, header.kind)
        origin = _ORIGIN.validate_python(header.origin)
        if header.kind == "word":
            return StageMessage(header.stream, ChosenWord(origin, header.word, bytes.fromhex(header.seal)), lost)
        array = np.frombuffer(payload, header.dtype).reshape(header.shape)
        if header.kind == "raw":
            return StageMessage(header.stream, RawWindow(origin, array), lost)
        window = AnonymizedWindow(origin, array.view(np.float32), bytes.fromhex(header.seal), quiet=header.quiet)
        probabilities = np.frombuffer(scores, "<f4")
        return StageMessage(header.stream, window.with_scores(probabilities) if probabilities.size else window, lost)
    except (ValidationError, ValueError, EventError) as error:
        # The cause could quote the payload's bytes, so only its type is reported.
        raise WireError(f"a message inside the pipeline is malformed ({type(error).__name__})") from None
