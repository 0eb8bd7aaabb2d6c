"""How many bits noisy codes carry about what they were made of.

Legend of axes: N windows, D numbers of a code.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from eventveil.training.randomness import numpy_generator

DRAWS = 64
AT_ONCE = 256

Floats = npt.NDArray[np.floating]


def mixture_bits(mean_ND: Floats, std_ND: Floats, draws: int = DRAWS, seed: int = 0) -> float:
    """Return the mutual information of a window, one of N equally likely ones, and its noisy code, in bits.

    The code of a window is Gaussian; that of a window drawn at random is the mixture of all N Gaussians. So the
    information is the mean, over windows and noise, of log2 of the density of a code given its window over its density
    in the mixture. Unlike the bound by one Gaussian of the same variance (`models.noisy_channel.rate`), it does not
    count the gaps between clusters of codes as information. It is at most log2 N: give it many windows.

    Args:
        mean_ND: means of the codes.
        std_ND: standard deviations of their noise, above 0.
        draws: number of noisy codes drawn for each window.
        seed: seed of the noise.

    Source: Kolchinsky, Tracey, Estimating Mixture Entropy with Pairwise Distances, 2017, for the mixture; evaluated by
    drawing from it instead of by distances.

    >>> apart = np.array([[-50.0], [50.0]])  # two codes that the noise never confuses
    >>> round(mixture_bits(apart, np.ones((2, 1))), 3)
    1.0
    """
    return max(0.0, float(window_bits(mean_ND, std_ND, draws, seed).mean()))


def window_bits(mean_ND: Floats, std_ND: Floats, draws: int = DRAWS, seed: int = 0) -> npt.NDArray[np.float64]:
    """Return what each window contributes to `mixture_bits`, which is the mean of them: (N,), bits.

    Args:
        mean_ND: as in `mixture_bits`.
        std_ND: as in `mixture_bits`.
        draws: as in `mixture_bits`.
        seed: as in `mixture_bits`.
    """
    random, windows = numpy_generator(seed, "mixture"), len(mean_ND)
    total_N = np.zeros(windows)
    for _ in range(draws):
        code_ND = mean_ND + std_ND * random.standard_normal(mean_ND.shape)
        for begin in range(0, windows, AT_ONCE):
            some = slice(begin, begin + AT_ONCE)
            distance_BN = ((code_ND[some, None] - mean_ND) / std_ND) ** 2
            log_density_BN = -(distance_BN / 2).sum(2) - np.log(std_ND).sum(1)
            own_B = log_density_BN[np.arange(len(log_density_BN)), np.arange(windows)[some]]
            highest_B = log_density_BN.max(1)
            mixed_B = highest_B + np.log(np.exp(log_density_BN - highest_B[:, None]).mean(1))
            total_N[some] += own_B - mixed_B
    return total_N / draws / math.log(2)


def mixture_bits_given(
    label_N: npt.NDArray[np.integer], mean_ND: Floats, std_ND: Floats, draws: int = DRAWS, seed: int = 0
) -> float:
    """Return the same given a label of the window: the mean over labels, by their share.

    Args:
        label_N: label of each window.
        mean_ND: as in `mixture_bits`.
        std_ND: as in `mixture_bits`.
        draws: as in `mixture_bits`.
        seed: as in `mixture_bits`.
    """
    labels, counts = np.unique(label_N, return_counts=True)
    bits = [mixture_bits(mean_ND[label_N == label], std_ND[label_N == label], draws, seed) for label in labels]
    return float(np.average(bits, weights=counts))
