"""Slow twins of the networks: one number at a time, or in NumPy, without PyTorch's layers."""

from __future__ import annotations

import numpy as np
import torch


def conv3x3(x_CHW, weight_OCKK, bias_O):
    """A 3x3 convolution, stride 1, zero padding, as nine shifted sums in float64."""
    channels, height, width = x_CHW.shape
    padded = np.zeros((channels, height + 2, width + 2))
    padded[:, 1:-1, 1:-1] = x_CHW
    out = np.zeros((len(weight_OCKK), height, width)) + np.asarray(bias_O, np.float64)[:, None, None]
    for row in range(3):
        for column in range(3):
            patch = padded[:, row : row + height, column : column + width]
            out += np.tensordot(np.asarray(weight_OCKK, np.float64)[:, :, row, column], patch, axes=1)
    return out


def anonynoise(state, x_CHW, noise_CHW, *, inputs, output):
    """The method as in the paper, from a state dict."""
    y = np.concatenate((x_CHW, noise_CHW)) if inputs == "histogram+noise" else x_CHW
    layers = ("convs1.0", "convs1.2", "convs2.0", "convs2.2", "convs3.0", "convs3.2")
    for layer in layers:
        y = conv3x3(y, state[f"{layer}.weight"].numpy(), state[f"{layer}.bias"].numpy())
        if layer != layers[-1]:
            y = np.maximum(y, 0)
    if output == "mean_std":
        half = len(x_CHW)
        return x_CHW + y[:half] + y[half:] * noise_CHW
    return {"x+f*n": x_CHW + y * noise_CHW, "x+f": x_CHW + y, "f": y}[output]


def denoised(state, x_CHW):
    """The denoiser in eval mode: convolutions at every third place from 2 on, batch norm after all but the ends."""
    y = np.maximum(conv3x3(x_CHW, state["dncnn.0.weight"].numpy(), state["dncnn.0.bias"].numpy()), 0)
    for place in range(2, 41, 3):
        y = conv3x3(y, state[f"dncnn.{place}.weight"].numpy(), state[f"dncnn.{place}.bias"].numpy())
        norm = {
            part: state[f"dncnn.{place + 1}.{part}"].double().numpy()[:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        }
        y = (y - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5) * norm["weight"] + norm["bias"]
        y = np.maximum(y, 0)
    return conv3x3(y, state["dncnn.41.weight"].numpy(), state["dncnn.41.bias"].numpy())


def normalised(x_CHW):
    """Non-zero values to mean 0 and standard deviation 1, value by value."""
    values = [float(v) for v in np.ravel(x_CHW) if v != 0]
    mean = sum(values) / len(values) if values else 0.0
    std = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5 if values else 0.0
    return np.array([0.0 if v == 0 else (float(v) - mean) / (std or 1.0) for v in np.ravel(x_CHW)]).reshape(x_CHW.shape)


# The structure of torchvision's ResNets, from the architecture's description (He et al., table 1):
# blocks per layer, convolutions per block, and how many times wider than its layer a block's output is.
RESNETS = {18: ((2, 2, 2, 2), 2, 1), 34: ((3, 4, 6, 3), 2, 1), 50: ((3, 4, 6, 3), 3, 4)}


def torchvision_state(depth, *, seed=0, counters=True):
    """A state dict with the keys and shapes of torchvision's `resnet{depth}`, filled with noise."""
    generator = torch.Generator().manual_seed(seed)
    blocks, convs, expansion = RESNETS[depth]
    state = {}

    def conv(name, out, into, kernel):
        state[f"{name}.weight"] = torch.randn(out, into, kernel, kernel, generator=generator) * 0.05

    def norm(name, channels):
        for part in ("weight", "bias", "running_mean"):
            state[f"{name}.{part}"] = torch.randn(channels, generator=generator)
        state[f"{name}.running_var"] = torch.rand(channels, generator=generator) + 0.5
        if counters:
            state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv("conv1", 64, 3, 7)
    norm("bn1", 64)
    into = 64
    for layer, count in enumerate(blocks):
        inner = 64 * 2**layer
        for block in range(count):
            name = f"layer{layer + 1}.{block}"
            sizes = [(inner, into, 3), (inner, inner, 3)]
            if convs == 3:
                sizes = [(inner, into, 1), (inner, inner, 3), (inner * expansion, inner, 1)]
            for index, (out, channels, kernel) in enumerate(sizes, start=1):
                conv(f"{name}.conv{index}", out, channels, kernel)
                norm(f"{name}.bn{index}", out)
            if block == 0 and (layer > 0 or into != inner * expansion):
                conv(f"{name}.downsample.0", inner * expansion, into, 1)
                norm(f"{name}.downsample.1", inner * expansion)
            into = inner * expansion
    state["fc.weight"] = torch.randn(1000, into, generator=generator)
    state["fc.bias"] = torch.randn(1000, generator=generator)
    return state


def resnet_pooled(state, x_BCHW, depth, channels_of=lambda stem: stem, last_stride=2):
    """The pooled features of torchvision's ResNet, with plain PyTorch functions, from its state dict."""
    functional = torch.nn.functional

    def conv(x, name, stride=1, padding=0):
        weight = state[f"{name}.weight"]
        return functional.conv2d(x, channels_of(weight) if name == "conv1" else weight, stride=stride, padding=padding)

    def norm(x, name):
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        scaled = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    blocks, convs, _ = RESNETS[depth]
    x = norm(conv(x_BCHW, "conv1", stride=2, padding=3), "bn1").clamp(min=0)
    x = functional.max_pool2d(x, 3, stride=2, padding=1)
    for layer, count in enumerate(blocks):
        for block in range(count):
            name = f"layer{layer + 1}.{block}"
            stride = (1, 2, 2, last_stride)[layer] if block == 0 else 1
            if convs == 2:
                y = norm(conv(x, f"{name}.conv1", stride, 1), f"{name}.bn1").clamp(min=0)
                y = norm(conv(y, f"{name}.conv2", 1, 1), f"{name}.bn2")
            else:
                y = norm(conv(x, f"{name}.conv1"), f"{name}.bn1").clamp(min=0)
                y = norm(conv(y, f"{name}.conv2", stride, 1), f"{name}.bn2").clamp(min=0)
                y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            if f"{name}.downsample.0.weight" in state:
                x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = (x + y).clamp(min=0)
    return x.mean((2, 3))


def classified(state, x_BCHW, depth):
    """Embedding and logits of a published classifier in eval mode, from its state dict."""
    children = {0: "conv1", 1: "bn1", 4: "layer1", 5: "layer2", 6: "layer3", 7: "layer4"}
    named = {}
    for name, tensor in state.items():
        if name.startswith("backbone."):
            _, child, rest = name.split(".", 2)
            named[f"{children[int(child)]}.{rest}"] = tensor
    pooled = resnet_pooled(named, x_BCHW, depth)
    y = pooled @ state["linear_block.0.weight"].T + state["linear_block.0.bias"]
    y = (y - state["linear_block.1.running_mean"]) / (state["linear_block.1.running_var"] + 1e-5).sqrt()
    y = y * state["linear_block.1.weight"] + state["linear_block.1.bias"]
    embedding = torch.where(y > 0, y, 0.5 * y)
    return embedding, embedding @ state["classifier.0.weight"].T + state["classifier.0.bias"]
