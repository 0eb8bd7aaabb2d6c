"""Measure what was left out of the GPU path, to decide with figures whether it is worth its complexity.

    python benchmarks/gpu_choices.py [--batch 8] [--device cuda]

AnonyNoise at 128x128, untrained (values do not affect the time), in each precision of the device. Median of 50 calls
(on a CPU, of two), after one that is not counted:

- the network alone, and with its inputs in channels-last order;
- with the channels of its first and last convolution padded to multiples of 8 by zeros (24 and 16, not 20 and 10);
- as a CUDA graph, which replays its kernels without starting each from Python;
- the copies to the device and back alone: all that double buffers and a stream for copies could hide.

`scripts/gpu-check` runs it. Without a GPU it measures the CPU, and skips the graph.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from machine import processor
from torch import nn
from torch.nn import functional

from eventveil.models.device import PRECISIONS, place, precisions
from eventveil.models.kinds import initialise
from eventveil.models.precision import made_up_windows
from eventveil.models.transfer import Transfer

CALLS = {"cuda": 50, "cpu": 2}  # on a CPU only to see that the script works
SHAPE = (5, 2, 128, 128)


def median_ms(call: Callable[[], object], device: torch.device) -> float:
    """Return the median time of a call, until the device has finished it."""
    seconds = []
    for number in range(CALLS[device.type] + 1):
        began_s = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number:
            seconds.append(time.perf_counter() - began_s)
    return 1e3 * statistics.median(seconds)


def padded(layer: nn.Conv2d, channels_in: int, channels_out: int) -> nn.Conv2d:
    """Return a convolution with more channels, whose additional weights are zero."""
    wide = nn.Conv2d(channels_in, channels_out, 3, padding=1).to(layer.weight.device, layer.weight.dtype)
    more_in, more_out = channels_in - layer.in_channels, channels_out - layer.out_channels
    wide.weight.data = functional.pad(layer.weight.data, (0, 0, 0, 0, 0, more_in, 0, more_out))
    wide.bias.data = functional.pad(layer.bias.data, (0, more_out))
    return wide.to(memory_format=torch.channels_last)


def graph_of(call: Callable[[], object]) -> Callable[[], object]:
    """Capture a call as a CUDA graph; return its replay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def measure(precision: str, batch: int, device: torch.device) -> dict[str, float]:
    """Return milliseconds by variant."""
    model = place(initialise("anonynoise", {"noise_std": 32.0}, seed=0), device, precision)
    layers = [layer for part in (model.convs1, model.convs2, model.convs3) for layer in part]
    wide = nn.Sequential(padded(layers[0], 24, 64), *layers[1:-1], padded(layers[-1], 64, 16))
    x = torch.rand(batch, 20, 128, 128, device=device).to(PRECISIONS[precision])
    last, wide_x = x.to(memory_format=torch.channels_last), functional.pad(x, (0, 0, 0, 0, 0, 4))
    wide_x = wide_x.to(memory_format=torch.channels_last)
    plain = nn.Sequential(*layers)
    calls: dict[str, Callable[[], object]] = {
        "network": lambda: plain(x),
        "channels last": lambda: plain(last),
        "padded": lambda: wide(wide_x),
    }
    with torch.inference_mode():
        expected = plain(last).float()
        difference = (wide(wide_x)[:, :10].float() - expected).abs().max() / expected.abs().max()
        assert difference < 0.02, f"padding changes the values: {difference:.3f}"
        if device.type == "cuda":
            calls["graph"] = graph_of(lambda: plain(last))
        return {name: median_ms(call, device) for name, call in calls.items()}


def measure_copies(batch: int, device: torch.device) -> dict[str, float]:
    """Return milliseconds of the copies alone."""
    transfer, counts = Transfer(device), list(made_up_windows(SHAPE, np.uint16, batch))
    values = torch.zeros(batch, 10, 128, 128, device=device)
    return {
        "up": median_ms(lambda: transfer.up(counts), device),
        "down": median_ms(lambda: transfer.down(values), device),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor()} (no CUDA device)"
    print(f"{name}, torch {torch.__version__}, batch {options.batch}; milliseconds, median of {CALLS[device.type]}")
    rows = {precision: measure(precision, options.batch, device) for precision in precisions(device)}
    for label, figures in (rows | {"copies": measure_copies(options.batch, device)}).items():
        print(f"{label:8}", "  ".join(f"{name} {figure:.3f}" for name, figure in figures.items()))


if __name__ == "__main__":
    main()
