"""Bytes to events and back: one reader per format behind `open_events`, and writers."""
