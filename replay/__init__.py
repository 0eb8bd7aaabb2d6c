"""Recordings as simulated streams: pacing, datasets, the project's own test pattern and its simulated camera."""
