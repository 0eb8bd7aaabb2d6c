"""Networks, the weights files that hold them, the runtime that runs them, and books of the stand-in.

Each name is imported on first use: the subscriber reads books, and must not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventveil.models.anonynoise import AnonyNoise as AnonyNoise
    from eventveil.models.autoencoder import EventAutoencoder as EventAutoencoder
    from eventveil.models.book import Book as Book
    from eventveil.models.denoiser import Denoiser as Denoiser
    from eventveil.models.noisy_channel import NoisyChannel as NoisyChannel
    from eventveil.models.resnet import ResNetClassifier as ResNetClassifier
    from eventveil.models.runtime import Anonymizer as Anonymizer
    from eventveil.models.runtime import Classifier as Classifier
    from eventveil.models.weights import load_weights as load_weights
    from eventveil.models.weights import save_weights as save_weights

__all__ = [
    "AnonyNoise", "Anonymizer", "Book", "Classifier", "Denoiser", "EventAutoencoder", "NoisyChannel",
    "ResNetClassifier", "load_weights", "save_weights",
]  # fmt: skip

MODULES = {
    "AnonyNoise": "anonynoise",
    "Anonymizer": "runtime",
    "Book": "book",
    "Classifier": "runtime",
    "Denoiser": "denoiser",
    "EventAutoencoder": "autoencoder",
    "NoisyChannel": "noisy_channel",
    "ResNetClassifier": "resnet",
    "load_weights": "weights",
    "save_weights": "weights",
}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)
