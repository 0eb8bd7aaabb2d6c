"""Convert recordings between formats: write the packets of a source with a writer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from eventveil.errors import EventFileError
from eventveil.events import EventPacket
from eventveil.host.files import check_target
from eventveil.io.formats.writer import open_writer
from eventveil.io.source import EventSource


def convert(
    source: EventSource, path: Path | str, *, replace: bool = False, watch: Callable[[EventPacket], object] = len
) -> int:
    """Write all events of a source to a file, in the format of its extension. t, x, y and p are copied unchanged.

    Args:
        source: an open recording.
        path: the target. The file appears when it is complete, readable by its owner only.
        replace: whether an existing file may be replaced. A symbolic link, a device or a folder never is.
        watch: called with each written packet, to show progress.

    Returns:
        How many events were written.

    Raises:
        EventFileError: the file exists, its extension has no writer, it cannot be written, or the source is damaged.
            No partial file remains.
    """
    writer = open_writer(path, source.sensor, replace=replace)
    try:
        check_target(writer.path, replace=replace)
    except FileExistsError as error:
        remedy = "choose another name" if replace else "choose another name, or replace a file with --force"
        raise EventFileError(path, format=writer.format, expected=str(error.strerror), remedy=remedy) from None
    with writer:
        for packet in source:
            writer.write(packet)
            watch(packet)
    return writer.events
