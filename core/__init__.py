"""Publishes anonymized event-camera windows and gestures in real time."""

from eventveil.events import EventPacket, Sensor, Window
from eventveil.version import __version__

__all__ = ["EventPacket", "Sensor", "Window", "__version__"]
