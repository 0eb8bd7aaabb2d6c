"""Devices and precisions of the runtime."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from model_helpers import anonymizer_weights, classifier_weights, windows

from eventveil.errors import ConfigError
from eventveil.models import device as devices
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
