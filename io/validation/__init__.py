"""The check that every event passes, whatever its source, and what happens to events out of order."""
