"""Imports published weights: loads state dicts of other projects into our networks, values unchanged.

A `.pth` file is a pickle and could run code when it is read. It is read with `weights_only=True`, which accepts tensors
and plain containers only. Imported weights are saved as safetensors.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from eventveil.errors import WeightsError
from eventveil.models.kinds import Role, build
from eventveil.models.resnet import ResNetClassifier
from eventveil.models.weights import check_tensors
from eventveil.settings import first_finding

GESTURES = (
    "hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise",
    "left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures",
)  # fmt: skip
"""The classes of DVS128 Gesture in the order of the published classifiers (Amir et al., CVPR 2017)."""

# Prefixes of each network where the published training code saves several in one file.
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "anonymizer": ("anonnet.",),
    "target": ("targetnet.", "classnet."),
    "identity": ("idnet.", "classnet."),
    "denoiser": ("denoisenet.",),
}

# The published autoencoder numbers its layers with an upsampling by 1 before each convolution of the decoder; ours has
# no layer that does nothing.
AUTOENCODER = {"encoder.0": "encoder.0", "encoder.3": "encoder.3", "decoder.1": "decoder.0", "decoder.4": "decoder.2"}

# torchvision names the children of a ResNet; the published classifier numbers them, in the same order.
TORCHVISION = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}

StateDict = dict[str, torch.Tensor]


def read_pickle(path: Path) -> object:
    """Read a file of `torch.save` to the CPU; it may hold tensors and plain containers only.

    Raises:
        WeightsError: the file is missing, damaged or holds code.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of pickles that it then refuses; the refusal is enough
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path}: expected a state dict of tensors, got a pickle that would run code, or no pickle; it was not "
            "run. Save model.state_dict() where the file was made"
        ) from error
    except Exception as error:  # damaged archives can raise anything
        raise WeightsError(
            f"{path}: expected a file of torch.save, got a damaged or different one ({type(error).__name__}); "
            "fetch it again"
        ) from error
    return content


def read_state_dict(path: Path) -> StateDict:
    """Read the tensors of a `.pth` file by name, without the prefix `module.` of DataParallel.

    Raises:
        WeightsError: the file is missing, holds code or is not a state dict.
    """
    state = read_pickle(path)
    if not isinstance(state, dict) or not state or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise WeightsError(f"{path}: expected tensors by name, got {type(state).__name__}; save model.state_dict()")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def import_anonynoise(
    path: Path,
    *,
    role: Role | None = None,
    bins: int = 5,
    noise_std: float = 1.0,
    output: str = "x+f*n",
) -> tuple[nn.Module, Role]:
    """Build the network of a state dict that the code of AnonyNoise (WACV 2025) saved.

    Args:
        path: the `.pth` file: the anonymizer, a classifier, the denoiser, or several of them under their prefixes.
        role: the network to import; needed where the file holds several, and for an identity classifier (a
            classifier is a target by default).
        bins: K; a window has 2K channels.
        noise_std: standard deviation of the noise that the anonymizer was trained with; not stored in the file.
        output: how it forms its output; not stored either. A network with 4K output channels is always `mean_std`.

    Returns:
        The network in eval mode, and its role.

    Raises:
        WeightsError: the file is not a state dict of that code, or has other bins.
    """
    state, role = _choose_network(path, read_state_dict(path), role)
    try:
        match role:
            case "anonymizer":
                kind, config = "anonynoise", _anonynoise_config(state, 2 * bins, noise_std, output)
            case "denoiser":
                kind, config = "denoiser", {"channels": state["dncnn.0.weight"].shape[1]}
            case _:
                kind, config = "resnet_classifier", _resnet_config(state)
        model = build(kind, config)
    except ValidationError as error:
        raise WeightsError(f"{path}: {role}: {first_finding(error)}; name another setting or file") from error
    except (KeyError, IndexError, ValueError) as error:
        raise WeightsError(f"{path}: expected the {role} of AnonyNoise, got other layers ({error})") from error
    if config["channels"] != 2 * bins:
        raise WeightsError(f"{path}: {bins} bins are {2 * bins} channels, the file has {config['channels']}; set bins")
    check_tensors(path, model, state)
    model.load_state_dict(state)
    return model.eval(), role


def import_event_reid(path: Path) -> nn.Module:
    """Build the anonymizer of a state dict that the code of the Event-ReId method (ICCV 2023) saved.

    Args:
        path: the `.pth` file: the autoencoder alone, or together with the re-identification network.

    Returns:
        The network in eval mode. It takes normalised voxel grids of the box around a window's events.

    Raises:
        WeightsError: the file is not a state dict of that code.
    """
    state = read_state_dict(path)
    state = _under(state, "model_ae.") or state
    renamed = {}
    for name, tensor in state.items():
        layer, _, rest = name.rpartition(".")
        renamed[f"{AUTOENCODER.get(layer, layer)}.{rest}"] = tensor
    first = state.get("encoder.0.weight")
    if first is None or first.ndim != 4 or "decoder.4.weight" not in state:
        raise WeightsError(f"{path}: expected encoder.0, encoder.3, decoder.1 and decoder.4 of Event-ReId's code")
    model = build("event_autoencoder", {"channels": first.shape[1], "normalise": False})
    check_tensors(path, model, renamed)
    model.load_state_dict(renamed)
    return model.eval()


def load_torchvision(model: ResNetClassifier, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load a torchvision ResNet, without its `fc` layer, into the backbone of `model`.

    Where the state has three input channels, channel c of the model is a copy of c % 3, as in AnonyNoise.

    Raises:
        WeightsError: the state is not of a torchvision ResNet of the model's depth.
    """
    backbone: StateDict = {}
    for name, tensor in state.items():
        child, _, rest = name.partition(".")
        if child != "fc":
            backbone[f"{TORCHVISION.get(child, child)}.{rest}"] = tensor
    stem = backbone.get("0.weight")
    if stem is not None and stem.ndim == 4 and stem.shape[1] == 3:
        backbone["0.weight"] = stem[:, torch.arange(model.config.channels) % 3].clone()
    for name, tensor in model.backbone.state_dict().items():
        if name.endswith("num_batches_tracked"):  # files from before 2018 have none, and it is unused
            backbone.setdefault(name, torch.zeros_like(tensor))
    check_tensors(path, model.backbone, backbone)
    model.backbone.load_state_dict(backbone)


def _choose_network(path: Path, state: StateDict, role: Role | None) -> tuple[StateDict, Role]:
    """Select the tensors of one network, and infer its role where none was given."""
    prefixes = sorted({prefix for known in PREFIXES.values() for prefix in known if _under(state, prefix)})
    if prefixes:
        if role is None:
            raise WeightsError(f"{path}: holds several networks ({', '.join(prefixes)}); state the role")
        for prefix in PREFIXES[role]:
            if chosen := _under(state, prefix):
                return chosen, role
        raise WeightsError(f"{path}: holds {', '.join(prefixes)}, nothing for the role {role}; choose another role")
    roles_by_tensor: dict[str, tuple[Role, ...]] = {
        "convs1.0.weight": ("anonymizer",),
        "linear_block.0.weight": ("target", "identity"),
        "dncnn.0.weight": ("denoiser",),
    }
    for name, roles in roles_by_tensor.items():
        if name in state:
            if role is not None and role not in roles:
                raise WeightsError(
                    f"{path}: holds a network for the role {' or '.join(roles)}, not {role}; choose its role"
                )
            return state, role or roles[0]
    raise WeightsError(
        f"{path}: not a state dict of AnonyNoise's code: it holds none of {', '.join(roles_by_tensor)}; choose another "
        "file"
    )


def _under(state: StateDict, prefix: str) -> StateDict:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _anonynoise_config(state: StateDict, channels: int, noise_std: float, output: str) -> dict[str, Any]:
    channels_in, channels_out = state["convs1.0.weight"].shape[1], len(state["convs3.2.weight"])
    if (channels_in, channels_out) not in {(a * channels, b * channels) for a in (1, 2) for b in (1, 2)}:
        channels = channels_in // 2  # not the stated number of bins; in the standard network this gives it
    return {
        "channels": channels,
        "noise_std": noise_std,
        "inputs": "histogram" if channels_in == channels else "histogram+noise",
        "output": "mean_std" if channels_out == 2 * channels else output,
    }


def _resnet_config(state: StateDict) -> dict[str, Any]:
    bottleneck = "backbone.4.0.conv3.weight" in state
    third_block = "backbone.4.2.conv1.weight" in state
    width, channels = state["backbone.0.weight"].shape[:2]
    return {
        "depth": 50 if bottleneck else 34 if third_block else 18,
        "channels": channels,
        "classes": len(state["classifier.0.weight"]),
        "embedding": len(state["linear_block.0.weight"]),
        "width": width,
    }
