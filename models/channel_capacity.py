"""The most bits that one number of the noisy channel's code can carry, whatever the encoder does.

The sender chooses a mean of magnitude at most M and a standard deviation from 1 to 2; the receiver sees one Gaussian
draw. The capacity is the largest mutual information over all distributions of these choices. It has no formula.

Source: R. Blahut, Computation of channel capacity and rate-distortion functions, IEEE Trans. Inf. Theory 18, 1972;
S. Arimoto, An algorithm for computing the capacity of arbitrary discrete memoryless channels, same volume.
Legend of axes: I inputs (pairs of mean and standard deviation), Z outputs.
"""

from __future__ import annotations

from functools import cache

import numpy as np

STEP = 0.1  # between means, and between outputs: a small part of the noise's standard deviation
DEVIATIONS = (1.0, 1.5, 2.0)
TAILS = 16.0  # outputs reach this far beyond the largest mean: eight standard deviations
TOLERANCE = 1e-3  # of the bound, in nats
MAX_STEPS = 10_000


@cache
def capacity_nats(limit: float) -> float:
    """Return the capacity for means of magnitude at most `limit`, in nats, from above and to 0.001.

    For any density q of outputs, the largest divergence of an input's density from q bounds the capacity from above;
    the algorithm makes q ever better.
    """
    mean_I1 = np.linspace(-limit, limit, 2 * max(1, round(limit / STEP)) + 1).repeat(len(DEVIATIONS))[:, None]
    std_I1 = np.resize(DEVIATIONS, len(mean_I1))[:, None]
    output_Z = np.arange(-limit - TAILS, limit + TAILS, STEP)
    log_density_IZ = -(((output_Z - mean_I1) / std_I1) ** 2) / 2 - np.log(std_I1)
    density_IZ = np.exp(log_density_IZ)
    total_I1 = density_IZ.sum(1, keepdims=True)
    density_IZ /= total_I1
    negative_entropy_I = (density_IZ * (log_density_IZ - np.log(total_I1))).sum(1)
    share_I = np.full(len(mean_I1), 1 / len(mean_I1))
    for _ in range(MAX_STEPS):
        divergence_I = negative_entropy_I - density_IZ @ np.log(share_I @ density_IZ)
        bound = float(divergence_I.max())
        if bound - float(share_I @ divergence_I) < TOLERANCE:
            break
        share_I *= np.exp(divergence_I - bound)
        share_I /= share_I.sum()
    return bound
