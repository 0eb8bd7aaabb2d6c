"""Read and write recordings: `open_events` reads every format, and `formats.writer` writes four of them."""

from eventveil.io.source import EventSource, open_events

__all__ = ["EventSource", "open_events"]
