"""Writers of published messages to one file each, by format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast

from eventveil.stream.protocol.wire import Message

WRITERS: Final = {
    "hdf5": ("table_writers", "Hdf5Writer", ".h5"),
    "npz": ("table_writers", "NpzWriter", ".npz"),
    "mcap": ("mcap_writer", "McapWriter", ".mcap"),
    "aedat4": ("event_writer", "EventWriter", ".aedat4"),
    "evt3": ("event_writer", "EventWriter", ".raw"),
}
"""Each format's module and class, imported on demand, and the ending of its files."""
EVENT_FORMATS: Final = ("aedat4", "evt3")
"""Formats that hold events, which only a stand-in publishes."""


class MessageWriter(Protocol):
    """Writes messages to a file.

    Attributes:
        windows: how many windows were written so far.
    """

    windows: int

    def write(self, message: Message) -> None:
        """Write a message; a topic that the format has no place for is left out.

        Raises:
            OSError: the file cannot be written.
            WireError: the message does not fit those before it.
        """

    def finish(self) -> None:
        """Write what follows the last message."""


@contextmanager
def message_writer(path: Path, form: str, *, replace: bool) -> Iterator[MessageWriter]:
    """Yield the writer of a private file that appears when the block ends without an exception.

    Args:
        path: the file to write.
        form: the format, a key of `WRITERS`.
        replace: whether an existing file may be replaced.

    Raises:
        OSError: the file cannot be written, or may not be replaced.
    """
    module, name, _ = WRITERS[form]
    kind = getattr(import_module(f"eventveil.stream.archive.{module}"), name)
    with ExitStack() as opened:
        writer = cast(MessageWriter, kind(path, replace, opened))
        yield writer
        writer.finish()
