"""Weights in memory and matching windows, for tests of the runtime."""

from __future__ import annotations

import numpy as np

from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.models.weights import Weights

WINDOW = {"bins": 2, "bin_us": 1000, "hop": 2, "size": (16, 12), "trained": False}


def anonymizer_weights(**config):
    model = initialise("anonynoise", {"channels": 4, "noise_std": 32.0, **config}, seed=1)
    return Weights(model, Metadata.of(model, role="anonymizer", **WINDOW), "")


def classifier_weights():
    config = {"depth": 18, "width": 4, "channels": 4, "classes": 3, "embedding": 8}
    model = initialise("resnet_classifier", config, seed=1)
    model.classifier[0].weight.data *= 100  # away from uniform probabilities
    return Weights(model, Metadata.of(model, role="target", labels=("a", "b", "c"), **WINDOW), "")


def voxel_weights():
    model = initialise("event_autoencoder", {"channels": 2}, seed=1)
    return Weights(model, Metadata.of(model, role="anonymizer", representation="voxel", **WINDOW), "")


def windows(n, seed=0):
    return list(np.random.default_rng(seed).poisson(0.3, (n, 2, 2, 12, 16)).astype(np.uint16))
