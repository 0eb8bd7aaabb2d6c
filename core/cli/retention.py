"""Finds and deletes what a pipeline, a training or an audit has stored by itself of what it saw.

Recordings, weights, reports and everything else that a command was told to write belong to its user, and stay.
docs/privacy.md lists everything that is stored.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eventveil.errors import ConfigError, EventVeilError
from eventveil.host.files import remove_parts
from eventveil.io.camera.uri import DRIVERS, CameraUri
from eventveil.stream.pipeline.leftovers import leftovers
from eventveil.stream.preprocess.hot_pixel_file import FOLDER as HOT_PIXELS
from eventveil.stream.preprocess.hot_pixel_file import hot_pixel_files
from eventveil.stream.settings.pipeline import PipelineSettings

_CACHED = re.compile(r"[0-9a-f]{32}\.npy")  # names of `training.data.windows`, whose rows are raw windows
_PART = re.compile(rf"\.{_CACHED.pattern}\.[0-9a-f]{{8}}\.part")  # left by a process that was killed while writing one
_PICTURES = ("pretrain", "adversarial", "attack"), "windows.png"  # folders of stages, and the picture in one
_AUDIT = {"digest", "look"}  # keys of work/audit.json
WINDOWS, SPLIT = "windows", "split.json"
"""The folder of raw windows in a run folder and in the work folder of an audit, and the file that marks both."""


@dataclass(frozen=True)
class Trace:
    """A file or folder that holds what a camera or a recording has shown, or that names a camera.

    Attributes:
        what: what it holds, in words.
        path: the file or folder.
    """

    what: str
    path: Path

    @property
    def bytes(self) -> int:
        """Size of the file, or of all files in the folder."""
        paths = [self.path] if not self.path.is_dir() else self.path.rglob("*")
        return sum(path.lstat().st_size for path in paths if path.is_file() and not path.is_symlink())

    def delete(self) -> None:
        """Delete it, and the hidden files of processes that were killed while they wrote it. Links are not followed.

        Raises:
            ConfigError: it cannot be deleted.
        """
        try:
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink(missing_ok=True)
                remove_parts(self.path)
        except OSError as error:
            raise ConfigError(
                f"{error.filename or self.path}: cannot be deleted ({error.strerror}); run this as its owner"
            ) from None


def of_pipeline(settings: PipelineSettings, state: Path | None = None) -> list[Trace]:
    """Return what pipelines with these settings have left.

    Args:
        settings: settings of the pipeline. A camera without a serial number stands for all cameras.
        state: folder of the state between runs, if it is not this user's.

    Raises:
        ConfigError: such a pipeline is running, or a link is in the way of the state.
    """
    if state is not None:
        _refuse_links(state, state / HOT_PIXELS)
    cameras = [CameraUri.parse(source.uri) for source in settings.sources if source.where.is_camera]
    serials = {camera.name if camera.kind in DRIVERS else "" for camera in cameras}
    pixels = {path for serial in serials for path in hot_pixel_files(serial, state)}
    return [
        *(Trace("hot pixels", path) for path in sorted(pixels)),
        *(Trace("counters of events, and sockets", path) for path in leftovers(settings.line.runtime_dir)),
    ]


def _refuse_links(*folders: Path) -> None:
    """Refuse folders that are links: a service owns its state, and root would delete where they lead."""
    for folder in folders:
        if folder.is_symlink():
            raise ConfigError(f"{folder}: is a symbolic link, which is never followed; move it away")


def of_folder(folder: Path) -> list[Trace]:
    """Return the raw windows, and everything made from them for attacks, in the folder of a run, an audit or a cache.

    Raises:
        ConfigError: it is not such a folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; expected one that `eventveil train` or `eventveil audit` made")
    if _is_audit(folder / "work"):
        if (folder / "work").is_symlink():
            what = f"a link; raw windows, identities and attackers of an audit stay in {(folder / 'work').readlink()}"
            return [Trace(what, folder / "work")]
        return [Trace("raw windows, identities and attackers of an audit", folder / "work")]
    if (folder / SPLIT).is_file():
        return list(_of_run(folder))
    cached = [path for path in _windows_in(folder) if _CACHED.fullmatch(path.name)]
    if not cached:
        raise ConfigError(
            f"{folder}: not a folder of a training (no split.json), of an audit (no work/audit.json) or of cached "
            "windows (data.cache); nothing was deleted"
        )
    return [Trace("raw windows", path) for path in cached]


@contextmanager
def windows_kept(folder: Path, *, keep: bool, cache: Path | None, owner: bool = True) -> Iterator[None]:
    """Delete the raw windows of a training or an audit when the block ends, however it ends.

    After an error, windows that were there before stay: the run may have been refused because they are another one's.

    Args:
        folder: folder of the run, or of the work of the audit.
        keep: `run.keep_windows`; if true, nothing is deleted.
        cache: `data.cache`.
        owner: whether this process deletes them, and not another one of this machine.

    Raises:
        ConfigError: the windows are shared with other runs, or cannot be deleted.
    """
    if not keep and cache is not None:
        raise ConfigError(
            f"run.keep_windows: other runs may need the windows in {cache}; remove data.cache, or keep the windows and "
            f"delete them later with `eventveil forget {cache}`"
        )
    if not keep and (folder / WINDOWS).is_symlink():
        raise ConfigError(
            f"run.keep_windows: {folder / WINDOWS} is a symbolic link, which is never followed: windows would stay "
            "where it leads; replace it by a folder, or keep the windows"
        )
    before = set(_windows_in(folder / WINDOWS))
    refused = False
    try:
        yield
    except EventVeilError:
        refused = True  # perhaps because another run made the folder: its windows stay
        raise
    finally:
        if not keep and owner and (folder / SPLIT).is_file():  # otherwise the folder is not ours
            for trace in _of_windows(folder, before if refused else frozenset()):
                trace.delete()


def _of_run(folder: Path) -> Iterator[Trace]:
    yield from _of_windows(folder)
    stages, name = _PICTURES
    pictures = (path for stage in stages for path in (folder / stage).rglob(name) if not (folder / stage).is_symlink())
    yield from (Trace("a picture of raw windows", path) for path in sorted(pictures))


def _of_windows(folder: Path, kept: Set[Path] = frozenset()) -> Iterator[Trace]:
    """Yield the folder of raw windows of a run; if it also holds something else, only the windows in it."""
    windows = folder / WINDOWS
    files = [path for path in _windows_in(windows) if path not in kept]
    if windows.is_symlink():
        yield Trace(f"a link; raw windows stay in {windows.readlink()}", windows)
    elif windows.is_dir() and len(files) == len(list(windows.iterdir())):
        yield Trace("raw windows", windows)
    else:
        yield from (Trace("raw windows", path) for path in files)


def _windows_in(folder: Path) -> list[Path]:
    """Return the files of raw windows in a folder, whole or not, by their names."""
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    paths = (path for path in names if _CACHED.fullmatch(path.name) or _PART.fullmatch(path.name))
    return [path for path in paths if path.is_symlink() or not path.is_dir()]


def _is_audit(work: Path) -> bool:
    """Return whether an audit made this folder: other programs, too, write a file `audit.json`."""
    try:
        values = json.loads((work / "audit.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and set(values) == _AUDIT
