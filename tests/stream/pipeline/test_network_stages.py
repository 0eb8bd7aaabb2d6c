"""The precision of a pipeline's networks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eventveil.models import device as devices
from eventveil.stream.pipeline.network_stages import _started
from eventveil.stream.settings.models import AnonymizeSettings


class Better:
    """A runtime that is exact in every precision, and a thousand times as fast in bf16."""

    def __init__(self, *, device, precision):
        self.device, self.precision = torch.device(device), precision

    def warm_up(self, batch=1):
        pass

    def rehearsal(self, batch):
        size = 600 if self.precision == "fp32" else 1
        return lambda: np.linalg.inv(np.eye(size) + 1)[:1, :1].astype(np.float32) * 0 + batch


@pytest.mark.parametrize(
    ("certified", "precision", "expected"),
    [(False, "auto", "bf16"), (True, "auto", "fp32"), (True, "bf16", "bf16"), (False, "fp32", "fp32")],
)
def test_auto_keeps_certified_weights_in_fp32(monkeypatch, certified, precision, expected):
    """A certificate is about what the audit saw; another precision is chosen by the owner, never by a stopwatch."""
    monkeypatch.setattr(devices, "computes_bf16", lambda device: True)
    settings = AnonymizeSettings(device="cpu", precision=precision)
    stage = SimpleNamespace(
        name="anonymize",
        report=SimpleNamespace(runs_on=None),
        plan=SimpleNamespace(settings=SimpleNamespace(anonymize=settings)),
    )
    assert _started(stage, Better, settings, certified=certified).precision == expected
    assert stage.report.runs_on == f"cpu, {expected}"
