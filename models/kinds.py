"""The kinds of network that a weights file may hold; building, saving and loading all use this list.

Only building a network imports it, and with it torch: reading the metadata of a file needs neither.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import TypeAdapter

from eventveil.models.configs import (
    AnonyNoiseConfig,
    DenoiserConfig,
    EventAutoencoderConfig,
    NoisyChannelConfig,
    ResNetConfig,
    StandInConfig,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from eventveil.models.noise import NoiseGenerator

KindName = Literal["anonynoise", "noisy_channel", "event_autoencoder", "resnet_classifier", "denoiser", "stand_in"]
Role = Literal["anonymizer", "target", "identity", "denoiser"]
Representation = Literal["histogram", "voxel"]


class AnonymizerNetwork(Protocol):
    """The interface that the runtime needs of an anonymizer."""

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Anonymize float32 windows (B, C, H, W), with noise drawn from `generator` where it is needed."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A network class, its config class, the roles it can have and the windows it takes.

    Attributes:
        network: the class, as module.Class of `eventveil.models`.
    """

    network: str
    config: type[Any]
    roles: tuple[Role, ...]
    representations: tuple[Representation, ...]

    @property
    def model(self) -> type[nn.Module]:
        """The network class."""
        module, name = self.network.split(".")
        model: type[nn.Module] = getattr(import_module(f"eventveil.models.{module}"), name)
        return model


KINDS: Mapping[str, Kind] = {
    "anonynoise": Kind("anonynoise.AnonyNoise", AnonyNoiseConfig, ("anonymizer",), ("histogram",)),
    "noisy_channel": Kind("noisy_channel.NoisyChannel", NoisyChannelConfig, ("anonymizer",), ("histogram",)),
    "event_autoencoder": Kind("autoencoder.EventAutoencoder", EventAutoencoderConfig, ("anonymizer",), ("voxel",)),
    "resnet_classifier": Kind("resnet.ResNetClassifier", ResNetConfig, ("target", "identity"), ("histogram", "voxel")),
    "denoiser": Kind("denoiser.Denoiser", DenoiserConfig, ("denoiser",), ("histogram", "voxel")),
    "stand_in": Kind("stand_in.StandIn", StandInConfig, ("anonymizer",), ("histogram",)),
}


def build(kind: str, config: Mapping[str, Any]) -> nn.Module:
    """Build the network of a kind from a config of plain values.

    Raises:
        KeyError: there is no such kind.
        pydantic.ValidationError: a key is unknown or a value out of range.
    """
    return KINDS[kind].model(parse_config(kind, config))


def parse_config(kind: str, config: Mapping[str, Any]) -> Any:
    """Check a config of plain values and return it as the config dataclass of a kind, without building the network.

    Raises:
        KeyError: there is no such kind.
        pydantic.ValidationError: a key is unknown or a value out of range.
    """
    return TypeAdapter(KINDS[kind].config).validate_python(dict(config))


def describe(model: nn.Module) -> tuple[str, dict[str, Any]]:
    """Return the kind of a network and its config as plain values, as `build` takes them.

    Raises:
        TypeError: the network is of no kind in `KINDS`.
    """
    for name, kind in KINDS.items():
        if type(model) is kind.model:
            # As JSON has them, so that a config is equal to itself after it was in a file.
            return name, json.loads(json.dumps(asdict(model.config)))  # type: ignore[call-overload]
    raise TypeError(f"weights files hold {', '.join(KINDS)}, got a {type(model).__name__}")


def initialise(kind: str, config: Mapping[str, Any], *, seed: int) -> nn.Module:
    """Build an untrained network with weights drawn from `seed`; PyTorch's global generator is unchanged."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(kind, config).eval()
