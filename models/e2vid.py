"""E2VID: the network that reconstructs pictures from voxel grids, against which the Event-ReId method was trained.

Like FireNet, it is an attacker: not part of the pipeline, never saved in a weights file, and its weights are the user's
(`E2VID_lightweight.pth.tar`). What a checkpoint holds is read off the shapes of its tensors, so that every public one
fits: recurrent, with 2 or more encoders, batch norm or none, upsampling or transposed convolutions, sums or
concatenations as skip connections, ConvLSTM or ConvGRU.

Source: Rebecq et al., High Speed and High Dynamic Range Video with an Event Camera, TPAMI 2019; layers and state-dict
keys (`unetrecurrent.head` ...) as in the code published with it.
Legend of axes: B recordings side by side, C bins of the voxel grid, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from eventveil.errors import WeightsError
from eventveil.models.autoencoder import normalise_nonzero
from eventveil.models.weights import check_tensors

PREFIX = "unetrecurrent."
Memory = tuple[torch.Tensor, torch.Tensor]
"""Hidden state and cell of one encoder; of a gated unit, the hidden state twice."""


@dataclass(frozen=True, slots=True)
class E2VIDConfig:
    """The layers of a checkpoint; the defaults are those of the lightweight one.

    Attributes:
        bins: C.
        base: channels of the first layer; each encoder doubles them.
        encoders: number of encoders, each with stride 2 and a memory.
        residuals: number of residual blocks.
        norm: whether convolutions are followed by batch norm.
        upsample: bilinear upsampling before each decoder; false: transposed convolutions.
        concatenate: skip connections concatenate; false: they add.
        lstm: memories are ConvLSTM; false: ConvGRU.
    """

    bins: int = 5
    base: int = 32
    encoders: int = 3
    residuals: int = 2
    norm: bool = True
    upsample: bool = True
    concatenate: bool = False
    lstm: bool = True


@dataclass(frozen=True, slots=True)
class Video:
    """A picture (B, 1, H, W), dark 0 to bright 1, and the memories for the next window."""

    picture: torch.Tensor
    memories: tuple[Memory, ...]


class E2VID(nn.Module):
    """A recurrent U-Net: 10.7 million parameters in the lightweight checkpoint.

    Args:
        config: its layers; None for the lightweight checkpoint.
    """

    def __init__(self, config: E2VIDConfig | None = None) -> None:
        super().__init__()
        self.config = config or E2VIDConfig()
        self.unetrecurrent = _UNet(self.config)

    def forward(self, x_BCHW: torch.Tensor, memories: tuple[Memory, ...] | None = None) -> Video:
        """Reconstruct pictures from normalised voxel grids, float32 (B, C, H, W).

        Grids are padded by reflection to a multiple of 2 for each encoder, and pictures are cut to the size of grids.

        Args:
            x_BCHW: one window per recording.
            memories: those returned for the previous windows; None for the first.

        Raises:
            ValueError: the shape differs from this.
        """
        if x_BCHW.ndim != 4 or x_BCHW.shape[1] != self.config.bins:
            raise ValueError(f"expected (B, {self.config.bins}, H, W), got {tuple(x_BCHW.shape)}")
        height, width = x_BCHW.shape[2:]
        step = 2**self.config.encoders
        missing_y, missing_x = -height % step, -width % step
        top, left = (missing_y + 1) // 2, (missing_x + 1) // 2
        padding = (left, missing_x - left, top, missing_y - top)
        padded = functional.pad(x_BCHW, padding, mode="reflect") if any(padding) else x_BCHW
        picture, memories = self.unetrecurrent(padded, memories)
        return Video(picture[:, :, top : top + height, left : left + width], memories)

    def reconstruct(self, x_BCHW: torch.Tensor, memories: tuple[Memory, ...] | None = None) -> Video:
        """Normalise voxel grids as in the network's training, and reconstruct pictures from them."""
        return self(normalise_nonzero(x_BCHW), memories)  # type: ignore[no-any-return]


def is_e2vid(state: Mapping[str, torch.Tensor]) -> bool:
    """Return whether a state dict is one of E2VID."""
    return any(name.startswith(PREFIX) for name in state)


def build_e2vid(path: Path, state: Mapping[str, torch.Tensor]) -> E2VID:
    """Build the network of a checkpoint's state dict: frozen, in eval mode. Gradients still flow to the input.

    Args:
        path: the file, for messages.
        state: tensors by name.

    Raises:
        WeightsError: the state dict is of another network.
    """
    try:
        config = _config_of({name.removeprefix(PREFIX): tensor for name, tensor in state.items()})
    except (KeyError, IndexError, ValueError) as error:
        raise WeightsError(f"{path}: expected a checkpoint of E2VID, got other layers ({error})") from error
    model = E2VID(config)
    tensors = dict(state)
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):  # unused
            tensors.setdefault(name, torch.zeros_like(tensor))
    check_tensors(path, model, tensors)
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False)


def _config_of(state: Mapping[str, torch.Tensor]) -> E2VIDConfig:
    def count(group: str) -> int:
        return len({name.split(".")[1] for name in state if name.startswith(f"{group}.")})

    base, bins = state["head.conv2d.weight"].shape[:2]
    encoders = count("encoders")
    upsample = "decoders.0.conv2d.weight" in state
    into = state["decoders.0.conv2d.weight"].shape[1] if upsample else len(state["decoders.0.transposed_conv2d.weight"])
    return E2VIDConfig(
        bins=bins,
        base=base,
        encoders=encoders,
        residuals=count("resblocks"),
        norm="encoders.0.conv.norm_layer.weight" in state,
        upsample=upsample,
        concatenate=into == 2 * base * 2**encoders,
        lstm="encoders.0.recurrent_block.Gates.weight" in state,
    )


class _UNet(nn.Module):
    def __init__(self, config: E2VIDConfig) -> None:
        super().__init__()
        self._concatenate = config.concatenate
        widths = [config.base * 2**level for level in range(config.encoders + 1)]
        skip = 2 if config.concatenate else 1
        self.head = _Convolution(config.bins, config.base, 5, norm=False)
        self.encoders = nn.ModuleList(
            _Encoder(into, out, norm=config.norm, lstm=config.lstm) for into, out in pairwise(widths)
        )
        self.resblocks = nn.ModuleList(_Residual(widths[-1], norm=config.norm) for _ in range(config.residuals))
        decoder = _Upsampling if config.upsample else _Transposed
        self.decoders = nn.ModuleList(
            decoder(skip * width, width // 2, norm=config.norm) for width in reversed(widths[1:])
        )
        self.pred = _Convolution(skip * config.base, 1, 1, norm=config.norm, relu=False)

    def forward(
        self, x_BCHW: torch.Tensor, memories: tuple[Memory, ...] | None
    ) -> tuple[torch.Tensor, tuple[Memory, ...]]:
        x = head = self.head(x_BCHW)
        blocks, kept = [], []
        for number, encoder in enumerate(self.encoders):
            memory = encoder(x, None if memories is None else memories[number])
            x = memory[0]
            blocks.append(x)
            kept.append(memory)
        for block in self.resblocks:
            x = block(x)
        for decoder, skip in zip(self.decoders, reversed(blocks), strict=True):
            x = decoder(self._joined(x, skip))
        return torch.sigmoid(self.pred(self._joined(x, head))), tuple(kept)

    def _joined(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, skip), 1) if self._concatenate else x + skip


class _Convolution(nn.Module):
    def __init__(self, into: int, out: int, kernel: int, *, stride: int = 1, norm: bool, relu: bool = True) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(into, out, kernel, stride, kernel // 2, bias=not norm)
        if norm:
            self.norm_layer = nn.BatchNorm2d(out)
        self._relu = relu

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return _finished(self, self.conv2d(x_BCHW), relu=self._relu)


class _Upsampling(_Convolution):
    def __init__(self, into: int, out: int, *, norm: bool) -> None:
        super().__init__(into, out, 5, norm=norm)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return super().forward(functional.interpolate(x_BCHW, scale_factor=2, mode="bilinear", align_corners=False))


class _Transposed(nn.Module):
    def __init__(self, into: int, out: int, *, norm: bool) -> None:
        super().__init__()
        self.transposed_conv2d = nn.ConvTranspose2d(into, out, 5, 2, 2, output_padding=1, bias=not norm)
        if norm:
            self.norm_layer = nn.BatchNorm2d(out)

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        return _finished(self, self.transposed_conv2d(x_BCHW), relu=True)


def _finished(module: nn.Module, x_BCHW: torch.Tensor, *, relu: bool) -> torch.Tensor:
    norm = getattr(module, "norm_layer", None)
    x_BCHW = x_BCHW if norm is None else norm(x_BCHW)
    return torch.relu(x_BCHW) if relu else x_BCHW


class _Encoder(nn.Module):
    """A convolution of stride 2, followed by a memory, whose hidden state is also the output."""

    def __init__(self, into: int, out: int, *, norm: bool, lstm: bool) -> None:
        super().__init__()
        self.conv = _Convolution(into, out, 5, stride=2, norm=norm)
        self.recurrent_block = _LongMemory(out) if lstm else _GatedUnit(out)

    def forward(self, x_BCHW: torch.Tensor, memory: Memory | None) -> Memory:
        x = self.conv(x_BCHW)
        memory = (torch.zeros_like(x), torch.zeros_like(x)) if memory is None else memory
        return self.recurrent_block(x, memory)  # type: ignore[no-any-return]


class _LongMemory(nn.Module):
    """A ConvLSTM (Shi et al., NeurIPS 2015) of 3x3 convolutions, without peepholes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.Gates = nn.Conv2d(2 * channels, 4 * channels, 3, padding=1)

    def forward(self, x: torch.Tensor, memory: Memory) -> Memory:
        hidden, cell = memory
        add, keep, show, new = self.Gates(torch.cat((x, hidden), 1)).chunk(4, 1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(add) * torch.tanh(new)
        return torch.sigmoid(show) * torch.tanh(cell), cell


class _GatedUnit(nn.Module):
    """A gated recurrent unit (Ballas et al., ICLR 2016) of 3x3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reset_gate, self.update_gate, self.out_gate = (
            nn.Conv2d(2 * channels, channels, 3, padding=1) for _ in range(3)
        )

    def forward(self, x: torch.Tensor, memory: Memory) -> Memory:
        hidden, _ = memory
        both = torch.cat((x, hidden), 1)
        update, reset = torch.sigmoid(self.update_gate(both)), torch.sigmoid(self.reset_gate(both))
        new = torch.tanh(self.out_gate(torch.cat((x, hidden * reset), 1)))
        hidden = hidden * (1 - update) + new * update
        return hidden, hidden


class _Residual(nn.Module):
    def __init__(self, channels: int, *, norm: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
        self.bn1, self.bn2 = (nn.BatchNorm2d(channels) if norm else nn.Identity() for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
