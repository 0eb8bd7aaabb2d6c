"""Datasets of people: which one a folder holds, its trials, its splits, and what is in it."""

from eventveil.replay.datasets.index import open_dataset

__all__ = ["open_dataset"]
