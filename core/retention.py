"""What a pipeline, a training or an audit has left on this machine of what it saw, and deleting it.

Recordings, weights, reports and everything else that a command was told to write are not here: they belong to whoever
asked for them. docs/privacy.md lists all that is stored.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eventveil.errors import ConfigError
from eventveil.files import remove_parts
from eventveil.io.camera.uri import DRIVERS, CameraUri
from eventveil.stream.pipeline.leftovers import leftovers
from eventveil.stream.preprocess.hot_pixel_file import hot_pixel_files
from eventveil.stream.settings import PipelineSettings

_CACHED = re.compile(r"[0-9a-f]{32}\.npy")  # names of `training.data.windows`, whose rows are raw windows
_PICTURE = "windows.png"
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
                f"{error.filename or self.path}: cannot be deleted ({error.strerror}); repeat this as its owner"
            ) from None


def of_pipeline(settings: PipelineSettings, state: Path | None = None) -> list[Trace]:
    """Return what pipelines with these settings have left.

    Args:
        settings: of the pipeline. A camera without a serial number stands for all cameras.
        state: folder of the state between runs, if it is not this user's.

    Raises:
        ConfigError: such a pipeline is running.
    """
    cameras = [CameraUri.parse(source.uri) for source in settings.sources if source.where.is_camera]
    serials = {camera.name if camera.kind in DRIVERS else "" for camera in cameras}
    pixels = {path for serial in serials for path in hot_pixel_files(serial, state)}
    return [
        *(Trace("hot pixels", path) for path in sorted(pixels)),
        *(Trace("counters of events, and sockets", path) for path in leftovers(settings.line.runtime_dir)),
    ]


def of_folder(folder: Path) -> list[Trace]:
    """Return the raw windows, and all that was made of them for attacks, in the folder of a run, an audit or a cache.

    Raises:
        ConfigError: it is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; expected one that `eventveil train` or `eventveil audit` made")
    if (folder / "work" / "audit.json").is_file():
        return [Trace("raw windows, identities and attackers of an audit", folder / "work")]
    if (folder / SPLIT).is_file():
        return list(_of_run(folder))
    cached = sorted(path for path in folder.iterdir() if _CACHED.fullmatch(path.name))
    if not cached:
        raise ConfigError(
            f"{folder}: is no folder of a training (no split.json), of an audit (no work/audit.json) or of cached "
            "windows (data.cache); nothing was deleted"
        )
    return [Trace("raw windows", path) for path in cached]


@contextmanager
def windows_kept(folder: Path, *, keep: bool, cache: Path | None, owner: bool = True) -> Iterator[None]:
    """Delete the raw windows of a training or an audit when the block ends, however it ends.

    Args:
        folder: of the run, or of the work of the audit.
        keep: `run.keep_windows`; if true, nothing is deleted.
        cache: `data.cache`.
        owner: whether this process deletes them, and not another one of this machine.

    Raises:
        ConfigError: the windows are shared with other runs, or cannot be deleted.
    """
    if not keep and cache is not None:
        raise ConfigError(
            f"run.keep_windows: other runs may need the windows in {cache}; leave data.cache out, or keep them and "
            f"delete them with `eventveil forget {cache}`"
        )
    try:
        yield
    finally:
        if not keep and owner and (folder / SPLIT).is_file():  # otherwise the folder was refused: it is not ours
            Trace("raw windows", folder / WINDOWS).delete()


def _of_run(folder: Path) -> Iterator[Trace]:
    windows = folder / WINDOWS
    if windows.is_dir():
        yield Trace("raw windows", windows)
    yield from (Trace("a picture of raw windows", path) for path in sorted(folder.rglob(_PICTURE)))
