"""The rule that turns the probabilities of successive windows into words. It runs in the private half of the pipeline.

The rule is the forward algorithm of a hidden Markov model whose states are the words. From one window to the next, the
true word changes with a small probability, `transition`, to each of the K words alike. What the network says of a
window is the evidence. It counts with the exponent `evidence`: with more, the rule is quicker; with less, steadier. The
most probable word becomes the new word, but a gesture only if the filter's belief in it reaches the threshold. A quiet
word, which means that no gesture is made, needs no threshold. So a gesture begins on clear evidence, and one that
nothing supports any more ends.

With a delay, each change of the word waits for a number of windows that is drawn uniformly from 0 to `delay`; then the
rule takes the word that is due at that moment. One person is recognised a little sooner than another, in the same
gesture again and again. The delays make this harder to see (docs/results.md), but over many gestures they average out.

With an epsilon, the rule answers by k-ary randomised response: once per interval it tells the truth with probability
e^epsilon / (e^epsilon + K - 1), and otherwise one of the other K - 1 words, all equally likely. For any two inputs and
any history, the probabilities of an answer differ by a factor of at most e^epsilon: local differential privacy per
decision. T decisions together have T * epsilon. Intervals follow the stream's clock, never what happens in front of the
camera.

Source of the filter: Rabiner, A Tutorial on Hidden Markov Models, Proceedings of the IEEE 77(2), 1989, section III.A,
normalised at each step. Source of the randomised response: Kairouz, Oh, Viswanath, Extremal Mechanisms for Local
Differential Privacy, NeurIPS 2014. Legend of axes: K words.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from eventveil.errors import AnonymizerError

if TYPE_CHECKING:
    from eventveil.models.configs import StandInConfig

GRID = 1 << 64  # the truth is told in a whole number of GRID cases
MIN_PROBABILITY = 1e-4  # a probability below this counts as this, so that no single window rules out a word for long
SLACK = Fraction(1, 1 << 40)  # far above the rounding error of exp(), so that the budget is never exceeded


class DecisionRule:
    """The state of one stream.

    Args:
        config: the rule, and the number of words.
        below: draws a uniform whole number from 0 to below its argument; anything but the operating system's entropy
            is for tests.

    Attributes:
        word: the latest word; at first the first quiet word.

    >>> from eventveil.models.configs import StandInConfig
    >>> rule = DecisionRule(StandInConfig(words=3, quiet=(2,), book="0" * 64, transition=0.01, evidence=0.5))
    >>> [rule.decide(np.array([0.9, 0.05, 0.05]), 100_000 * k) for k in range(5)]
    [2, 2, 2, 2, 0]
    """

    def __init__(self, config: StandInConfig, *, below: Callable[[int], int] = secrets.randbelow) -> None:
        self.word = config.quiet[0]
        self._config = config
        self._below = below
        self._truth = self._delayed = self.word
        self._wait: int | None = None  # windows until the word changes; None while it is the true one
        self._belief_K = np.eye(config.words)[self.word]
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
        self._follow(probability_K.astype(np.float64))
        self._delay()
        if self._config.epsilon is None:
            self.word = self._delayed
        elif (interval := t_end_us // self._interval_us) != self._interval:
            # The first interval gets no answer: before a restart, another rule may have given one, and two would tell
            # more than one.
            if self._interval is not None:
                self.word = randomised(self._delayed, words, self._config.epsilon, self._below)
            self._interval = interval
        return self.word

    def _follow(self, probability_K: npt.NDArray[np.float64]) -> None:
        """Advance the filter by one window, and take the word that it believes in."""
        config = self._config
        predicted_K = (1 - config.transition) * self._belief_K + config.transition / config.words
        belief_K = predicted_K * np.maximum(probability_K, MIN_PROBABILITY) ** config.evidence
        self._belief_K = belief_K / belief_K.sum()
        best = int(self._belief_K.argmax())
        if best in config.quiet or self._belief_K[best] >= config.threshold:
            self._truth = best

    def _delay(self) -> None:
        """Count down to the next change. A change that is taken back while it waits is forgotten when it is due."""
        if self._wait is None and self._truth != self._delayed:
            self._wait = self._below(self._config.delay + 1) if self._config.delay else 0
        if self._wait == 0:
            self._delayed, self._wait = self._truth, None
        elif self._wait is not None:
            self._wait -= 1


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
