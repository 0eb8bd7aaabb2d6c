"""The decision rule: the filter against a sum over all histories, randomised response against its own formula."""

from __future__ import annotations

import random
from decimal import Decimal, localcontext
from itertools import product

import numpy as np
import pytest
import torch

from eventveil.errors import AnonymizerError
from eventveil.models.configs import StandInConfig
from eventveil.models.decision import GRID, DecisionRule, randomised, truthful_cases

WORDS, QUIET = 5, (4, 3)


MEMORYLESS = {"transition": 1.0, "evidence": 1.0, "threshold": 0.1}


def config(**changes):
    return StandInConfig(**{"words": WORDS, "quiet": QUIET, "book": "0" * 64} | changes)


def certain(word, words=WORDS):
    return np.eye(words)[word]


def decide_all(rule, table, step_us=100_000):
    return [rule.decide(row, (k + 1) * step_us) for k, row in enumerate(table)]


def beliefs(table, rule):
    """Return the probability of each word after the last window, by summing over all histories of words."""
    words = range(len(table[0]))
    found = [0.0 for _ in words]
    for history in product(words, repeat=len(table)):
        probability, before = 1.0, rule.quiet[0]
        for row, word in zip(table, history, strict=True):
            stays = (1 - rule.transition) * (word == before)
            probability *= (stays + rule.transition / rule.words) * max(row[word], 1e-4) ** rule.evidence
            before = word
        found[before] += probability
    return [share / sum(found) for share in found]


def slow_words(table, rule):
    """Return the words of a table of probabilities, as the docs describe them."""
    word, words = rule.quiet[0], []
    for n in range(len(table)):
        belief = beliefs(table[: n + 1], rule)
        best = belief.index(max(belief))
        if best in rule.quiet or belief[best] >= rule.threshold:
            word = best
        words.append(word)
    return words


@pytest.mark.parametrize("transition", [0.003, 0.2, 1.0])
@pytest.mark.parametrize("evidence", [0.4, 1.5])
@pytest.mark.parametrize("threshold", [0.3, 0.9])
def test_the_filter_sums_over_all_histories(transition, evidence, threshold):
    rule = StandInConfig(
        words=4, quiet=(3, 2), book="0" * 64, transition=transition, evidence=evidence, threshold=threshold
    )
    generator = np.random.default_rng(round(1000 * transition) + round(10 * evidence))
    seen = set()
    for _ in range(4):
        logits = 4 * np.repeat(generator.normal(size=(2, 4)), 3, axis=0) + generator.normal(size=(6, 4))
        table = np.exp(logits)
        table[generator.integers(6), generator.integers(4)] = 0  # as a float32 softmax may return
        table /= table.sum(1, keepdims=True)
        got = decide_all(DecisionRule(rule), table)
        assert got == slow_words(table.tolist(), rule)
        seen.update(got)
    assert len(seen) > 1


def test_a_gesture_needs_the_threshold_and_ends_without_one():
    quiet, weak = np.array([0.05, 0.05, 0.1, 0.7, 0.1]), np.array([0.3, 0.2, 0.2, 0.15, 0.15])
    rule = DecisionRule(config(transition=0.5, evidence=1.0, threshold=0.6))
    assert decide_all(rule, [weak] * 20) == [4] * 20  # most probable, but never sure
    assert decide_all(rule, [certain(0)] * 2) == [0, 0]
    assert decide_all(rule, [weak] * 5) == [0] * 5
    assert decide_all(rule, [quiet] * 2)[-1] == 3


def test_a_single_window_changes_nothing():
    """A network that was trained with label smoothing gives no word more than about 0.95."""
    rule = DecisionRule(config())
    assert set(decide_all(rule, [0.0625 / 5 + 0.9375 * certain(word) for word in [4, 4, 1] * 20])) == {4}


def test_a_window_that_excludes_a_word_does_not_exclude_it_for_long():
    rule = DecisionRule(config())
    decide_all(rule, [certain(0)] * 1000)
    assert decide_all(rule, [certain(1)] * 4)[-1] == 1


@pytest.mark.parametrize("seed", range(20))
def test_each_change_waits_for_a_number_of_windows_of_its_own(seed):
    """Against the sentence in the docs: from the first window that differs, wait, and take what is true then."""
    random_, asked = random.Random(seed), []

    def below(limit):
        asked.append((limit, random_.randrange(limit)))
        return asked[-1][1]

    true = np.repeat(random_.choices([0, 1, 2, *QUIET], k=12), random_.choices([1, 2, 5], k=12)).tolist()
    got = decide_all(DecisionRule(config(**MEMORYLESS, delay=3), below=below), [certain(word) for word in true])
    expected, n, waits = [QUIET[0]], 0, [wait for _, wait in asked]
    while n < len(true):
        if true[n] != expected[-1]:
            wait = waits.pop(0)
            expected += [expected[-1]] * min(wait, len(true) - n)
            n += wait
        if n < len(true):
            expected.append(true[n])
            n += 1
    assert got == expected[1:]
    assert not waits
    assert {limit for limit, _ in asked} == {4}


def test_without_a_delay_nothing_is_drawn():
    assert decide_all(DecisionRule(config(**MEMORYLESS), below=lambda _: 1 / 0), [certain(1)] * 3) == [1] * 3


def test_delays_follow_no_seed():
    """Two rules agree by chance in 60 delays of up to 100 windows with probability 101 ** -60."""

    def changes():
        random.seed(1)
        rule = DecisionRule(config(**MEMORYLESS, delay=100))
        words = decide_all(rule, [certain(word) for word in [0, 1] * 30 for _ in range(101)])
        return np.flatnonzero(np.diff(words)).tolist()

    assert changes() != changes()


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

    rule = DecisionRule(config(**MEMORYLESS, epsilon=1.0, interval_s=0.5), below=below)
    table = [certain(k % 3) for k in range(20)]
    got = decide_all(rule, table)  # windows end at 0.1 s, 0.2 s, ...
    assert got == [QUIET[0]] * 4 + [4 % 3] * 5 + [9 % 3] * 5 + [14 % 3] * 5 + [19 % 3]
    assert asked == [GRID] * 4  # as often, whatever the windows hold
    asked.clear()
    decide_all(DecisionRule(config(**MEMORYLESS, epsilon=1.0, interval_s=0.5), below=below), [certain(2)] * 20)
    assert asked == [GRID] * 4


@pytest.mark.parametrize("restart", range(1, 20))
def test_a_restart_gives_no_interval_a_second_answer(restart):
    """The rule after a restart knows nothing of the one before it."""
    asked, answered = [], []
    settings = config(**MEMORYLESS, epsilon=1.0, interval_s=0.5)
    for windows in (range(1, restart + 1), range(restart + 1, 21)):
        rule = DecisionRule(settings, below=lambda limit: asked.append(limit) or 0)
        for window in windows:
            before = len(asked)
            rule.decide(certain(2), window * 100_000)
            answered += [window // 5] * (len(asked) - before)
    assert len(answered) == len(set(answered)) > 0


def test_its_noise_follows_no_seed():
    """Two rules agree by chance in 100 almost uniform answers with probability 5 ** -100."""

    def answers():
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002 - what a careless caller does
        torch.manual_seed(1)
        rule = DecisionRule(config(**MEMORYLESS, epsilon=0.001, interval_s=0.5))
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
def test_values_that_are_not_a_distribution_of_the_words_raise(wrong):
    rule = DecisionRule(config())
    with pytest.raises(AnonymizerError, match="probabilities"):
        rule.decide(wrong, 100_000)
    assert rule.word == QUIET[0]
