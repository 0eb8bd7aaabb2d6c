"""What the stand-in decides about a recording, step by step, and how accurate and how fast that is.

A *trial* is a span of a recording in which one gesture is made. It is recognised if the gesture's word stands for most
of the time from the target latency on. The latency is the time from the beginning of the span to the end of the first
window after which the word is right. A *named gesture* is a word with a gesture's name, other than "other gestures".

Legend of axes: N windows, one at the end of each step, K words, C channels, H rows, W columns.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from eventveil.models.configs import StandInConfig
from eventveil.models.decision import DecisionRule
from eventveil.training.stand_in.moments import LabelledSpan

BATCH = 256
LATENCY_S = 0.3  # the target: from then on a word should be right

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class GestureTrial:
    """One gesture in a recording.

    Attributes:
        target: the gesture.
        latency_s: from its beginning to the first right word; None if there was none before its end.
        recognised: whether its word stood for most of the time from the target latency on.
    """

    target: int
    latency_s: float | None
    recognised: bool


def probabilities(
    network: Callable[[torch.Tensor], torch.Tensor], windows: Iterable[npt.NDArray[np.float32]]
) -> npt.NDArray[np.float64]:
    """Return the probabilities of the words, (N, K), for batches of windows (B, C, H, W)."""
    with torch.inference_mode():
        parts = [network(torch.from_numpy(batch)).double().softmax(1).numpy() for batch in windows]
    return np.concatenate(parts)


def words_of(
    probability_NK: npt.NDArray[np.float64], end_us_N: Integers, config: StandInConfig, draws: random.Random
) -> Integers:
    """Return the word after each window of one stream, (N,); windows end at `end_us_N`.

    `draws` makes the rule's random numbers repeatable, unlike those of the pipeline.
    """
    rule = DecisionRule(config, below=draws.randrange)
    return np.array([rule.decide(row, int(at)) for row, at in zip(probability_NK, end_us_N, strict=True)])


def trials_of(word_N: Integers, end_us_N: Integers, spans: Sequence[LabelledSpan], gestures: int) -> list[GestureTrial]:
    """Judge the spans with one of the first `gestures` classes; spans in which no window ends are left out.

    Args:
        word_N: the class of the word after each window.
        end_us_N: when each window ends, microseconds.
        spans: spans of the recording.
        gestures: classes from this one on are not gestures.
    """
    trials = []
    for span in spans:
        inside_N = (end_us_N > span.start_us) & (end_us_N <= span.end_us)
        if span.target >= gestures or not inside_N.any():
            continue
        right_us = end_us_N[inside_N & (word_N == span.target)]
        later_N = inside_N & (end_us_N >= span.start_us + LATENCY_S * 1e6)
        judged = word_N[later_N if later_N.any() else inside_N] == span.target
        latency_s = (int(right_us[0]) - span.start_us) / 1e6 if len(right_us) else None
        trials.append(GestureTrial(span.target, latency_s, bool(judged.mean() > 0.5)))
    return trials


def named(word_N: Integers, gestures: int) -> list[tuple[int, int]]:
    """Return the word and the number of steps of each time that one of the first `gestures` words stood."""
    runs: Any = groupby(word_N.tolist())
    return [(word, len(list(run))) for word, run in runs if word < gestures]
