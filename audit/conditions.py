"""Conditions away from the training data, under which a subject is attacked, too.

A network protects what is like its training data. A camera further away, in less light, or mounted askew shows other
windows. Each condition changes the windows before the anonymizer gets them.

Legend of axes: B windows, K bins of a window, C channels, R bins of recordings, H rows, W columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn import functional

from eventveil.audit.sources import Change
from eventveil.audit.subjects import Subject
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.noise import NoiseGenerator
from eventveil.training.data.windows import Windows

ROTATION_DEG = 30
FEWER = 0.1
OFF_GAIN, ON_GAIN = 1.5, 0.5
NOISE = 0.05  # events per pixel, bin and polarity


def fewer_events(x_BCHW: torch.Tensor, generator: NoiseGenerator) -> torch.Tensor:
    """Return a tenth of the counts, rounded up or down at random: a camera of low sensitivity."""
    return _whole(FEWER * x_BCHW, generator)


def half_size(x_BCHW: torch.Tensor, generator: NoiseGenerator) -> torch.Tensor:
    """Return the windows at half the size, in the middle: a camera at twice the distance."""
    height, width = x_BCHW.shape[2:]
    small = _whole(functional.avg_pool2d(x_BCHW, 2), generator)
    top, left = (height - small.shape[2]) // 2, (width - small.shape[3]) // 2
    return functional.pad(
        small, (left, width - small.shape[3] - left, top, height - small.shape[2] - top)
    )  # fmt: skip


def moved(x_BCHW: torch.Tensor, generator: NoiseGenerator) -> torch.Tensor:  # noqa: ARG001
    """Return the windows moved to the right by a quarter of their width: a person who stands aside."""
    by = x_BCHW.shape[3] // 4
    return functional.pad(x_BCHW, (by, 0))[..., : x_BCHW.shape[3]]


def rotated(x_BCHW: torch.Tensor, generator: NoiseGenerator) -> torch.Tensor:  # noqa: ARG001
    """Return the windows rotated by 30 degrees: a camera that is mounted askew."""
    height, width = x_BCHW.shape[2:]
    turn = math.radians(ROTATION_DEG)
    matrix = torch.tensor(
        [
            [math.cos(turn), -math.sin(turn) * height / width, 0.0],
            [math.sin(turn) * width / height, math.cos(turn), 0.0],
        ],
        device=x_BCHW.device,
    )
    grid = functional.affine_grid(matrix.expand(len(x_BCHW), 2, 3), list(x_BCHW.shape), align_corners=False)
    return functional.grid_sample(x_BCHW, grid, mode="nearest", align_corners=False)


def midway(x_BCHW: torch.Tensor, generator: NoiseGenerator) -> torch.Tensor:  # noqa: ARG001
    """Return windows whose first half of bins is empty, and whose second half is the first: a gesture just begun."""
    half = x_BCHW.shape[1] // 4 * 2  # whole bins, of two polarities each
    return functional.pad(x_BCHW[:, : x_BCHW.shape[1] - half], (0, 0, 0, 0, half, 0))


def other_sensor(x_BCHW: torch.Tensor, generator: NoiseGenerator) -> torch.Tensor:
    """Return the windows with half the ON events, one and a half times the OFF events, and noise in every pixel."""
    gain_C = torch.tensor([OFF_GAIN, ON_GAIN], device=x_BCHW.device).repeat(x_BCHW.shape[1] // 2)
    return _whole(gain_C[:, None, None] * x_BCHW + NOISE, generator)


@dataclass(frozen=True)
class TwoPeople:
    """A second person stands to the side: adds a moment of other people's recordings, moved, at random.

    Attributes:
        others: their recordings, in whole bins.
    """

    others: Windows

    def __call__(self, x_BCHW: torch.Tensor, generator: NoiseGenerator) -> torch.Tensor:
        """Return windows (B, 2K, H, W) with a moment in each, or successive bins (B, 2, H, W) with one in all."""
        bins = x_BCHW.shape[1] // 2
        count, length = (1, len(x_BCHW)) if bins == 1 else (len(x_BCHW), bins)
        rows_RCHW = self.others.rows
        uniform = _uniform(torch.Size((count,)), generator, x_BCHW.device).double().cpu().numpy()
        start = (uniform * len(rows_RCHW)).astype(np.int64)
        moments = np.asarray(rows_RCHW[(start[:, None] + np.arange(length)) % len(rows_RCHW)], np.float32)
        beside = torch.from_numpy(moments).to(x_BCHW.device).reshape(x_BCHW.shape)
        return x_BCHW + moved(beside, generator)


CONDITIONS: Mapping[str, Callable[[torch.Tensor, NoiseGenerator], torch.Tensor]] = {
    "fewer-events": fewer_events,
    "half-size": half_size,
    "moved": moved,
    "rotated": rotated,
    "midway": midway,
    "other-sensor": other_sensor,
}
TWO_PEOPLE = "two-people"
OF_WINDOWS = {"midway"}
"""Conditions that change windows alone. A stand-in sees a stream, in which gestures begin at any moment anyway."""


@dataclass(frozen=True)
class Conditioned:
    """An anonymizer that gets windows under a condition.

    Attributes:
        anonymizer: the anonymizer.
        change: of the windows.
    """

    anonymizer: AnonymizerNetwork
    change: Change

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Change the windows, and anonymize them."""
        return self.anonymizer.anonymize(self.change(x_BCHW, generator), generator)


def under(subject: Subject, condition: str, others: Windows | None = None) -> Subject:
    """Return a subject under a condition, with a name and a folder of its own.

    Args:
        subject: the subject.
        condition: one of `CONDITIONS`, or `TWO_PEOPLE`.
        others: recordings of the second person, in whole bins; for `TWO_PEOPLE`.
    """
    name = f"{subject.name}-{condition}"
    change: Change
    if condition == TWO_PEOPLE:
        assert others is not None
        change = TwoPeople(others)
    else:
        change = CONDITIONS[condition]
    if subject.source is not None:
        return replace(subject, name=name, source=subject.source.under(change))
    return replace(subject, name=name, anonymizer=Conditioned(subject.anonymizer, change))


def _whole(x_BCHW: torch.Tensor, generator: NoiseGenerator) -> torch.Tensor:
    """Round up or down at random, so that the mean stays."""
    return (x_BCHW + _uniform(x_BCHW.shape, generator, x_BCHW.device)).floor()


def _uniform(shape: torch.Size, generator: NoiseGenerator, device: torch.device) -> torch.Tensor:
    """Draw numbers from 0 to 1, not included."""
    return ((1 + torch.erf(generator.normal(shape, device) / math.sqrt(2))) / 2).clamp(max=1 - 2**-24)
