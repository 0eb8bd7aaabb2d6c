"""The private wire format: what the stages of one line hand on to each other, in memory or between processes.

Frames: `[header, payload, scores]`. It never leaves the machine and both ends are the same version of the same
program, so it is as plain as can be; still a header is checked, and nothing is ever unpickled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeInt, TypeAdapter, ValidationError

from eventveil.errors import EventError, WireError
from eventveil.stream.runtime.windows import AnonymizedWindow, Origin, RawWindow

CameraNotice = Literal["camera_lost", "camera_back"]


@dataclass(slots=True, eq=False)
class StageMessage:
    """One window on its way, or a word about its camera, or the end of its stream.

    Attributes:
        stream: name of the source.
        window: the window; None where this is no window.
        lost: windows of this stream given up before this one since the stream began, by reason. A running total: a
            parcel that is lost takes no explanation with it.
        notice: what happened to the camera; None, without a window: the stream has ended.
        made: of the end, how many windows the stream had.
    """

    stream: str
    window: RawWindow | AnonymizedWindow | None
    lost: Counter[str] = field(default_factory=Counter)
    notice: CameraNotice | None = None
    made: int = 0

    @property
    def ends(self) -> bool:
        """Whether nothing more comes of this stream."""
        return self.window is None and self.notice is None

    @property
    def seq(self) -> int:
        """The number of the window in its stream; of the end, the number that a further window would have."""
        return self.made if self.window is None else self.window.origin.seq


_ORIGIN = TypeAdapter(Origin)


class _Header(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Literal["raw", "anonymized", "end", "camera_lost", "camera_back"]
    stream: str
    lost: dict[str, NonNegativeInt]
    made: NonNegativeInt = 0
    origin: Origin | None = None
    shape: tuple[NonNegativeInt, ...] = ()
    dtype: Literal["<u2", "<f4"] = "<f4"
    seal: str = ""


def pack(parcel: StageMessage) -> list[Any]:
    """Turn a parcel into frames, without copying its arrays."""
    window = parcel.window
    header = _Header(kind=parcel.notice or "end", stream=parcel.stream, lost=parcel.lost, made=parcel.made)
    if window is None:
        return [header.model_dump_json().encode(), b"", b""]
    array = np.ascontiguousarray(window.counts if isinstance(window, RawWindow) else window.values)
    header.kind = "raw"
    header.origin, header.shape, header.dtype = window.origin, array.shape, array.dtype.str  # type: ignore[assignment]
    scores: Any = b""
    if isinstance(window, AnonymizedWindow):
        header.kind, header.seal = "anonymized", window.seal.hex()
        scores = b"" if window.scores is None else np.ascontiguousarray(window.scores).data
    return [header.model_dump_json().encode(), array.data, scores]


def unpack(frames: Sequence[Any]) -> StageMessage:
    """Turn frames into a parcel; the arrays are read-only views of the frames.

    Raises:
        WireError: the frames are not a parcel.
    """
    try:
        header_bytes, payload, scores = frames
        header = _Header.model_validate_json(bytes(header_bytes))
        lost = Counter(header.lost)
        if header.kind == "end":
            return StageMessage(header.stream, None, lost, made=header.made)
        if header.kind in ("camera_lost", "camera_back"):
            return StageMessage(header.stream, None, lost, header.kind)
        array = np.frombuffer(payload, header.dtype).reshape(header.shape)
        origin = _ORIGIN.validate_python(header.origin)
        if header.kind == "raw":
            return StageMessage(header.stream, RawWindow(origin, array), lost)
        window = AnonymizedWindow(origin, array.view(np.float32), bytes.fromhex(header.seal))
        seen = np.frombuffer(scores, "<f4")
        return StageMessage(header.stream, window.with_scores(seen) if seen.size else window, lost)
    except (ValidationError, ValueError, EventError) as error:
        # The cause could quote the payload's bytes: only its kind is told.
        raise WireError(f"a message inside the line is malformed ({type(error).__name__})") from None
