"""Writes the published events of a stand-in as a recording that every program of event cameras can read."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.writer import Writer, open_writer
from eventveil.stream.protocol.wire import EVENTS, WINDOW, Message


class EventWriter:
    """Writes the messages of topic `events` in the format of the path's ending; see `MessageWriter`.

    Args:
        path: the file to write.
        replace: whether an existing file may be replaced.
        opened: closes what is opened here.
    """

    def __init__(self, path: Path, replace: bool, opened: ExitStack) -> None:
        self.windows = 0
        self._path = path
        self._replace = replace
        self._opened = opened
        self._writer: Writer | None = None

    def write(self, message: Message) -> None:
        """Write the events of an `events` message, and count a `window` message; ignore all others."""
        if message.topic == WINDOW:
            self.windows += 1
        if message.topic != EVENTS:
            return
        if self._writer is None:
            sensor = Sensor(message.header.sensor.width, message.header.sensor.height)
            self._writer = self._opened.enter_context(open_writer(self._path, sensor, replace=self._replace))
        records = message.array
        self._writer.write(EventPacket.of(records["t"], records["x"], records["y"], records["p"]))

    def finish(self) -> None:
        """Write nothing: the recording ends with its last event."""
