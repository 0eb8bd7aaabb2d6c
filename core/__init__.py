"""Publishes anonymized event-camera windows and gestures in real time."""

from eventveil.events import EventPacket, Sensor, Window
from eventveil.kernel_cache import ensure_cache
from eventveil.version import __version__

ensure_cache()  # before any module imports numba

__all__ = ["EventPacket", "Sensor", "Window", "__version__"]
