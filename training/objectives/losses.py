"""What the networks are trained for: identity, target, and the anonymizer between them.

Legend of axes: B windows of a batch, E embedding, K classes, C channels or bins, H rows, W columns.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional

MARGIN = 4.0  # of the triplet loss; Bendig et al., AnonyNoise, WACV 2025


def batch_hard_triplet(embedding_BE: torch.Tensor, person_B: torch.Tensor, margin: float = MARGIN) -> torch.Tensor:
    """Mean of max(0, margin + d(anchor, hardest positive) - d(anchor, hardest negative)) over the anchors of a batch.

    Every window is an anchor; its hardest positive is the farthest other window of the same person, its hardest
    negative the nearest window of another. An anchor without one of the two does not count; where none counts, the
    loss is 0 and so are its gradients, so that every process of a group can go on with its backward pass.

    Args:
        embedding_BE: as they are, not normalised; d is the Euclidean distance.
        person_B: whole numbers.
        margin: in units of the embedding.

    Returns:
        A scalar; its gradient is finite even where two embeddings are equal.

    Source: Hermans, Beyer, Leibe, In Defense of the Triplet Loss for Person Re-Identification, 2017, equation (5).
    """
    # Distances from differences, not from a product of matrices: that would lose small distances between large values.
    embedding_BE = embedding_BE if embedding_BE.dtype == torch.float64 else embedding_BE.float()
    distance_BB = torch.cdist(embedding_BE, embedding_BE, compute_mode="donot_use_mm_for_euclid_dist")
    same_BB = person_B[:, None] == person_B[None, :]
    positive_BB = same_BB & ~torch.eye(len(person_B), dtype=torch.bool, device=person_B.device)
    counts_B = positive_BB.any(1)  # where no other person is there, nothing is nearest, and the loss is 0 for all
    farthest_B = distance_BB.masked_fill(~positive_BB, -math.inf).amax(1)
    nearest_B = distance_BB.masked_fill(same_BB, math.inf).amin(1)
    loss_B = functional.relu(margin + torch.where(counts_B, farthest_B - nearest_B, -margin))
    return loss_B.sum() / counts_B.sum().clamp(min=1)


def towards_uniform(logits_BK: torch.Tensor) -> torch.Tensor:
    """KL(uniform || prediction), mean over the batch: 0 where every class is as likely as any other, never less.

    In nats. It grows with confidence, right or wrong, so that an adversary who errs for certain does not satisfy it.
    """
    log_probability_BK = functional.log_softmax(logits_BK, dim=1)
    return -log_probability_BK.mean() - math.log(logits_BK.shape[1])


def anonymizer_objective(target: torch.Tensor, triplet: torch.Tensor) -> torch.Tensor:
    """The published objective of the anonymizer: target loss minus the adversary's triplet loss.

    It has no floor. Embeddings are not normalised, so the triplet loss of an adversary that is led astray grows without
    end, and noise that explodes lowers this objective further, whether or not the person still shows.

    Source: Bendig et al., AnonyNoise, WACV 2025.
    """
    return target - triplet


def bounded_objective(target: torch.Tensor, logits_BK: torch.Tensor, weight: float) -> torch.Tensor:
    """Ours: target loss plus `weight` times `towards_uniform` of the adversary's prediction; at least 0."""
    return target + weight * towards_uniform(logits_BK)


def coarse_difference(x_BCHW: torch.Tensor, y_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of two batches of event counts, seen from afar: logarithms, in squares of 4x4 pixels.

    Where something moves it sees; what it looks like it does not. Of several windows that could stand behind a
    code, the one that makes this least is their mean: nobody in particular.

    Args:
        x_BCHW: counts; H and W at least 4. Of a count below 0 the logarithm is that of its opposite, turned round.
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
    """The objective of the Event-ReId method: keep structure, spoil the picture, keep re-identification.

    alpha (1 - SSIM(voxels, anonymized)) + beta SSIM(reconstruction, reference) + gamma task, means over the batch.

    Args:
        structure_B: SSIM of the voxel grids and the anonymized ones.
        picture_B: SSIM of the picture reconstructed from anonymized voxels and the one from raw voxels.
        task: cross-entropy plus `batch_hard_triplet` of the re-identification network on anonymized voxels.
        alpha: weight of the structure.
        beta: weight of the picture.
        gamma: weight of the task.

    Source: Ahmad et al., Person Re-Identification without Identification via Event Anonymization, ICCV 2023.
    """
    return alpha * (1 - structure_B.mean()) + beta * picture_B.mean() + gamma * task
