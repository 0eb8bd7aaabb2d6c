"""eventveil lets the motion of an event camera out and keeps the person in."""

from eventveil.events import EventPacket, Sensor, Window
from eventveil.version import __version__

__all__ = ["EventPacket", "Sensor", "Window", "__version__"]
