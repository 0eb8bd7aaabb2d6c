"""The kinds of network that a weights file may hold: the one list that building, saving and loading go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import torch
from pydantic import TypeAdapter
from torch import nn

from eventveil.models.anonynoise import AnonyNoise, AnonyNoiseConfig
from eventveil.models.autoencoder import EventAutoencoder, EventAutoencoderConfig
from eventveil.models.denoiser import Denoiser, DenoiserConfig
from eventveil.models.noise import NoiseGenerator
from eventveil.models.noisy_channel import NoisyChannel, NoisyChannelConfig
from eventveil.models.resnet import ResNetClassifier, ResNetConfig

KindName = Literal["anonynoise", "noisy_channel", "event_autoencoder", "resnet_classifier", "denoiser"]
Role = Literal["anonymizer", "target", "identity", "denoiser"]
Representation = Literal["histogram", "voxel"]


class Anonymizer(Protocol):
    """What the runtime asks of an anonymizer."""

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Anonymize float32 windows (B, C, H, W), drawing what noise is needed from `generator`."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A network, its settings, what it can be used as and what windows it takes."""

    model: type[nn.Module]
    config: type[Any]
    roles: tuple[Role, ...]
    representations: tuple[Representation, ...]


KINDS: Mapping[str, Kind] = {
    "anonynoise": Kind(AnonyNoise, AnonyNoiseConfig, ("anonymizer",), ("histogram",)),
    "noisy_channel": Kind(NoisyChannel, NoisyChannelConfig, ("anonymizer",), ("histogram",)),
    "event_autoencoder": Kind(EventAutoencoder, EventAutoencoderConfig, ("anonymizer",), ("voxel",)),
    "resnet_classifier": Kind(ResNetClassifier, ResNetConfig, ("target", "identity"), ("histogram", "voxel")),
    "denoiser": Kind(Denoiser, DenoiserConfig, ("denoiser",), ("histogram", "voxel")),
}


def build(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """Build the network of a kind from its settings as plain values.

    Raises:
        KeyError: there is no such kind.
        pydantic.ValidationError: a setting is unknown or out of range.
    """
    return KINDS[kind].model(parse_config(kind, config))


def parse_config(kind: str, config: Mapping[str, Any]) -> Any:
    """Check the settings of a kind and return them as its config dataclass, without building the network.

    Raises:
        KeyError: there is no such kind.
        pydantic.ValidationError: a setting is unknown or out of range.
    """
    return TypeAdapter(KINDS[kind].config).validate_python(dict(config))


def describe(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """Return the kind of a network and its settings as plain values: what `build` takes.

    Raises:
        TypeError: the network is of none of our kinds.
    """
    for name, kind in KINDS.items():
        if type(model) is kind.model:
            return name, asdict(model.config)  # type: ignore[call-overload]
    raise TypeError(f"weights files hold {', '.join(KINDS)}, got a {type(model).__name__}")


def initialise(kind: str, config: Mapping[str, Any], *, seed: int) -> nn.Module:
    """Build an untrained network whose weights follow from `seed`; PyTorch's own generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(kind, config).eval()
