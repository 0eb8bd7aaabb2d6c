"""Devices and precisions of the runtime."""

from __future__ import annotations

import contextlib
import itertools
import re

import numpy as np
import pytest
import torch
from model_helpers import anonymizer_weights, classifier_weights, windows

from eventveil.errors import ConfigError
from eventveil.models import device as devices
from eventveil.models import precision
from eventveil.models.noise import SeededNoise
from eventveil.models.runtime import Anonymizer, Classifier

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps", "", "auto:0"])
def test_unknown_devices_are_refused(name):
    with pytest.raises(ConfigError, match=f"got '{re.escape(name)}'"):
        Anonymizer(anonymizer_weights(), device=name)


def test_missing_devices_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Anonymizer(anonymizer_weights()).device == CPU
    for name in ("cuda", "cuda:0", "cuda:7"):
        with pytest.raises(ConfigError, match=f"device {name}: PyTorch sees 0"):
            Anonymizer(anonymizer_weights(), device=name)


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert devices.choose_device("auto") == torch.device("cuda")
    assert devices.choose_device("cuda:1") == torch.device("cuda:1")
    assert devices.choose_device("cpu") == CPU
    with pytest.raises(ConfigError, match="sees 2"):
        devices.choose_device("cuda:2")


def test_bf16_is_refused_where_the_cpu_has_none(monkeypatch):
    monkeypatch.setattr(devices, "computes_bf16", lambda device: False)
    with pytest.raises(ConfigError, match="AVX512_BF16"):
        Anonymizer(anonymizer_weights(), device="cpu", precision="bf16")
    with pytest.raises(ConfigError, match="expected precision fp32 or bf16, got 'fp16'"):
        Classifier(classifier_weights(), device="cpu", precision="fp16")


@pytest.mark.parametrize(
    ("size", "refused"),
    [
        ((32, 64), True), ((32, 33), True), ((20, 48), True), ((8, 9), True), ((1, 3), True),
        ((32, 32), False), ((33, 256), False), ((17, 32), False), ((128, 128), False), ((8, 8), False),
    ],
)  # fmt: skip
def test_bf16_is_refused_where_values_would_be_memory_never_written(monkeypatch, size, refused):
    monkeypatch.setattr(devices, "computes_bf16", lambda device: True)
    strided = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3, stride=2, padding=1))
    if refused:
        with pytest.raises(ConfigError, match=f"windows of {size[0]}x{size[1]} pixels"):
            devices.place(strided, CPU, "bf16", size)
    else:
        devices.place(strided, CPU, "bf16", size)
    devices.place(strided, CPU, "fp32", size)
    devices.place(torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3)), CPU, "bf16", size)  # nothing is halved


def test_every_size_of_window_that_is_not_refused_is_computed_in_bf16():
    """With memory full of large numbers, what a convolution should not have read would show."""
    if not devices.computes_bf16(CPU):
        pytest.skip("this CPU does not compute in bfloat16")
    for width, height in itertools.product((1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33), repeat=2):
        with contextlib.suppress(ConfigError):
            devices.refuse_narrow(CPU, (width, height))
            x = torch.randn(32, 32, height, width)
            for _ in range(5):
                layer = torch.nn.Conv2d(32, 32, 3, stride=2, padding=1)
                junk = [torch.full((length,), 3e37) for length in (30, 100, 300, 1_000, 3_000, 10_000, 100_000)]
                del junk
                with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
                    half = layer(x).float()
                exact = layer(x).detach()
                assert (half - exact).abs().max() < 0.05 * exact.abs().max(), (width, height)
                x = exact


def test_auto_is_fp32_where_bf16_is_refused(monkeypatch):
    monkeypatch.setattr(precision, "precisions", lambda device: ("fp32", "bf16"))
    made = []

    def make(name):
        made.append(name)
        if name == "bf16":
            raise ConfigError("too narrow")
        return Classifier(classifier_weights(), device="cpu", precision=name)

    assert precision.start(make, "auto", batch=1, stage="classify")[1] == "cpu, fp32"
    assert made == ["fp32", "bf16"]


def test_bf16_is_close_to_fp32():
    if not devices.computes_bf16(CPU):
        pytest.skip("this CPU does not compute in bfloat16")
    counts, weights = windows(2), anonymizer_weights()
    full, half = (
        Anonymizer(weights, device="cpu", precision=precision, noise=SeededNoise(4))(counts)
        for precision in ("fp32", "bf16")
    )
    assert half.dtype == np.float32
    assert 0 < np.abs(full - half).max() < 1e-2 * np.abs(full).max()
    scores = [Classifier(classifier_weights(), device="cpu", precision=p)(full) for p in ("fp32", "bf16")]
    np.testing.assert_allclose(*scores, atol=0.05)
    assert next(weights.model.parameters()).dtype == torch.float32
