"""Find the reader of a file: by its content first, by its extension second.

Reader modules are imported one after the other, only as needed: some compile kernels, some load libraries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from eventveil.errors import EventFileError
from eventveil.io.formats.reader import Reader

MCAP = b"\x89MCAP0\r\n"
HEAD = 65_536  # bytes that a reader may inspect to recognise its format
AEDAT = re.compile(rb"#!AER-DAT(\d{1,3}\.\d{1,3})")

# In the order in which they are tried: formats with a signature first, those known only by their extension last.
READERS = (
    ("aedat4", "Aedat4Reader"),
    ("aedat3", "Aedat3Reader"),
    ("aedat2", "Aedat2Reader"),
    ("evt3", "Evt3Reader"),
    ("evt2", "Evt2Reader"),
    ("evt21", "Evt21Reader"),
    ("dat", "DatReader"),
    ("es", "EsReader"),
    ("numpy", "NpyReader"),
    ("numpy", "NpzReader"),
    ("hdf5", "Hdf5Reader"),
    ("text", "TextReader"),
    ("ncaltech", "NCaltechReader"),
)


def locate(path_or_uri: str | Path) -> tuple[Path, dict[str, str]]:
    """Split a path or a `file://` URI from the options after its `?`.

    An existing file takes precedence, even if its name holds a `?` or looks like a URI.

    Raises:
        EventFileError: the scheme is not `file`, the URI names another machine, or the options are not `key=value`
            joined by `&`, each key once.
    """
    text = str(path_or_uri)
    if _exists(Path(text)):
        return Path(text), {}
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    if scheme is None:
        name, _, query = text.partition("?")
        return Path(name), _options(text, query)
    parts = urlsplit(text)
    if parts.scheme != "file":
        raise _refuse(text, f"unknown scheme {parts.scheme!r}", "known: file, or a path without a scheme")
    if parts.netloc not in ("", "localhost"):
        raise _refuse(text, f"a file on another machine, {parts.netloc!r}", "write file:///path, with three slashes")
    return Path(unquote(parts.path)), _options(text, parts.query)


def open_reader(path: Path, options: dict[str, str]) -> Reader:
    """Open a file with the reader of its format.

    Raises:
        EventFileError: the file is missing, empty, not a file, not readable or of an unknown format; its header
            violates the format; or the format does not take one of the options.
    """
    try:
        reader = find_reader(path, _read_head(path))
        unknown = options.keys() - reader.options
        if unknown:
            known = f"known: {', '.join(sorted(reader.options))}" if reader.options else "this format takes no options"
            expected = f"unknown option {', '.join(sorted(unknown))}"
            raise EventFileError(path, format=reader.format, expected=expected, remedy=known)
        return reader(path, **options)
    except OSError as error:
        raise _unreadable(path, error) from error


def find_reader(path: Path, head: bytes) -> type[Reader]:
    """Return the reader that recognises the first bytes of a file, or else the first one for its extension.

    Raises:
        EventFileError: no reader knows either.
    """
    for reader in _readers():
        if reader.recognises(head):
            return reader
    if (version := AEDAT.match(head)) and version[1] in (b"2.0", b"3.1", b"4.0"):
        raise _refuse(path, "its first line is damaged, perhaps by a transfer as text", "copy it again, as binary data")
    if version:
        remedy = "convert it to AEDAT 2.0, 3.1 or 4.0 with jAER or DV"
        raise _refuse(path, f"AEDAT {version[1].decode()} is not supported", remedy)
    if path.suffix.lower() == ".aedat":
        remedy = "convert it to AEDAT 2.0 with jAER"
        raise _refuse(path, "it does not begin with #!AER-DAT2.0 or 3.1: perhaps AEDAT 1.0", remedy)
    for reader in _readers():
        if path.suffix.lower() in reader.suffixes:
            return reader
    formats = ", ".join(reader.format for reader in _readers())
    raise _refuse(path, "neither its content nor its extension is of a known format", f"known: {formats}")


def is_mcap(path: Path) -> bool:
    """Return whether a file begins as MCAP does: no recording of events, but of what was published."""
    try:
        with path.open("rb") as file:
            return file.read(len(MCAP)) == MCAP
    except OSError:
        return False


def is_recording(path: Path) -> bool:
    """Return whether a path is a regular, visible file of a readable format, without looking further into it."""
    if path.name.startswith(".") or path.is_symlink() or not path.is_file():
        return False
    try:
        find_reader(path, _read_head(path))
    except (EventFileError, OSError):
        return False
    return True


def _readers() -> Iterator[type[Reader]]:
    for module, name in READERS:
        yield getattr(import_module(f"eventveil.io.formats.{module}"), name)


def check_file(path_or_uri: str | Path) -> None:
    """Check that a recording exists and can be read, without looking into it.

    Raises:
        EventFileError: as for `locate`, or the file is missing, empty, not a file or not readable.
    """
    path = locate(path_or_uri)[0]
    try:
        _read_head(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> EventFileError:
    return _refuse(path, f"cannot be opened: {error.strerror or error}", "check its name and its permissions")


def _read_head(path: Path) -> bytes:
    if not path.exists() and path.is_symlink():
        raise _refuse(path, "this symbolic link leads to no file", "check where it points")
    if not path.exists():
        raise _refuse(path, "there is no such file", "check the path")
    if not path.is_file():
        raise _refuse(path, "this is not a file", "name a single recording")
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise _refuse(path, "the file is empty", "its recorder may have stopped before the first byte")
    return head


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long for the file system
        return False


def _options(text: str, query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        pairs = []
    options = dict(pairs)
    if bool(query) != bool(pairs) or len(options) != len(pairs):
        raise _refuse(text, "malformed options", "write them as ?key=value&key=value, each key once")
    return options


def _refuse(path: Path | str, expected: str, remedy: str) -> EventFileError:
    return EventFileError(path, format=None, expected=expected, remedy=remedy)
