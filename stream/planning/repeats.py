"""Refuses to publish the same events in two streams of a pipeline, and announces a loop.

Within a stream no bin is published twice, because noise that is drawn again for the same events can be averaged away,
and so can the random delays of a stand-in's rule. Two streams of one recording would do just that. A loop does it as
well, but it is what the user asks for.
"""

from __future__ import annotations

import filecmp
import os
import stat
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from eventveil.errors import ConfigError, DatasetError, EventVeilError
from eventveil.io.camera.uri import DV_UNIX, CameraUri
from eventveil.io.detect import locate
from eventveil.replay.datasets.index import open_dataset
from eventveil.replay.player.sources import RECORDING
from eventveil.stream.settings.pipeline import SourceSettings


def refuse_same_events(sources: Sequence[SourceSettings]) -> None:
    """Refuse sources of which two play the same events.

    Files are compared by content, whatever their names; cameras by serial number, address or socket. Excerpts of one
    recording may not overlap. A recording that was converted to another format is not recognised.

    Raises:
        ConfigError: two sources play the same recording, trial or camera.
        DatasetError: a dataset cannot be listed.
    """
    files: dict[str, list[Path]] = {}
    for one, other in combinations(sources, 2):
        if _same_camera(one, other) or (not _disjoint(one, other) and _share_a_file(one, other, files)):
            # No path, for that of a trial names a person.
            raise ConfigError(
                f"the streams {one.stream} and {other.stream} would publish the same events, each with noise or "
                "delays of its own, which can be averaged away: refused; give each recording, trial and camera to one "
                "source only"
            )


def loop_remarks(sources: Sequence[SourceSettings]) -> tuple[str, ...]:
    """Return what the user should know of sources that publish their events again and again."""
    return tuple(
        f"stream {source.stream} loops: each pass publishes the same events with new noise or new delays, and "
        "subscribers can average these away; a loop is for tests, not for people who need protection"
        for source in sources
        if source.loop
    )


def _same_camera(one: SourceSettings, other: SourceSettings) -> bool:
    if not (one.where.is_camera and other.where.is_camera):
        return False
    first, second = (CameraUri.parse(source.uri) for source in (one, other))
    # `dv://` twice is two cameras, for a camera on the USB can be opened only once.
    return first.kind == second.kind and first.name != "" and _address(first) == _address(second)


def _address(camera: CameraUri) -> str:
    if camera.kind == DV_UNIX:
        return os.path.realpath(camera.name)
    return camera.name.lower().replace("localhost:", "127.0.0.1:")


def _disjoint(one: SourceSettings, other: SourceSettings) -> bool:
    """Return whether two sources play excerpts of one recording that do not overlap."""
    first, second = sorted((one, other), key=lambda source: source.start_s)
    same = one.where == other.where and one.where.kind == RECORDING and one.on_disorder == other.on_disorder
    return same and first.stop_s is not None and first.stop_s <= second.start_s


def _share_a_file(one: SourceSettings, other: SourceSettings, files: dict[str, list[Path]]) -> bool:
    """Return whether two sources read a file of the same content; `files` keeps the files of each stream."""
    for source in (one, other):
        if source.stream not in files:
            files[source.stream] = list(_files(source))
    by_size: dict[int, list[Path]] = {}
    for file in files[one.stream]:
        by_size.setdefault(file.stat().st_size, []).append(file)
    return any(
        _same_content(file, twin) for file in files[other.stream] for twin in by_size.get(file.stat().st_size, ())
    )


def _same_content(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other) or filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False  # it cannot be read, so it cannot be played either


def _files(source: SourceSettings) -> Iterator[Path]:
    """Yield the files that a source reads: of a trial that is a folder of frames, the largest frame."""
    paths: set[Path] = set()
    if source.where.kind == RECORDING:
        paths = {locate(source.where.name)[0]}
    elif source.where.is_dataset:
        paths = _trials(Path(source.where.name), source.where.options.get("split"))
    for path in sorted(paths):
        file = max(path.iterdir(), key=lambda frame: frame.stat().st_size, default=path) if path.is_dir() else path
        if file.exists() and stat.S_ISREG(file.stat().st_mode):
            yield file


def _trials(root: Path, split: str | None) -> set[Path]:
    try:
        dataset = open_dataset(root)
        return {trial.path for trial in (dataset.trials if split is None else dataset.of(split))}
    except EventVeilError:  # its text may hold the path of a trial
        raise DatasetError(f"{root}: cannot be listed; `eventveil datasets check {root}` shows why") from None
