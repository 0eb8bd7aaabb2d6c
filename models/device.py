"""Devices that run networks, and their precisions."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from eventveil.errors import ConfigError
from eventveil.models.folding import fold_batch_norms

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
HALVED = (2, 4, 8, 16, 32)  # columns that a ResNet's convolutions with stride 2 turn into a single one

Model = TypeVar("Model", bound=nn.Module)


def place(model: Model, device: torch.device, precision: str, size: tuple[int, int]) -> Model:
    """Return a copy of `model` on `device` in `precision` (fp32 or bf16), ready to run; the original is unchanged.

    Args:
        model: the network.
        device: where it will run.
        precision: fp32 or bf16.
        size: width and height of its windows, pixels.

    Raises:
        ConfigError: the precision is unknown, or the device cannot compute in it, or not for windows of this size.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"expected precision {' or '.join(PRECISIONS)}, got {precision!r}")
    if precision == "bf16" and not computes_bf16(device):
        raise ConfigError(
            f"precision bf16: {device} does not compute in bfloat16 (a CPU needs AVX512_BF16 or AMX); choose fp32"
        )
    if precision == "bf16" and any(_has_stride(module) for module in model.modules()):
        refuse_narrow(device, size)
    if device.type == "cuda":
        forbid_tf32()
    placed = fold_batch_norms(copy.deepcopy(model).eval()).to(device, PRECISIONS[precision])
    # Measured on an AVX-512 core: 1.1 times as fast for one window, 1.3 times for eight.
    return placed.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _has_stride(module: nn.Module) -> bool:
    return isinstance(module, nn.Conv2d) and max(module.stride) > 1


def forbid_tf32() -> None:
    """Let fp32 mean fp32 in this process, in pipeline and training alike, so that a GPU and a CPU agree.

    By default cuDNN rounds the inputs of float32 convolutions to 10 bits (TF32). For speed there is bf16.
    """
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def choose_device(name: str) -> torch.device:
    """Return a device by name: cpu, cuda, cuda:N, or auto, which is cuda where available.

    Raises:
        ConfigError: the name is unknown, or there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (":" in name and not (kind == "cuda" and number.isdecimal())):
        raise ConfigError(f"expected device cpu, cuda, cuda:N or auto, got {name!r}")
    if kind == "cpu":
        return torch.device("cpu")
    devices = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= devices:
        raise ConfigError(f"device {name}: PyTorch sees {devices} CUDA devices; choose another, cpu or auto")
    return torch.device(name)


def refuse_narrow(device: torch.device, size: tuple[int, int]) -> None:
    """Refuse bfloat16 on a CPU for windows of which a convolution with stride 2 makes a single column of several rows.

    In oneDNN 3.12 (PyTorch 2.13), that convolution reads memory that was never written (on AMX; from 2 rows for 32
    windows, from 8 for one). Such memory may hold anything. A ResNet halves windows five times, so windows of at most
    32 columns come to a single one; they are refused if several rows are left then.

    Raises:
        ConfigError: these are such windows.
    """
    width, height = size
    rows = next((rows for rows in HALVED if rows >= width), None)
    if device.type == "cpu" and rows is not None and height > rows:
        raise ConfigError(
            f"precision bf16: on a CPU, PyTorch computes wrong values from windows of {width}x{height} pixels; with "
            f"{width} columns, there may be at most {rows} rows: choose fp32"
        )


def precisions(device: torch.device) -> tuple[str, ...]:
    """Return the precisions that a device computes in; the first is fp32."""
    return tuple(name for name in PRECISIONS if name == "fp32" or computes_bf16(device))


def computes_bf16(device: torch.device) -> bool:
    """Return whether the hardware multiplies bfloat16; PyTorch would emulate it, slowly.

    That does not make it faster: an Intel processor with AVX512_BF16 but no AMX took 1.5 to 1.7 times as long as
    in float32.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
