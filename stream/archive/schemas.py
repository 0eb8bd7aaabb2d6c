"""The channels of a recording in MCAP: their schemas, and the documents that messages become.

Each window, gesture and state is a JSON document with the keys of its header (docs/wire-format.md); of windows and
events, `data` holds the payload in Base64. Beside it, each window is a picture that viewers of robot data show.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from eventveil.stream.protocol.wire import EVENTS, GESTURE, STATE, WINDOW, Message

PROFILE: Final = "eventveil"
PICTURE, MARKER = "picture", "marker"
ENCODING: Final = "json"

_OBJECT: Final = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}
_INTEGER, _TEXT, _FLAG = {"type": "integer"}, {"type": "string"}, {"type": "boolean"}
_BYTES: Final = {"type": "string", "contentEncoding": "base64"}
_TIME: Final = {"type": "object", "title": "time", "properties": {"sec": _INTEGER, "nsec": _INTEGER}}
_HEADER: Final = {
    "stream": _TEXT,
    "run": _TEXT,
    "seq": _INTEGER,
    "t_start_us": _INTEGER,
    "t_end_us": _INTEGER,
    "anonymizer": _TEXT,
    "trained": _FLAG,
}
SCHEMAS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    WINDOW: ("eventveil.Window", _OBJECT | {"properties": _HEADER | {"shape": {"type": "array"}, "data": _BYTES}}),
    EVENTS: ("eventveil.Events", _OBJECT | {"properties": _HEADER | {"shape": {"type": "array"}, "data": _BYTES}}),
    GESTURE: ("eventveil.Gesture", _OBJECT | {"properties": _HEADER | {"label": _TEXT, "presence": _FLAG}}),
    STATE: ("eventveil.State", _OBJECT | {"properties": {"state": _TEXT, "stream": _TEXT, "reason": _TEXT}}),
    PICTURE: (
        "foxglove.RawImage",
        _OBJECT
        | {
            "title": "foxglove.RawImage",
            "properties": {
                "timestamp": _TIME,
                "frame_id": _TEXT,
                "width": _INTEGER,
                "height": _INTEGER,
                "encoding": _TEXT,
                "step": _INTEGER,
                "data": _BYTES,
            },
        },
    ),
    MARKER: (
        "foxglove.Log",
        _OBJECT
        | {
            "title": "foxglove.Log",
            "properties": {"timestamp": _TIME, "level": _INTEGER, "message": _TEXT, "name": _TEXT},
        },
    ),
}
"""By kind of channel, the name and the JSON schema of its documents. Those of Foxglove are as in its SDK."""
INFO_LEVEL = 2  # of foxglove.Log


def channel_of(message: Message) -> str:
    """Return the topic of a message's channel: /STREAM/window, /STREAM/gesture, /STREAM/events, or /state."""
    return f"/{STATE}" if message.topic == STATE else f"/{message.header.stream}/{message.topic}"


def document_of(message: Message) -> bytes:
    """Return the JSON document of a message."""
    document = message.header.model_dump(mode="json")
    if message.topic in (WINDOW, EVENTS):
        document["data"] = base64.b64encode(np.ascontiguousarray(message.array).data).decode()
    return json.dumps(document).encode()


def frames_of(topic: str, document: bytes) -> list[bytes]:
    """Return the frames of the message that a document holds; whether they are valid, `wire.decode` tells.

    Raises:
        ValueError: it is not JSON, or its data is not Base64.
    """
    try:
        header = json.loads(document)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    if not isinstance(header, dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 - as for what is not JSON at all
    data = header.pop("data", "") if topic in (WINDOW, EVENTS) else ""
    return [topic.encode(), json.dumps(header).encode(), base64.b64decode(data, validate=True)]


def picture_of(message: Message, time_ns: int) -> bytes:
    """Return a window as a grey picture: grey is nothing, bright is ON, dark is OFF."""
    grey = grey_picture(message.array)
    height, width = grey.shape
    picture = {
        "timestamp": _time(time_ns),
        "frame_id": message.header.stream,
        "width": width,
        "height": height,
        "encoding": "mono8",
        "step": width,
        "data": base64.b64encode(grey.data).decode(),
    }
    return json.dumps(picture).encode()


def grey_picture(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Return ON minus OFF of a window (C, H, W), summed over its bins, from -max to max as 1 to 255, (H, W).

    >>> grey_picture(np.array([[[0, 3]], [[0, 1]]], np.float32)).tolist()
    [[128, 1]]
    """
    paired = len(values) % 2 == 0  # of voxel grids with an odd number of nodes, all channels are signed
    signed = values[1::2].sum(0) - values[::2].sum(0) if paired else values.sum(0)
    largest = float(np.abs(signed).max()) or 1.0
    grey: npt.NDArray[np.uint8] = np.rint(128 + 127 * signed / largest).astype(np.uint8)
    return np.ascontiguousarray(grey)


def marker(text: str, time_ns: int) -> bytes:
    """Return a marker: something that a person noted while recording."""
    return json.dumps(
        {"timestamp": _time(time_ns), "level": INFO_LEVEL, "message": text, "name": MARKER, "file": "", "line": 0}
    ).encode()


def _time(time_ns: int) -> dict[str, int]:
    return {"sec": time_ns // 1_000_000_000, "nsec": time_ns % 1_000_000_000}
