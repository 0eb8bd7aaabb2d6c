"""Recordings, datasets and a simulated camera, played as event streams at a chosen pace."""
