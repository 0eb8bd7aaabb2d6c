"""Networks, the weights files that hold them, and the runtime that runs them."""

from eventveil.models.anonynoise import AnonyNoise
from eventveil.models.autoencoder import EventAutoencoder
from eventveil.models.denoiser import Denoiser
from eventveil.models.noisy_channel import NoisyChannel
from eventveil.models.resnet import ResNetClassifier
from eventveil.models.weights import load_weights, save_weights

__all__ = [
    "AnonyNoise", "Denoiser", "EventAutoencoder", "NoisyChannel", "ResNetClassifier", "load_weights", "save_weights",
]  # fmt: skip
