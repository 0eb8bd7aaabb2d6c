"""The decision rule: hysteresis against a slow twin, and randomised response against its own formula, exactly."""

from __future__ import annotations

import random
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch

from eventveil.errors import AnonymizerError
from eventveil.models.decision import GRID, DecisionRule, randomised, truthful_cases
from eventveil.models.stand_in import StandInConfig

WORDS, QUIET = 5, (4, 3)


def config(**changes):
    return StandInConfig(**{"words": WORDS, "quiet": QUIET, "book": "0" * 64, "threshold": 0.6} | changes)


def certain(word, words=WORDS):
    return np.eye(words)[word]


def decide_all(rule, table, step_us=100_000):
    return [rule.decide(row, (k + 1) * step_us) for k, row in enumerate(table)]


def slow_words(table, threshold, hold):
    """Return the words of a table of probabilities, by looking back at every step as the docs say."""
    word, words = QUIET[0], []
    for now in range(len(table)):
        last = [list(row) for row in table[max(0, now + 1 - hold) : now + 1]]
        for other in range(WORDS):
            likeliest = all(row.index(max(row)) == other for row in last)
            clear = other in QUIET or all(row[other] >= threshold for row in last)
            if len(last) == hold and likeliest and clear:
                word = other
        words.append(word)
    return words


@pytest.mark.parametrize("hold", [1, 2, 3])
@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_hysteresis_is_its_twin(hold, threshold):
    generator = np.random.default_rng((hold, round(10 * threshold)))
    # Probabilities that stay for a few windows, sharp and flat ones.
    logits = np.repeat(generator.normal(size=(150, WORDS)) * generator.choice([1, 4], (150, 1)), 3, axis=0)
    table = np.exp(logits + 0.3 * generator.normal(size=logits.shape))
    table /= table.sum(1, keepdims=True)
    got = decide_all(DecisionRule(config(hold_steps=hold, threshold=threshold)), table)
    assert got == slow_words(table, threshold, hold)
    assert len(set(got)) > 2


def test_a_gesture_needs_the_threshold_and_ends_without_one():
    rule = DecisionRule(config(hold_steps=2))
    weak, quiet = np.array([0.55, 0.1, 0.1, 0.1, 0.15]), np.array([0.2, 0.15, 0.15, 0.3, 0.2])
    assert decide_all(rule, [weak] * 5) == [4] * 5
    assert decide_all(rule, [certain(0)] * 3) == [4, 0, 0]
    assert decide_all(rule, [weak, quiet, weak, quiet, quiet]) == [0, 0, 0, 0, 3]


def test_a_single_window_changes_nothing():
    rule = DecisionRule(config(hold_steps=2))
    assert set(decide_all(rule, [certain(4), certain(1)] * 20)) == {4}


@pytest.mark.parametrize("words", [2, 13, 4096])
@pytest.mark.parametrize("epsilon", [0.01, 1.0, 4.0, 30.0])
def test_the_truth_is_never_told_more_often_than_the_budget_allows(words, epsilon):
    with localcontext() as context:
        context.prec = 60
        odds = Decimal(epsilon).exp()
        allowed = odds / (odds + words - 1)
        told = Decimal(truthful_cases(words, epsilon)) / GRID
        assert allowed - Decimal(10) ** -11 < told <= allowed
        # Each other word has the remaining share, so the ratio of an answer's probabilities is at most e^epsilon.
        assert told <= odds * (1 - told) / (words - 1)


def test_randomised_response_tells_the_truth_in_just_these_cases_and_else_any_other_word():
    cases = truthful_cases(WORDS, 1.0)
    for word in range(WORDS):
        assert randomised(word, WORDS, 1.0, lambda _: cases - 1) == word
        draws = {GRID: cases}
        others = []
        for other in range(WORDS - 1):
            draws[WORDS - 1] = other
            others.append(randomised(word, WORDS, 1.0, draws.__getitem__))
        assert sorted(others) == [k for k in range(WORDS) if k != word]


def test_with_an_epsilon_there_is_one_decision_per_interval_of_the_streams_clock():
    asked = []

    def below(limit):
        asked.append(limit)
        return 0  # the truth

    rule = DecisionRule(config(hold_steps=1, epsilon=1.0, interval_s=0.5), below=below)
    table = [certain(k % 3) for k in range(20)]
    got = decide_all(rule, table)  # windows end at 0.1 s, 0.2 s, ...
    assert got == [0] * 4 + [4 % 3] * 5 + [9 % 3] * 5 + [14 % 3] * 5 + [19 % 3]
    assert asked == [GRID] * 5  # as often, whatever the windows hold
    asked.clear()
    decide_all(DecisionRule(config(hold_steps=1, epsilon=1.0, interval_s=0.5), below=below), [certain(2)] * 20)
    assert asked == [GRID] * 5


def test_its_noise_follows_no_seed():
    """Two rules agree by chance in 100 almost uniform answers with probability 5 ** -100."""

    def answers():
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002 - what a careless caller does
        torch.manual_seed(1)
        rule = DecisionRule(config(hold_steps=1, epsilon=0.001, interval_s=0.5))
        return decide_all(rule, [certain(0)] * 100, step_us=500_000)

    assert answers() != answers()


@pytest.mark.parametrize(
    "wrong",
    [
        np.full(WORDS - 1, 1 / (WORDS - 1)),
        np.full((1, WORDS), 1 / WORDS),
        np.array([np.nan, 0, 0, 0, 1]),
        np.array([np.inf, 0, 0, 0, 0]),
        np.array([2.0, -1, 0, 0, 0]),
        np.full(WORDS, 1.0),
        np.zeros(WORDS),
    ],
)
def test_what_is_no_distribution_of_the_words_raises(wrong):
    rule = DecisionRule(config())
    with pytest.raises(AnonymizerError, match="probabilities"):
        rule.decide(wrong, 100_000)
    assert rule.word == QUIET[0]
