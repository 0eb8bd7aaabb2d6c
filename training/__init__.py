"""Trains the anonymizer and its classifiers, and attacks the result; windows as datasets of PyTorch.

Each name is imported on first use: child processes that bin trials must start quickly, and need no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventveil.training.data.event_transform import AnonymizeEvents as AnonymizeEvents
    from eventveil.training.data.window_dataset import WindowDataset as WindowDataset
    from eventveil.training.data.window_dataset import WindowStream as WindowStream
    from eventveil.training.data.window_dataset import cut_of as cut_of

__all__ = ["AnonymizeEvents", "WindowDataset", "WindowStream", "cut_of"]

MODULES = {
    "AnonymizeEvents": "event_transform",
    "WindowDataset": "window_dataset",
    "WindowStream": "window_dataset",
    "cut_of": "window_dataset",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.data.{MODULES[name]}"), name)
