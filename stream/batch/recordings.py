"""Finds the recordings to anonymize: files, whatever recordings a folder holds, and the trials of datasets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from eventveil.errors import ConfigError, DatasetError
from eventveil.io.detect import check_file, is_recording, locate
from eventveil.io.source import open_events
from eventveil.replay.datasets.index import open_dataset, recognise
from eventveil.replay.datasets.trials import PacketSource
from eventveil.replay.player.sources import RECORDING, SourceUri
from eventveil.stream.batch.manifest import FILES, MANIFEST, digest_of
from eventveil.stream.settings.pipeline import SourceSettings

FOREVER_US = 1 << 62


@dataclass(frozen=True, slots=True)
class Recording:
    """Events that become one file.

    Attributes:
        name: as the user knows it; that of a trial names a person.
        path: the file, or the folder of frames, that holds its events.
        open: opens its events.
        begins_us: time at which its stream begins; None: as in its file.
        part_us: where its part of the file begins and ends, microseconds.
    """

    name: str
    path: Path
    open: Callable[[], PacketSource] = field(repr=False)
    begins_us: int | None = None
    part_us: tuple[int, int] = (0, FOREVER_US)


def find_recordings(inputs: Sequence[str], source: SourceSettings) -> list[Recording]:
    """Return the recordings that are named on the command line, in order.

    Args:
        inputs: paths or URIs of recordings, folders, and datasets as in `see:PATH?split=test`. For a folder that is not
            a dataset, all files that any reader recognises, except those that a batch has written.
        source: sensor, and what to do about disorder and damage.

    Raises:
        ConfigError: an input is a camera or a simulation, or a folder holds no recording.
        EventVeilError: there is no such recording or dataset.
    """
    found: list[Recording] = []
    for name in inputs:
        uri = SourceUri.parse(name)
        if uri.is_dataset:
            found += _trials(Path(uri.name), uri.options.get("split"), source)
        elif uri.kind != RECORDING:
            raise ConfigError(f"{name}: expected recordings, folders or datasets; `eventveil run` takes other sources")
        elif Path(uri.name).is_dir():
            found += _folder(Path(uri.name), source)
        else:
            check_file(uri.name)
            found.append(_recording(uri.name, source))
    return list({recording.name: recording for recording in found}.values())


def repeated(recordings: Sequence[Recording]) -> dict[str, str]:
    """Return the recordings whose events another one before them holds, too, each with the name of that one.

    Noise or delays drawn twice for the same events can be averaged away. Files are compared by content, whatever their
    names; a recording that was converted to another format is not recognised.
    """
    by_size: dict[int, list[Recording]] = {}
    for recording in recordings:
        by_size.setdefault(_file(recording).stat().st_size, []).append(recording)
    repeats: dict[str, str] = {}
    for group in by_size.values():
        if len(group) > 1:
            repeats |= _repeated_of_one_size(group)
    return repeats


def _repeated_of_one_size(recordings: Sequence[Recording]) -> dict[str, str]:
    digests = {path: _content(path) for path in dict.fromkeys(map(_file, recordings))}  # each file is read once
    by_content: dict[str, list[Recording]] = {}
    repeats: dict[str, str] = {}
    for recording in recordings:
        earlier = by_content.setdefault(digests[_file(recording)], [])
        first = next((one for one in earlier if _overlap(one.part_us, recording.part_us)), None)
        if first is None:
            earlier.append(recording)
        else:
            repeats[recording.name] = first.name
    return repeats


def _content(path: Path) -> str:
    try:
        return digest_of(path)
    except OSError:  # it cannot be read, so it cannot be anonymized either
        return str(path)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def _file(recording: Recording) -> Path:
    """Return the file that stands for a recording: of a folder of frames, the largest frame."""
    if not recording.path.is_dir():
        return recording.path
    return max(recording.path.iterdir(), key=lambda frame: frame.stat().st_size, default=recording.path)


def _recording(name: str, source: SourceSettings) -> Recording:
    opener = partial(
        open_events, name, sensor=source.sensor, on_disorder=source.on_disorder, on_damage=source.on_damage
    )
    return Recording(name, locate(name)[0], opener)


def _trials(root: Path, split: str | None, source: SourceSettings) -> Iterator[Recording]:
    dataset = open_dataset(root)
    for trial in dataset.trials if split is None else dataset.of(split):
        part_us = trial.start_us, trial.start_us + max(1, trial.duration_us)
        yield Recording(f"{root / trial.name}", trial.path, partial(trial.open, source.on_disorder), 0, part_us)


def _is_anonymized(path: Path) -> bool:
    """Return whether a batch has written a file: the events of a stand-in look like a recording."""
    return path.parent.name == FILES and (path.parent.parent / MANIFEST).is_file()


def _folder(folder: Path, source: SourceSettings) -> list[Recording]:
    try:
        recognise(folder)
    except DatasetError:
        pass
    else:
        return list(_trials(folder, None, source))
    paths = (path for path in sorted(folder.rglob("*")) if not _is_anonymized(path) and is_recording(path))
    found = [_recording(str(path), source) for path in paths]
    if not found:
        raise ConfigError(
            f"{folder}: holds no dataset and no file of a readable format; name recordings or their folder"
        )
    return found
