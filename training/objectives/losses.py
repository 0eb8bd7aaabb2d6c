"""Losses of identity networks and of the anonymizer.

Legend of axes: B windows of a batch, E embedding, K classes, C channels or bins, H rows, W columns.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch.nn import functional

MARGIN = 4.0  # of the triplet loss; Bendig et al., AnonyNoise, WACV 2025


def batch_hard_triplet(
    embedding_BE: torch.Tensor,
    person_B: torch.Tensor,
    margin: float = MARGIN,
    *,
    alone: Literal["drop", "keep"] = "drop",
) -> torch.Tensor:
    """Return the mean of max(0, margin + d(anchor, hardest positive) - d(anchor, hardest negative)) over a batch.

    Every window is an anchor; its hardest positive is the farthest other window of the same person, its hardest
    negative the nearest window of another. An anchor without a negative adds 0. If no anchor counts, the loss and its
    gradients are 0, so that every process of a group can run its backward pass.

    Args:
        embedding_BE: embeddings, not normalised; d is the Euclidean distance.
        person_B: whole numbers.
        margin: in units of the embedding.
        alone: what becomes of an anchor that is the only window of its person. "drop": it does not count. "keep": it is
            its own positive, at distance 0, and the mean is over all anchors, as in the code of AnonyNoise. It then
            pushes the nearest other person away, and where many are alone the loss is smaller.

    Returns:
        A scalar; its gradient is finite even if two embeddings are equal.

    Source: Hermans, Beyer, Leibe, In Defense of the Triplet Loss for Person Re-Identification, 2017, equation (5);
    "keep": Bendig et al., AnonyNoise, WACV 2025, and the code published with it.
    """
    if len(person_B) == 0:
        return embedding_BE.sum()  # 0, with a gradient
    # Distances from differences, not from a matrix product, which would lose small distances between large values.
    embedding_BE = embedding_BE if embedding_BE.dtype == torch.float64 else embedding_BE.float()
    distance_BB = torch.cdist(embedding_BE, embedding_BE, compute_mode="donot_use_mm_for_euclid_dist")
    same_BB = person_B[:, None] == person_B[None, :]
    itself_BB = torch.eye(len(person_B), dtype=torch.bool, device=person_B.device)
    positive_BB = same_BB if alone == "keep" else same_BB & ~itself_BB
    counts_B = positive_BB.any(1)  # without another person the nearest negative is infinitely far, and the loss is 0
    farthest_B = distance_BB.masked_fill(~positive_BB, -math.inf).amax(1)
    nearest_B = distance_BB.masked_fill(same_BB, math.inf).amin(1)
    loss_B = functional.relu(margin + torch.where(counts_B, farthest_B - nearest_B, -margin))
    return loss_B.sum() / counts_B.sum().clamp(min=1)


def towards_uniform(logits_BK: torch.Tensor) -> torch.Tensor:
    """Return KL(uniform || prediction) in nats, averaged over the batch; at least 0, its value for uniform predictions.

    It grows with confidence, right or wrong, so an adversary that is confidently wrong does not satisfy it.
    """
    log_probability_BK = functional.log_softmax(logits_BK, dim=1)
    return -log_probability_BK.mean() - math.log(logits_BK.shape[1])


def anonymizer_objective(target: torch.Tensor, triplet: torch.Tensor) -> torch.Tensor:
    """Return the published objective of the anonymizer: target loss minus the adversary's triplet loss.

    It is unbounded below. Embeddings are not normalised, so the triplet loss of a misled adversary grows without limit,
    and exploding noise lowers this objective further, whether or not the person is still recognisable.

    Source: Bendig et al., AnonyNoise, WACV 2025.
    """
    return target - triplet


def bounded_objective(target: torch.Tensor, logits_BK: torch.Tensor, weight: float) -> torch.Tensor:
    """Return our objective: target loss + `weight` * `towards_uniform` of the adversary's prediction; at least 0."""
    return target + weight * towards_uniform(logits_BK)


def coarse_difference(x_BCHW: torch.Tensor, y_BCHW: torch.Tensor) -> torch.Tensor:
    """Return the mean squared difference of two batches of event counts: logarithms, averaged in 4x4 pixel squares.

    It captures where something moves, but not what it looks like. If a code may stand for several windows, their mean
    minimises it, which shows no particular person.

    Args:
        x_BCHW: counts; H and W at least 4. A negative count c contributes -log(1 - c).
        y_BCHW: likewise.
    """
    one, other = (functional.avg_pool2d(n.sign() * n.abs().log1p(), 4) for n in (x_BCHW, y_BCHW))
    return functional.mse_loss(one, other)


def event_reid_objective(
    structure_B: torch.Tensor,
    picture_B: torch.Tensor,
    task: torch.Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
) -> torch.Tensor:
    """Return the objective of the Event-ReId method: preserve structure, degrade pictures, preserve re-identification.

    alpha (1 - SSIM(voxels, anonymized)) + beta SSIM(reconstruction, reference) + gamma task, means over the batch.

    Args:
        structure_B: SSIM of raw and anonymized voxel grids.
        picture_B: SSIM of the pictures reconstructed from anonymized and from raw voxels.
        task: cross-entropy plus `batch_hard_triplet` of the re-identification network on anonymized voxels.
        alpha: weight of the structure.
        beta: weight of the picture.
        gamma: weight of the task.

    Source: Ahmad et al., Person Re-Identification without Identification via Event Anonymization, ICCV 2023.
    """
    return alpha * (1 - structure_B.mean()) + beta * picture_B.mean() + gamma * task
