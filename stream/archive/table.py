"""Published windows and their gestures as the rows of a table: one array for each column."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from eventveil.errors import WireError
from eventveil.stream.protocol.wire import GestureHeader, Message, WindowHeader

FORMAT = "eventveil.windows/1"
BLOCK = 32  # rows that are written at once
Columns = dict[str, npt.NDArray[Any]]
Row = dict[str, Any]  # arrays and scalars

_ABOUT = ("version", "stream", "run", "sensor", "anonymizer", "trained", "certificate", "book", "bits_per_second")
_ABOUT_GESTURES = ("labels", "classifier", "classifier_trained")


class WindowTable:
    """Collects the rows of one stream. A window and the gesture of the same number are one row.

    Attributes:
        about: what is the same for all rows, with the keys of the headers; empty before the first row.
    """

    def __init__(self) -> None:
        self.about: dict[str, Any] = {}
        self._row: Row = {}
        self._seq: int | None = None
        self._rows: list[Row] = []

    def add(self, message: Message) -> Columns | None:
        """Add a window or a gesture; return a block of rows if one is full.

        Raises:
            WireError: the message has other weights, another book or another run than those before.
        """
        header = message.header
        if not isinstance(header, WindowHeader | GestureHeader):
            return None
        self._check(header)
        block = None
        if isinstance(header, WindowHeader):
            block = self._close_row(BLOCK)
            self._seq = header.seq
            self._row = {
                "windows": message.array,
                "seq": np.int64(header.seq),
                "t_start_us": np.int64(header.t_start_us),
                "t_end_us": np.int64(header.t_end_us),
            } | ({} if header.word is None else {"word": np.int64(header.word)})
        elif header.seq == self._seq:
            self._row |= _gesture(header)
        return block

    def rest(self) -> Columns | None:
        """Return the rows that were not returned yet; None if there are none."""
        return self._close_row(1)

    def _close_row(self, size: int) -> Columns | None:
        if self._row:
            self._rows.append(self._row)
            self._row = {}
        if len(self._rows) < size:
            return None
        rows, self._rows = self._rows, []
        return {name: np.stack([row[name] for row in rows]) for name in rows[0]}

    def _check(self, header: WindowHeader | GestureHeader) -> None:
        keys = (*_ABOUT, *_ABOUT_GESTURES) if isinstance(header, GestureHeader) else _ABOUT
        values = header.model_dump(mode="json", include=set(keys))
        for key, value in values.items():
            if self.about.setdefault(key, value) != value:
                raise WireError(
                    f"{key} of window {header.seq} differs from that of the windows before it; a file holds one run"
                )


def _gesture(header: GestureHeader) -> Row:
    probability = np.nan if header.probability is None else header.probability
    row: Row = {
        "label": np.int64(-1 if header.label is None else header.labels.index(header.label)),
        "probability": np.float64(probability),
    }
    return row if header.presence is None else row | {"presence": np.bool_(header.presence)}
