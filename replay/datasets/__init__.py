"""Datasets of people: recognition of a folder, its trials, splits and statistics."""

from eventveil.replay.datasets.index import open_dataset

__all__ = ["open_dataset"]
