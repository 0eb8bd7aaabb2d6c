"""Weights for tests: small networks and weights files, and state dicts as published by others."""

from __future__ import annotations

import reference_models as reference
import torch

from eventveil.models import save_weights
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata

NARROW = {"depth": 18, "width": 4, "channels": 4, "classes": 3, "embedding": 8}
WINDOW = {"bins": 2, "bin_us": 1000, "hop": 2, "size": (16, 12)}


def anonymizer(**changes):
    model = initialise("anonynoise", {"channels": 4}, seed=1)
    return model, Metadata.of(model, **{"role": "anonymizer", "trained": True, **WINDOW, **changes})


def classifier(**changes):
    model = initialise("resnet_classifier", NARROW, seed=1)
    return model, Metadata.of(model, **{"role": "target", "trained": True, "labels": tuple("abc"), **WINDOW, **changes})


def anonymizer_file(path):
    """Save an anonymizer and return its path."""
    save_weights(path, *anonymizer())
    return path


def published_autoencoder(seed=0):
    """A state dict as Event-ReId's code saves it: the autoencoder under `model_ae.`, beside another network."""
    generator = torch.Generator().manual_seed(seed)
    layers = {"encoder.0": (64, 5), "encoder.3": (16, 64), "decoder.1": (64, 16), "decoder.4": (5, 64)}
    state = {"classifier.classifier_1.0.weight": torch.randn(22, 256, generator=generator)}
    for name, shape in layers.items():
        state[f"model_ae.{name}.weight"] = 0.1 * torch.randn(*shape, 3, 3, generator=generator)
        state[f"model_ae.{name}.bias"] = 0.1 * torch.randn(shape[0], generator=generator)
    return state


def published_anonymizer(channels_in=20, channels_out=10):
    """Return a state dict as saved by the code of AnonyNoise: keys and shapes from its description."""
    sizes = [channels_in, 64, 128, 256, 128, 64, channels_out]
    layers = ("convs1.0", "convs1.2", "convs2.0", "convs2.2", "convs3.0", "convs3.2")
    generator = torch.Generator().manual_seed(0)
    state = {}
    for layer, into, out in zip(layers, sizes, sizes[1:], strict=False):
        state[f"{layer}.weight"] = torch.randn(out, into, 3, 3, generator=generator) * 0.05
        state[f"{layer}.bias"] = torch.randn(out, generator=generator) * 0.05
    return state


def published_classifier(depth, classes):
    """Return torchvision's ResNet without `fc`, its children numbered, and the head."""
    order = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
    state = {}
    for name, tensor in reference.torchvision_state(depth).items():
        child, rest = name.split(".", 1)
        if child != "fc":
            state[f"backbone.{order.index(child)}.{rest}"] = tensor
    stem = state["backbone.0.weight"]
    state["backbone.0.weight"] = torch.cat([stem] * 4, dim=1)[:, :10]
    features = 2048 if depth == 50 else 512
    state["linear_block.0.weight"] = torch.randn(512, features)
    for name in ("linear_block.0.bias", "linear_block.1.weight", "linear_block.1.bias", "linear_block.1.running_mean"):
        state[name] = torch.randn(512)
    state["linear_block.1.running_var"] = torch.rand(512) + 0.5
    state["linear_block.1.num_batches_tracked"] = torch.tensor(3)
    state["classifier.0.weight"], state["classifier.0.bias"] = torch.randn(classes, 512), torch.randn(classes)
    return state


def saved(tmp_path, state, name="w.pth"):
    torch.save(state, tmp_path / name)
    return tmp_path / name
