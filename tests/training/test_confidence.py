"""Confidence intervals with the nominal coverage, and chance levels that match simulation."""

from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest

from eventveil.errors import DatasetError
from eventveil.training.evaluation.confidence import (
    accuracy_interval,
    bootstrap_by_person,
    chance_ranking,
    expanded_tail,
    wilson,
)
from eventveil.training.evaluation.retrieval_metrics import Labels, left_out, rank_scores


def answers(random, people, each, share, spread):
    """Simulate correct and wrong answers of people whose accuracies are beta distributed with mean `share`."""
    accuracy = random.beta(share / spread, (1 - share) / spread, people) if spread else np.full(people, share)
    return (random.random((people, each)) < accuracy[:, None]).ravel(), np.repeat(np.arange(people), each)


def coverage(interval, people, *, spread=0.2, each=20, share=0.7, simulations=250):
    """Return how often the interval contains the true share, over many simulations."""
    random = np.random.default_rng(1)
    covered = [
        low <= share <= high
        for low, high in (interval(*answers(random, people, each, share, spread)) for _ in range(simulations))
    ]
    return np.mean(covered)


def test_the_interval_holds_the_truth_95_times_in_100():
    # 250 simulations: one standard deviation is 0.014.
    covered = coverage(lambda *data: bootstrap_by_person(*data, draws=300), people=40)
    assert 0.91 < covered < 0.975


def test_it_nearly_does_with_six_people_too():
    covered = coverage(lambda *data: bootstrap_by_person(*data, draws=300), people=6)
    assert 0.9 < covered < 0.975


def test_percentiles_are_moved_outwards_as_students_t_asks_for():
    for people, t in ((2, 12.706), (3, 4.303), (6, 2.571), (11, 2.228), (41, 2.021), (1001, 1.962)):  # t tables, 0.975
        want = NormalDist().cdf(-t * (people / (people - 1)) ** 0.5)
        assert expanded_tail(people) == pytest.approx(want, rel=0.01)
    assert expanded_tail(100_000) == pytest.approx(0.025, rel=0.001)
    assert bootstrap_by_person([1.0, 2.0, 3.0], [7, 7, 7]) == (2, 2)  # one person says nothing about others


def test_windows_for_themselves_would_hold_it_far_too_seldom():
    def by_window(correct, persons):
        return bootstrap_by_person(correct, np.arange(len(persons)), draws=400)

    assert coverage(by_window, people=12, simulations=60) < 0.85


def test_the_interval_follows_its_seed_and_its_people():
    random = np.random.default_rng(0)
    values, persons = random.normal(size=60), np.repeat(np.arange(10), 6)
    interval = bootstrap_by_person(values, persons, seed=3)
    assert interval == bootstrap_by_person(values, persons, seed=3)
    assert interval != bootstrap_by_person(values, persons, seed=4)
    named = np.array(list("abcdefghij"))[persons]
    assert interval == bootstrap_by_person(values, named, seed=3)
    assert interval.low < values.mean() < interval.high


def test_people_are_drawn_whole():
    # Two people, one always 0 and one always 1: a drawn pair is 0, 1/2 or 1, and nothing between.
    means = set()

    def recorded_mean(values):
        means.add(float(values.mean()))
        return values.mean()

    bootstrap_by_person([0] * 5 + [1] * 5, [1] * 5 + [2] * 5, recorded_mean, draws=100)
    assert means == {0.0, 0.5, 1.0}
    # With all their values: people with more values have more weight.
    assert bootstrap_by_person([0] * 9 + [1], [1] * 9 + [2], draws=500).high == 1
    lengths = set()
    bootstrap_by_person([0] * 9 + [1], [1] * 9 + [2], lambda values: lengths.add(len(values)) or 0, draws=100)
    assert lengths == {2, 10, 18}


def test_any_statistic_has_an_interval():
    values, persons = np.arange(50.0), np.repeat(np.arange(10), 5)
    low, high = bootstrap_by_person(values, persons, np.median)
    assert low < 24.5 < high


def test_wilsons_interval_is_that_of_the_tables():
    # Newcombe, Statistics in Medicine 1998, table I: the score method without continuity correction.
    for successes, trials, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611),
                                         (1, 29, 0.0061, 0.1718)):  # fmt: skip
        got = wilson(successes, trials)
        assert got.low == pytest.approx(low, abs=6e-5)
        assert got.high == pytest.approx(high, abs=6e-5)
    assert wilson(29, 29).high == 1


def test_people_who_all_do_equally_well_do_not_make_us_sure():
    persons = np.repeat(np.arange(6), 10)
    assert bootstrap_by_person(np.ones(60), persons) == (1, 1)
    low, high = accuracy_interval(np.ones(60), persons)
    assert (low, high) == (wilson(60, 60).low, 1)
    assert low < 0.95


def test_people_who_differ_make_us_less_sure_than_answers_do():
    random = np.random.default_rng(5)
    correct, persons = answers(random, 12, 30, 0.6, 0.5)
    got, by_answer = accuracy_interval(correct, persons), wilson(correct.sum(), len(correct))
    assert got == bootstrap_by_person(correct, persons)
    assert got.low < by_answer.low
    assert got.high > by_answer.high


def test_nonsense_is_refused():
    for values, persons in (([], []), ([1, 2], [1])):
        with pytest.raises(ValueError, match="as many persons"):
            bootstrap_by_person(values, persons)
    for successes, trials in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="at least one trial"):
            wilson(successes, trials)


def gallery_of(people, targets, sessions):
    rows = np.array(list(itertools.product(range(people), range(targets), range(sessions))))
    return Labels(rows[:, 0], rows[:, 1], np.arange(len(rows)), rows[:, 2])


def simulated_chance(query, gallery, excluded, draws):
    """Return the mean result of rankings by random scores."""
    random = np.random.default_rng(9)
    shape = (len(query), len(gallery))
    rankings = [rank_scores(random.random(shape), query, gallery, excluded) for _ in range(draws)]
    return np.mean([(r.rank1, r.rank5, r.rank10, r.mean_average_precision) for r in rankings], axis=0)


@pytest.mark.parametrize("disjoint", [False, True])
def test_chance_is_what_random_scores_give(disjoint):
    everything = gallery_of(people=4, targets=3, sessions=3)
    uneven = np.delete(np.arange(len(everything)), [0, 1, 5, 20, 33])  # queries then differ in their number of entries
    query, gallery = everything.of(uneven[::2]), everything.of(uneven)
    excluded = left_out(query, gallery, session_disjoint=disjoint)
    expected = simulated_chance(query, gallery, excluded, draws=3000)
    np.testing.assert_allclose(chance_ranking(query, gallery, excluded), expected, atol=0.004)


def test_chance_where_one_entry_is_left():
    query, gallery = gallery_of(2, 1, 1), gallery_of(2, 2, 1)
    excluded = np.ones((2, 4), np.bool_)
    excluded[0, 1] = False  # only a match of the first query
    assert chance_ranking(query, gallery, excluded) == (1.0, 1.0, 1.0, 1.0)


def test_chance_follows_the_protocol():
    everything = gallery_of(people=5, targets=4, sessions=2)
    disjoint = left_out(everything, everything, session_disjoint=True)
    # Of the person's entries 5 are left out (2 of the target, 3 more of the session), and 3 of 35 match.
    assert chance_ranking(everything, everything, disjoint).rank1 == pytest.approx(3 / 35)
    one_session = gallery_of(people=5, targets=4, sessions=1)
    with pytest.raises(DatasetError, match="none of 20 queries"):
        chance_ranking(one_session, one_session, left_out(one_session, one_session, session_disjoint=True))


def test_chance_is_not_one_in_the_number_of_people():
    query, gallery = gallery_of(4, 1, 1), gallery_of(2, 3, 1)
    gallery = Labels(gallery.person, gallery.target + 5, gallery.trial + 100, gallery.session)
    chance = chance_ranking(query, gallery, left_out(query, gallery))
    assert chance.rank1 == pytest.approx(0.5)  # the two who are not in the gallery do not count
