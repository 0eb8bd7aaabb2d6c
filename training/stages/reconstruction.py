"""Pictures as the secret: how much of what raw voxels show is seen in anonymized ones.

Legend of axes: B windows of a batch, N windows, C bins of a voxel grid, H rows, W columns; pictures have one channel.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eventveil.models.kinds import Anonymizer
from eventveil.models.noise import NoiseGenerator
from eventveil.models.reconstruction import load_firenet
from eventveil.training.evaluation.confidence import bootstrap_by_person
from eventveil.training.evaluation.evaluation import EVALUATION_BATCH, EvaluationSet
from eventveil.training.networks.baselines import Unchanged
from eventveil.training.objectives.ssim import psnr, ssim

MAX_PSNR_DB = 100.0  # of pictures that are equal, for which it is infinite
CHANNELS = 3  # of pictures that a network looks at
Picture = Callable[[torch.Tensor], torch.Tensor]
"""Makes pictures (B, 1, H, W), dark 0 and bright 1, of windows (B, C, H, W)."""


def picture_maker(path: Path, device: torch.device) -> Picture:
    """Read FireNet, frozen.

    Raises:
        WeightsError: the file is missing, or is not of this network.
    """
    network = load_firenet(path).to(device)
    return lambda x_BCHW: network.reconstruct(x_BCHW).picture


def pictures_behind(before: nn.Module | None, picture: Picture) -> Picture:
    """What makes pictures of what a denoiser, if there is one, turns back."""
    return picture if before is None else lambda x_BCHW: picture(before(x_BCHW).float())


def picture_result(
    stand: EvaluationSet, picture: Picture, before: nn.Module | None, anonymizer: Anonymizer, *name: Any
) -> dict[str, Any]:
    """SSIM and PSNR of pictures of anonymized windows against pictures of raw ones, with 95 % intervals by person.

    Args:
        stand: people to be tested on.
        picture: makes pictures.
        before: an attacker's denoiser, which turns anonymized windows back as far as it can.
        anonymizer: what windows go through.
        name: of the noise.
    """
    wanted = torch.from_numpy(stand.outputs(picture, Unchanged(), *name))
    seen = torch.from_numpy(stand.outputs(pictures_behind(before, picture), anonymizer, *name))
    likeness: dict[str, list[torch.Tensor]] = {"ssim": [], "psnr_db": []}
    for seen_B1HW, wanted_B1HW in zip(
        torch.split(seen, EVALUATION_BATCH), torch.split(wanted, EVALUATION_BATCH), strict=True
    ):
        likeness["ssim"].append(ssim(seen_B1HW, wanted_B1HW, data_range=1.0))
        likeness["psnr_db"].append(psnr(seen_B1HW, wanted_B1HW, data_range=1.0).clamp(max=MAX_PSNR_DB))
    result: dict[str, Any] = {"windows": len(seen), "people": len(set(stand.persons))}
    for key, parts in likeness.items():
        value_N = torch.cat(parts).numpy()
        interval = bootstrap_by_person(value_N, stand.persons)
        result[key] = {"value": float(value_N.mean()), "interval_95": [interval.low, interval.high]}
    return result


class Pictured:
    """An anonymizer that lets out pictures of what another one lets out: what whoever looks at pictures gets.

    They have three equal channels, as networks that look at photographs take them.

    Args:
        anonymizer: what windows go through.
        picture: makes pictures of what comes out.
    """

    def __init__(self, anonymizer: Anonymizer, picture: Picture) -> None:
        self._anonymizer = anonymizer
        self._picture = picture

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return pictures (B, 3, H, W)."""
        return self._picture(self._anonymizer.anonymize(x_BCHW, generator)).repeat(1, CHANNELS, 1, 1)
