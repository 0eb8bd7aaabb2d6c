"""Bytes to events and back: one reader per format behind `open_events`, and writers."""

from eventveil.io.source import EventSource, open_events

__all__ = ["EventSource", "open_events"]
