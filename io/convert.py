"""From one format to another: packets of a source into a writer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.io.formats.writer import open_writer
from eventveil.io.source import EventSource


def convert(
    source: EventSource, path: Path | str, *, replace: bool = False, watch: Callable[[EventPacket], object] = len
) -> int:
    """Write all events of a source to a file, in the format of its extension; t, x, y and p stay exactly the same.

    Args:
        source: an open recording.
        path: where to write. The file appears when it is complete.
        replace: whether a file that is there may be replaced.
        watch: called with each packet that was written, to show progress.

    Returns:
        How many events were written.

    Raises:
        EventFileError: there is such a file already, or no such format, or it cannot be written; or the source is
            damaged. Nothing is left behind then.
    """
    writer = open_writer(path, source.sensor)
    if not replace and Path(path).exists():
        raise EventFileError(
            path, format=writer.format, expected="there is such a file already", remedy="name another, or use --force"
        )
    with writer:
        for packet in source:
            writer.write(packet)
            watch(packet)
    return writer.events
