"""Judges of realism: networks that others trained on real people, asked which gesture they see.

A judge needs a name and a method `classify`. To add one, write a class with both in a file of your own, and name it as
`--judge FILE.py:CLASS` of `benchmarks/realism.py`; it is made without arguments.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.nn import functional

from eventveil.events import EventPacket

SIDE = 128  # pixels: the judges' sensor is a DVS128
FRAME_US = 10_000
THRESHOLD, FLOOR = 1.0, -1.0


class Judge(Protocol):
    """Recognises the gesture of one trial.

    Attributes:
        name: for the title of its column.
    """

    name: str

    def classify(self, trial: EventPacket) -> int:
        """Return the index in `GESTURES` of the gesture in a trial of 128x128 pixels, its times from 0."""
        ...


class SinabsJudge:
    """The spiking network of synsense/sinabs, trained on the real DVS128 Gesture set.

    It sees frames of 10 ms. Its neurons integrate and fire: threshold 1, never below -1, each spike subtracts 1. The
    class whose neuron fires most often wins; no spike at all counts as "other gestures".

    Raises:
        FileNotFoundError: `EVENTVEIL_REAL_DATA` does not name a folder with `weights/sinabs_dvs_gesture_params.pt`.

    Source of the network: https://github.com/synsense/sinabs, Apache-2.0.
    """

    name = "sinabs"

    def __init__(self) -> None:
        path = Path(os.environ.get("EVENTVEIL_REAL_DATA", "")) / "weights" / "sinabs_dvs_gesture_params.pt"
        if not path.is_file():
            raise FileNotFoundError(f"no {path}: EVENTVEIL_REAL_DATA names the folder that holds weights/")
        weights = torch.load(path, map_location="cpu", weights_only=True)
        self._weights = [weights[key] for key in sorted(weights, key=lambda key: int(key.partition(".")[0]))]

    @torch.inference_mode()
    def classify(self, trial: EventPacket) -> int:
        """Return the class whose output neuron fires most often in the trial."""
        first, *middle, last = self._weights[:7]
        values = _integrate_and_fire(functional.conv2d(_frames(trial), first, stride=2))
        for weight in middle:
            values = functional.avg_pool2d(_integrate_and_fire(functional.conv2d(values, weight, padding=1)), 2)
        values = _integrate_and_fire(functional.conv2d(values, last)).flatten(1)
        for weight in self._weights[7:]:
            values = _integrate_and_fire(functional.linear(values, weight))
        spikes = values.sum(0)
        return int(spikes.argmax()) if spikes.any() else len(spikes) - 1


def _frames(trial: EventPacket) -> torch.Tensor:
    """Count the events: float32 (frames, 2, 128, 128), channel 0 OFF and 1 ON."""
    shape = (int(trial.t[-1]) // FRAME_US + 1 if len(trial) else 1, 2, SIDE, SIDE)
    place = np.ravel_multi_index((trial.t // FRAME_US, trial.p.astype(np.int64), trial.y, trial.x), shape)
    return torch.from_numpy(np.bincount(place, minlength=int(np.prod(shape))).reshape(shape)).float()


def _integrate_and_fire(currents: torch.Tensor) -> torch.Tensor:
    """Return the number of spikes of each neuron in each frame; the first axis is that of the frames."""
    voltage, spikes = torch.zeros_like(currents[0]), torch.empty_like(currents)
    for current, fired in zip(currents, spikes, strict=True):
        voltage += current
        torch.floor(voltage / THRESHOLD, out=fired).clamp_(min=0)
        voltage.sub_(fired, alpha=THRESHOLD).clamp_(min=FLOOR)
    return spikes
