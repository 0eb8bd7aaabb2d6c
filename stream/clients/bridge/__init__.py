"""Passes on what a subscriber receives. It imports nothing from the publisher or the pipeline."""
