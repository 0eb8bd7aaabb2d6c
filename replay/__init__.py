"""Recordings as simulated streams: pacing, and the project's own test pattern."""
