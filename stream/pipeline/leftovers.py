"""What dead pipelines have left in their runtime folders: sockets, counters, and the keys of expelled subscribers.

A pipeline removes its folder at its end, and the fork server does if the supervisor is killed. If both are killed, or
`line.runtime_dir` names a folder, files stay. The counters are computed from events, so they are not for others.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from eventveil.errors import ConfigError
from eventveil.stream.publisher.expelled import FILE as EXPELLED
from eventveil.stream.runtime.accounting import FILE as COUNTERS
from eventveil.stream.runtime.sockets import LOCK, lock_folder

FOLDERS = "pymp-*/eventveil-*"
"""Runtime folders that pipelines have created, below the folder for temporary files."""
SOCKETS = tuple(f"{name}.sock" for name in ("anonymize", "classify", "publish", "reports"))
"""The private sockets of a pipeline: of the stages that receive, and of the supervisor."""


def leftovers(chosen: Path | None) -> Iterator[Path]:
    """Yield what dead pipelines of this user have left: files in the chosen folder, or whole folders.

    Args:
        chosen: `line.runtime_dir`; None: the folders that pipelines create for themselves.

    Raises:
        ConfigError: a pipeline is running in the chosen folder.
    """
    if chosen is None:
        for folder in sorted(Path(tempfile.gettempdir()).glob(FOLDERS)):
            # Anyone can put a link there that leads to another folder of this user.
            if _belongs_to_us(folder.parent) and _is_ours(folder) and not _is_used(folder):
                yield folder
        return
    if not _is_ours(chosen):
        return
    if _is_used(chosen):
        raise ConfigError(f"{chosen}: a pipeline is running in this folder (line.runtime_dir); stop it first")
    names = [COUNTERS, EXPELLED, LOCK]
    yield from (chosen / name for name in names if (chosen / name).is_file())
    yield from (chosen / name for name in SOCKETS if (chosen / name).is_socket())


def _is_ours(folder: Path) -> bool:
    """Return whether a folder belongs to this user and a pipeline has run in it."""
    try:
        return _belongs_to_us(folder) and (folder / LOCK).is_file()
    except OSError:
        return False


def _belongs_to_us(folder: Path) -> bool:
    """Return whether this is a folder of this user, and no link to one."""
    try:
        state = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(state.st_mode) and state.st_uid == os.geteuid()


def _is_used(folder: Path) -> bool:
    try:
        os.close(lock_folder(folder))
    except ConfigError:
        return True
    return False
