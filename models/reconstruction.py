"""FireNet: an attacker that reconstructs pictures from voxel grids.

It is not part of the pipeline and never saved in a weights file of eventveil: anonymizers are trained against it and
tested with it, frozen. The user supplies its weights. Resisting it does not prove resisting larger networks of its
family, such as E2VID.

Source: Scheerlinck et al., Fast Image Reconstruction with an Event Camera, WACV 2020; layers and state-dict keys
(`net.head` ...) as in the published weights, so that they load unchanged.
Legend of axes: B recordings side by side, C bins of the voxel grid, H rows, W columns, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from eventveil.errors import WeightsError
from eventveil.models.autoencoder import normalise_nonzero
from eventveil.models.e2vid import E2VID, build_e2vid, is_e2vid
from eventveil.models.published import read_pickle
from eventveil.models.weights import check_tensors

BINS = 5
FEATURES = 16


class RecurrentState(NamedTuple):
    """The state after earlier windows: float32 (B, F, H, W) for each of the two recurrent blocks."""

    head: torch.Tensor
    residual: torch.Tensor


class Reconstructed(NamedTuple):
    """A picture, float32 (B, 1, H, W), dark about 0 and bright about 1; and the state for the next window."""

    picture: torch.Tensor
    state: RecurrentState


class FireNet(nn.Module):
    """Two recurrent blocks and a residual one, 16 features each, all at full resolution: 37,777 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.net = _Network()

    def forward(self, x_BCHW: torch.Tensor, state: RecurrentState | None = None) -> Reconstructed:
        """Reconstruct pictures from normalised voxel grids, float32 (B, 5, H, W).

        Args:
            x_BCHW: one window per recording.
            state: the state returned for the previous windows; None for the first.

        Raises:
            ValueError: the shape differs from this.
        """
        if x_BCHW.ndim != 4 or x_BCHW.shape[1] != BINS:
            raise ValueError(f"expected (B, {BINS}, H, W), got {tuple(x_BCHW.shape)}")
        if state is None:
            zeros_BFHW = x_BCHW.new_zeros((len(x_BCHW), FEATURES, *x_BCHW.shape[2:]))
            state = RecurrentState(zeros_BFHW, zeros_BFHW)
        head = self.net.head(x_BCHW, state.head)
        residual = self.net.resblocks[0](head, state.residual)
        picture = self.net.pred(self.net.resblocks[1](residual))
        return Reconstructed(picture, RecurrentState(head, residual))

    def reconstruct(self, x_BCHW: torch.Tensor, state: RecurrentState | None = None) -> Reconstructed:
        """Normalise voxel grids as in the network's training, and reconstruct pictures from them."""
        return self(normalise_nonzero(x_BCHW), state)  # type: ignore[no-any-return]


def load_firenet(path: Path | str) -> FireNet:
    """Load the published weights: frozen, in eval mode, on the CPU. Gradients still flow to the input.

    Args:
        path: the checkpoint as published (`firenet_1000.pth.tar`), or its state dict alone.

    Raises:
        WeightsError: the file is missing, holds code, or is of another network.
    """
    path = Path(path)
    return _firenet(path, _state_of(path))


def load_reconstructor(path: Path) -> FireNet | E2VID:
    """Load FireNet or E2VID, whichever the file holds, as `load_firenet` does; each finds its layers by their names.

    Raises:
        WeightsError: the file is missing, holds code, or is of another network.
    """
    state = _state_of(path)
    return build_e2vid(path, state) if is_e2vid(state) else _firenet(path, state)


def _state_of(path: Path) -> dict[str, torch.Tensor]:
    content = read_pickle(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in state.values()):
        raise WeightsError(
            f"{path}: expected the checkpoint of FireNet or E2VID, got other content; fetch firenet_1000.pth.tar"
        )
    return {str(name): tensor for name, tensor in state.items()}


def _firenet(path: Path, state: dict[str, torch.Tensor]) -> FireNet:
    model = FireNet()
    check_tensors(path, model, state)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


class _Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = _RecurrentBlock(_Convolution(BINS, FEATURES, 3, nn.ReLU()))
        self.resblocks = nn.ModuleList([_RecurrentBlock(_ResidualBlock()), _ResidualBlock()])
        self.pred = _Convolution(FEATURES, 1, 1, nn.Identity())


class _Convolution(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, kernel: int, activation: nn.Module) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)
        self.activation = activation

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return self.activation(self.conv2d(x_BCHW))  # type: ignore[no-any-return]


class _ResidualBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(FEATURES, FEATURES, 3, padding=1)
        self.conv2 = nn.Conv2d(FEATURES, FEATURES, 3, padding=1)

    def forward(self, x_BFHW: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv2(torch.relu(self.conv1(x_BFHW))) + x_BFHW)


class _RecurrentBlock(nn.Module):
    """A block followed by a gated recurrent unit, whose state is also its output."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.conv = block
        self.recurrent_block = _GatedUnit()

    def forward(self, x_BCHW: torch.Tensor, state_BFHW: torch.Tensor) -> torch.Tensor:
        return self.recurrent_block(self.conv(x_BCHW), state_BFHW)  # type: ignore[no-any-return]


class _GatedUnit(nn.Module):
    """A gated recurrent unit of 3x3 convolutions (Ballas et al., ICLR 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.reset_gate = nn.Conv2d(2 * FEATURES, FEATURES, 3, padding=1)
        self.update_gate = nn.Conv2d(2 * FEATURES, FEATURES, 3, padding=1)
        self.out_gate = nn.Conv2d(2 * FEATURES, FEATURES, 3, padding=1)

    def forward(self, x_BFHW: torch.Tensor, state_BFHW: torch.Tensor) -> torch.Tensor:
        both = torch.cat((x_BFHW, state_BFHW), dim=1)
        update, reset = torch.sigmoid(self.update_gate(both)), torch.sigmoid(self.reset_gate(both))
        proposed = torch.tanh(self.out_gate(torch.cat((x_BFHW, reset * state_BFHW), dim=1)))
        return (1 - update) * state_BFHW + update * proposed
