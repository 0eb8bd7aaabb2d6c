"""Reconstructs pictures from voxel grids, and measures how much of them survives anonymization.

Legend of axes: B windows of a batch, N windows, C bins of a voxel grid, H rows, W columns; pictures have one channel.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.noise import NoiseGenerator
from eventveil.models.reconstruction import load_reconstructor
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.evaluation.evaluation import EVALUATION_BATCH, EvaluationSet
from eventveil.training.networks.baselines import Unchanged
from eventveil.training.objectives.ssim import psnr, ssim

MAX_PSNR_DB = 100.0  # stands for the infinite PSNR of equal pictures
CHANNELS = 3  # channels of the pictures that networks get
Picture = Callable[[torch.Tensor], torch.Tensor]
"""Reconstructs pictures (B, 1, H, W), dark 0 and bright 1, from windows (B, C, H, W)."""


def picture_maker(path: Path, device: torch.device) -> Picture:
    """Load FireNet or E2VID, frozen.

    It gets windows unchanged: raw voxel grids are normalised when they are cut, and anonymized ones have the range that
    the anonymizer gives them, as in the code of Ahmad et al., ICCV 2023.

    Raises:
        WeightsError: the file is missing, or holds another network.
    """
    network = load_reconstructor(path).to(device)
    return lambda x_BCHW: network(x_BCHW).picture


def denoised_picture(denoiser: nn.Module | None, picture: Picture) -> Picture:
    """Return `picture`, applied after a denoiser if there is one."""
    return picture if denoiser is None else lambda x_BCHW: picture(denoiser(x_BCHW).float())


def picture_result(
    evaluation_set: EvaluationSet,
    picture: Picture,
    denoiser: nn.Module | None,
    anonymizer: AnonymizerNetwork,
    *name: Any,
    raw_set: EvaluationSet | None = None,
) -> dict[str, Any]:
    """Return SSIM and PSNR between pictures of anonymized and of raw windows, with 95 % intervals by person.

    Args:
        evaluation_set: the test people.
        picture: reconstructs pictures.
        denoiser: an attacker's denoiser, which undoes the anonymization as far as it can.
        anonymizer: the anonymizer under test.
        name: name of the noise.
        raw_set: the same people with their raw windows, where those of `evaluation_set` are of changed events.
    """
    raw_set = raw_set or evaluation_set
    raw = torch.from_numpy(raw_set.compute_outputs(picture, Unchanged(), *name))
    attacked = torch.from_numpy(evaluation_set.compute_outputs(denoised_picture(denoiser, picture), anonymizer, *name))
    similarity: dict[str, list[torch.Tensor]] = {"ssim": [], "psnr_db": []}
    for attacked_B1HW, raw_B1HW in zip(
        torch.split(attacked, EVALUATION_BATCH), torch.split(raw, EVALUATION_BATCH), strict=True
    ):
        similarity["ssim"].append(ssim(attacked_B1HW, raw_B1HW, data_range=1.0))
        similarity["psnr_db"].append(psnr(attacked_B1HW, raw_B1HW, data_range=1.0).clamp(max=MAX_PSNR_DB))
    result: dict[str, Any] = {"windows": len(attacked), "people": len(set(evaluation_set.persons))}
    for key, parts in similarity.items():
        value_N = torch.cat(parts).numpy()
        interval = bootstrap_by_person(value_N, evaluation_set.persons)
        result[key] = {"value": float(value_N.mean()), "interval_95": [interval.low, interval.high]}
    return result


class Pictured:
    """An anonymizer followed by picture reconstruction: the input of an attacker that works on pictures.

    Pictures have three equal channels, as networks for photographs expect.

    Args:
        anonymizer: the anonymizer.
        picture: reconstructs pictures from its output.
    """

    def __init__(self, anonymizer: AnonymizerNetwork, picture: Picture) -> None:
        self._anonymizer = anonymizer
        self._picture = picture

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return pictures (B, 3, H, W)."""
        return self._picture(self._anonymizer.anonymize(x_BCHW, generator)).repeat(1, CHANNELS, 1, 1)
