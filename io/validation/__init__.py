"""The checks that every event must pass, whatever its source, and the handling of events out of order."""
