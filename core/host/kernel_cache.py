"""Find a folder for compiled kernels, so that numba works without a writable home or package folder.

numba keeps compiled kernels beside their source files or in the user's cache folder, and raises where it can write to
neither, as in a container with a read-only file system. Then they go to a temporary folder, which the processes that
this one starts share, and which is removed at its end: loaded kernels are code, so the folder is private.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

VARIABLE = "NUMBA_CACHE_DIR"
PREFIX = "eventveil-kernels-"
PACKAGE = Path(__file__).resolve().parents[1]


def find_cache() -> Path | None:
    """Return the first folder that numba tries and can write to, or None."""
    stated = os.environ.get(VARIABLE)
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    candidates = [Path(stated)] if stated else []
    candidates += [PACKAGE / "__pycache__", home / "numba"]
    return next((folder for folder in candidates if _is_writable(folder)), None)


def are_compiled() -> bool:
    """Return whether the kernels of windows were compiled before, so that a start takes no longer than usual."""
    spec = find_spec("eventveil.stream.histogram")
    beside = [Path(folder) / "__pycache__" for folder in spec.submodule_search_locations or ()] if spec else []
    cache = find_cache()
    return any(True for folder in (*beside, *([cache] if cache else [])) for _ in folder.rglob("count_ring.*.nbi"))


def is_temporary(folder: Path) -> bool:
    """Return whether a folder for kernels is one that `ensure_cache` made."""
    return folder.name.startswith(PREFIX)


def ensure_cache() -> None:
    """Give numba a temporary folder if it has no other and temporary files can be written."""
    if find_cache() is not None:
        return
    import tempfile  # rarely needed, and slow to import

    try:
        folder = tempfile.mkdtemp(prefix=PREFIX)
    except OSError:
        return
    atexit.register(_remove, folder, os.getpid())
    os.environ[VARIABLE] = folder
    if "numba" in sys.modules:  # it reads the variable when it is imported
        sys.modules["numba"].config.CACHE_DIR = folder


def _is_writable(folder: Path) -> bool:
    """Try whether a folder can be written to, or created: permissions say nothing of a full disk or of /proc."""
    nearest = next((place for place in (folder, *folder.parents) if place.exists()), None)
    if nearest is None:
        return False
    trial = nearest / f".eventveil-{os.getpid()}-{time.monotonic_ns()}"
    try:
        trial.mkdir(0o700)
        trial.rmdir()
    except OSError:
        return False
    return True


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # not a forked child
        import shutil

        shutil.rmtree(folder, ignore_errors=True)
