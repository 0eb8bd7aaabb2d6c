"""Publishes anonymized event-camera windows and gestures in real time.

The classes are imported on first use: the command line prints its help without NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from eventveil.host.kernel_cache import ensure_cache
from eventveil.version import __version__

if TYPE_CHECKING:
    from eventveil.events import EventPacket as EventPacket
    from eventveil.events import Sensor as Sensor
    from eventveil.events import Window as Window

ensure_cache()  # before any module imports numba

__all__ = ["EventPacket", "Sensor", "Window", "__version__"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eventveil import events

    return getattr(events, name)
