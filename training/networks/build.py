"""Builds the networks of training from the settings, always with the same initial weights."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from eventveil.errors import ConfigError
from eventveil.models.configs import DenoiserConfig
from eventveil.models.denoiser import Denoiser
from eventveil.models.device import computes_bf16, refuse_narrow
from eventveil.models.kinds import KINDS, initialise
from eventveil.models.published import load_torchvision, read_state_dict
from eventveil.models.resnet import ResNetClassifier
from eventveil.settings import first_finding
from eventveil.training.randomness import seed_of
from eventveil.training.settings import ClassifierSettings, RunSettings, TrainSettings

# Up to this width, in pixels, the last layer of a ResNet sees a single column. In oneDNN 3.12 (PyTorch 2.13), the
# bfloat16 weight gradient of a stride-2 convolution over a single column contains uninitialised memory.
NARROW = 16


def channels(settings: TrainSettings) -> int:
    """Return the number of channels of a window."""
    return settings.window.bins * (1 if settings.window.mode == "voxel" else 2)


def new_anonymizer(settings: TrainSettings) -> nn.Module:
    """Build the anonymizer, untrained.

    Raises:
        ConfigError: there is no such kind, or a key of its config is unknown or out of range.
    """
    kind = settings.anonymizer.kind
    kinds = [name for name, entry in KINDS.items() if hasattr(entry.model, "anonymize")]
    if kind not in kinds:
        raise ConfigError(f"anonymizer.kind: expected {', '.join(kinds)}, got {kind!r}")
    representation = "voxel" if settings.window.mode == "voxel" else "histogram"
    if representation not in KINDS[kind].representations:
        raise ConfigError(f"anonymizer.kind: {kind} takes no {representation} windows; change it or window.mode")
    config = settings.anonymizer.config | {"channels": channels(settings)}
    if kind == "event_autoencoder":
        config["normalise"] = not isinstance(settings.window.crop, str)  # grids of a box come normalised
    return _initialise("anonymizer.config", kind, settings, config, "anonymizer")


def new_classifier(
    label: str, classes: int, settings: TrainSettings, *name: Any, input_channels: int | None = None
) -> ResNetClassifier:
    """Build a classifier of the target or of people, untrained; `name` determines its initial weights.

    Its input has `input_channels` channels, by default those of a window. If the settings name a torchvision file, its
    backbone has the weights of that file.

    Raises:
        ConfigError: a setting of the classifier is out of range.
        WeightsError: the file is missing, or holds another network.
    """
    classifier: ClassifierSettings = getattr(settings, label)
    config = classifier.model_dump(exclude={"backbone"})
    config |= {"classes": classes, "channels": input_channels or channels(settings)}
    network = _initialise(label, "resnet_classifier", settings, config, label, *name)
    assert isinstance(network, ResNetClassifier)
    if classifier.backbone is not None:
        load_torchvision(network, read_state_dict(classifier.backbone), classifier.backbone)
    return network


def new_denoiser(settings: TrainSettings, *name: Any) -> Denoiser:
    """Build an attacker's denoiser, untrained; `name` determines its initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(settings.seed, "denoiser", *name))
        return Denoiser(DenoiserConfig(channels=channels(settings)))


def autocast(run: RunSettings, size: tuple[int, int], device: torch.device) -> torch.autocast:
    """Return autocast to bfloat16 if the run enables it; weights and losses stay float32.

    Args:
        run: settings of the run.
        size: width and height of the windows, pixels.
        device: where the networks compute.

    Raises:
        ConfigError: see `check_precision`.
    """
    check_precision(run, size, device)
    return torch.autocast(device.type, torch.bfloat16, enabled=run.precision == "bf16")


def check_precision(run: RunSettings, size: tuple[int, int], device: torch.device) -> None:
    """Refuse bfloat16 where the device does not support it, or would compute wrong gradients.

    Raises:
        ConfigError: the device does not compute in it, or windows are too narrow for it on a CPU.
    """
    if run.precision != "bf16":
        return
    if not computes_bf16(device):
        raise ConfigError(f"run.precision: {device} does not compute in bfloat16; choose fp32")
    if device.type == "cpu" and size[0] <= NARROW:
        raise ConfigError(f"run.precision: bf16 on a CPU needs windows wider than {NARROW} pixels; choose fp32")
    refuse_narrow(device, size)


def _initialise(key: str, kind: str, settings: TrainSettings, config: dict[str, Any], *name: Any) -> nn.Module:
    try:
        return initialise(kind, config, seed=seed_of(settings.seed, *name))
    except ValidationError as error:
        raise ConfigError(f"{key}: {first_finding(error)}") from error
