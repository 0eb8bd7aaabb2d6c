"""The rule that turns the probabilities of successive windows into words. It runs in the private half of the pipeline.

A word stays until another one has had at least the threshold in several windows in a row. A quiet word, which means
that no gesture is made, needs no threshold: it only has to be the most probable in these windows. So a gesture that
nothing supports any more ends, and a gesture begins only on clear evidence.

With an epsilon, the rule answers by k-ary randomised response: once per interval it tells the truth with probability
e^epsilon / (e^epsilon + K - 1), and otherwise one of the other K - 1 words, all equally likely. For any two inputs and
any history, the probabilities of an answer differ by a factor of at most e^epsilon: local differential privacy per
decision. T decisions together have T * epsilon. Intervals follow the stream's clock, never what happens in front of the
camera.

Source of the randomised response: Kairouz, Oh, Viswanath, Extremal Mechanisms for Local Differential Privacy, NeurIPS
2014. Legend of axes: K words.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eventveil.errors import AnonymizerError

if TYPE_CHECKING:
    from eventveil.models.stand_in import StandInConfig

GRID = 1 << 64  # the truth is told in a whole number of GRID cases
SLACK = Fraction(1, 1 << 40)  # far above the rounding error of exp(), so that the budget is never exceeded


class DecisionRule:
    """The state of one stream.

    Args:
        config: the rule, and the number of words.
        below: draws a uniform whole number from 0 to below its argument; others than the operating system's entropy
            are for tests.

    Attributes:
        word: the latest word; at first the first quiet word.

    >>> from eventveil.models.stand_in import StandInConfig
    >>> rule = DecisionRule(StandInConfig(words=3, quiet=(2,), book="0" * 64, threshold=0.7, hold_steps=2))
    >>> [rule.decide(np.array(p), 100_000 * k) for k, p in enumerate(([0.8, 0.1, 0.1], [0.9, 0, 0.1], [0.2, 0.6, 0.2]))]
    [2, 0, 0]
    """

    def __init__(self, config: StandInConfig, *, below: Callable[[int], int] = secrets.randbelow) -> None:
        self.word = config.quiet[0]
        self._config = config
        self._below = below
        self._truth = self.word
        self._recent: deque[npt.NDArray[np.float64]] = deque(maxlen=config.hold_steps)
        self._interval_us = round(config.interval_s * 1e6)
        self._interval: int | None = None

    def decide(self, probability_K: npt.NDArray[np.floating], t_end_us: int) -> int:
        """Return the number of the word after another window.

        Args:
            probability_K: the network's probabilities, (K,); they sum to 1.
            t_end_us: when the window ends, in stream time, microseconds.

        Raises:
            AnonymizerError: these are not K probabilities.
        """
        words = self._config.words
        if probability_K.shape != (words,) or not np.isfinite(probability_K).all():
            raise AnonymizerError(
                f"expected finite probabilities of {words} words, got {probability_K.shape}; use other weights"
            )
        if (probability_K < 0).any() or abs(probability_K.sum() - 1) > 1e-3:
            raise AnonymizerError("the stand-in returned probabilities that do not sum to 1; use other weights")
        self._recent.append(probability_K.astype(np.float64))
        self._truth = self._after_hysteresis()
        if self._config.epsilon is None:
            self.word = self._truth
        elif (interval := t_end_us // self._interval_us) != self._interval:
            self._interval = interval
            self.word = randomised(self._truth, words, self._config.epsilon, self._below)
        return self.word

    def _after_hysteresis(self) -> int:
        """Return the word that the last windows agree on, or the earlier one."""
        best = {int(probability_K.argmax()) for probability_K in self._recent}
        if len(self._recent) < self._config.hold_steps or len(best) > 1:
            return self._truth
        (word,) = best
        if word in self._config.quiet:
            return word
        least = min(float(probability_K[word]) for probability_K in self._recent)
        return word if least >= self._config.threshold else self._truth


def randomised(word: int, words: int, epsilon: float, below: Callable[[int], int]) -> int:
    """Return the word, or another one, by k-ary randomised response with this budget.

    Args:
        word: the true word, from 0.
        words: K.
        epsilon: nats.
        below: draws a uniform whole number from 0 to below its argument.
    """
    if below(GRID) < truthful_cases(words, epsilon):
        return word
    other = below(words - 1)
    return other + (other >= word)


def truthful_cases(words: int, epsilon: float) -> int:
    """Return in how many of `GRID` equally likely cases the truth is told, rounded down: never above the budget."""
    odds = Fraction(math.exp(epsilon)) * (1 - SLACK)
    return int(GRID * odds / (odds + words - 1))
