"""Linkability and singling out: against the published package, literal crowds, and planted attackers."""

from __future__ import annotations

import numpy as np
import pytest
from legal_eval.io import ScoreMatrix
from legal_eval.metrics.linkability import linkability
from legal_eval.metrics.singling_out import ConversationScores, singling_out

from eventveil.audit.evaluation.crowd import (
    best_of_person,
    crowd_figures,
    crowds_up_to,
    linked_in_crowd,
    singled_out_in_crowd,
    singling_out_by_chance,
    wins_over_another,
)

PEOPLE = 30


def scores(signal, rows=PEOPLE, seed=0):
    """Return scores (Q, P) in which the own person stands out by `signal` standard deviations, and that person."""
    random, own = np.random.default_rng(seed), np.arange(rows) % PEOPLE
    return random.normal(size=(rows, PEOPLE)) + signal * (own[:, None] == np.arange(PEOPLE)), own


@pytest.mark.parametrize("signal", [0, 1, 3])
@pytest.mark.parametrize("crowd", [2, 5, 29, PEOPLE])
def test_linkability_is_that_of_the_published_package(signal, crowd):
    score, own = scores(signal, rows=90)
    names = [f"p{number}" for number in range(PEOPLE)]
    asked = [names[person] for person in own]
    matrix = ScoreMatrix(scores=score.T, enroll_speakers=names, test_speakers=asked, metadata={})
    (expected,) = linkability(matrix, crowd, estimator="exact")
    assert linked_in_crowd(score, own, crowd).mean() == pytest.approx(expected, abs=1e-6)


def test_equal_scores_are_guessed_among_as_literal_crowds_show():
    score = np.array([[1.0, 1, 1, 2, 0, 0, np.nan]])
    random, wins = np.random.default_rng(1), []
    for _ in range(20_000):
        others = random.choice([1, 2, 3, 4, 5], size=2, replace=False)
        rivals = score[0, others]
        wins.append(0.0 if (rivals > 1).any() else 1 / (1 + (rivals == 1).sum()))
    # The literal mean is off by 0.0034 one time in 300 at most: five standard errors of 0.4 / sqrt(20,000) are 0.014.
    assert linked_in_crowd(score, np.array([0]), 3)[0] == pytest.approx(np.mean(wins), abs=0.014)


def test_an_attacker_who_sees_nobody_links_by_chance_even_if_all_scores_are_equal():
    score, own = np.zeros((PEOPLE, PEOPLE)), np.arange(PEOPLE)
    for crowd in crowds_up_to(PEOPLE):
        assert linked_in_crowd(score, own, crowd) == pytest.approx(np.full(PEOPLE, 1 / crowd))


def test_a_crowd_larger_than_the_people_compared_cannot_be_tested():
    score, own = scores(1, rows=3)
    score[0, 10:] = np.nan
    assert np.isnan(linked_in_crowd(score, own, 11)).tolist() == [True, False, False]
    score[1, own[1]] = np.nan
    assert np.isnan(linked_in_crowd(score, own, 2)).tolist() == [False, True, False]


@pytest.mark.parametrize("signal", [0, 2, 6])
def test_singling_out_is_that_of_the_published_package_among_all_people(signal):
    """With all people in the crowd nothing is drawn, so both must agree exactly."""
    test, own = scores(signal)
    calibration, _ = scores(signal, seed=1)
    names = [f"p{number}" for number in range(PEOPLE)]
    theirs = ConversationScores(
        enroll_speakers=names, dataset_speakers=names, test_scores=test, calibration_scores=calibration,
        calibration_slices=[(number, number + 1) for number in range(PEOPLE)],
    )  # fmt: skip
    expected = [singling_out(theirs, PEOPLE, n_runs=1)[name][0] for name in names]
    got = singled_out_in_crowd(test, calibration, own, PEOPLE, np.random.default_rng(0))
    assert got.tolist() == expected


def test_a_blind_rule_singles_out_as_often_as_theory_says_and_a_perfect_one_always():
    """A blind rule fits k of many people with k from Poisson's law of mean E + F/2, E and F exponential of mean 1.

    That is where the threshold lies, between the highest and the second of as many uniform scores. For k = 1 the
    expectation of mean * exp(-mean) is 2.5/9.
    """
    random, own = np.random.default_rng(0), np.arange(4000) % PEOPLE
    blind = singled_out_in_crowd(*random.random((2, 4000, PEOPLE)), own, 20, random)
    # 20,000 dependent outcomes; a standard error of at most 0.48 / sqrt(4000) = 0.0076, so five are 0.038.
    assert blind.mean() == pytest.approx(2.5 / 9, abs=0.045)
    perfect = 10.0 * (own[:, None] == np.arange(PEOPLE))
    assert singled_out_in_crowd(perfect, perfect, own, 20, random).tolist() == [1.0] * 4000


def test_figures_hold_their_chance_when_blind_and_leave_it_when_not():
    for signal, sees in ((0, False), (4, True)):
        score, own = scores(signal, rows=120)
        other = (np.arange(120) + PEOPLE) % 120
        figures = crowd_figures(score, own, other, singling_out_by_chance(score, own, other))
        assert [figure.people for figure in figures] == [2, 5, 10, 20, PEOPLE]
        for figure in figures:
            assert figure.linkability.chance == 1 / figure.people
            for one in (figure.linkability, figure.singling_out):
                assert one.low <= one.value <= one.high
        last = figures[-1]
        assert (last.linkability.low > 0.5) == sees
        assert (last.singling_out.low > last.singling_out.chance) == sees


def test_without_other_gestures_nobody_is_singled_out():
    score, own = scores(2)
    none = np.full(PEOPLE, -1)
    figures = crowd_figures(score, own, none, singling_out_by_chance(score, own, none))
    assert all(figure.singling_out is None for figure in figures)


def test_the_choice_between_two_people_is_the_smallest_crowd():
    score, own = scores(1, rows=90)
    score[3, 5:20] = np.nan
    score[7] = 0
    assert wins_over_another(score, own) == pytest.approx(linked_in_crowd(score, own, 2), nan_ok=True)
    score[4, own[4]] = np.nan
    assert np.isnan(wins_over_another(score, own)[4])


def test_the_best_track_of_a_person_counts_and_pairs_left_out_do_not():
    score = np.array([[0.1, 0.9, 0.3, 0.5, 0.7]])
    out = np.array([[False, True, False, False, False]])
    best = best_of_person(score, np.array([0, 0, 0, 1, 1]), out, 3)
    assert np.array_equal(best, [[0.3, 0.7, np.nan]], equal_nan=True)


def test_of_people_with_more_tracks_only_some_count():
    score = np.tile([[0.1, 0.5, 0.7, 0.3]], (200, 1))
    best = best_of_person(score, np.array([0, 1, 1, 2]), np.zeros(score.shape, bool), 3)
    assert (best[:, [0, 2]] == [0.1, 0.3]).all()
    assert 60 < (best[:, 1] == 0.5).sum() < 140  # one of two, drawn anew for each query: 5.6 standard deviations
    assert set(best[:, 1]) == {0.5, 0.7}


@pytest.mark.parametrize("sessions", [2, 3, 4])
def test_blind_guesses_prefer_nobody_however_many_sessions_are_compared(sessions):
    """Of three sessions, a person's own two others were compared, and mostly one of anybody else."""
    random = np.random.default_rng(sessions)
    person, session = np.repeat(np.arange(60), sessions), np.tile(np.arange(sessions), 60)
    asks = session == random.integers(0, sessions, 60)[person]
    for gallery in (~asks, np.ones_like(asks)):
        out = session[asks][:, None] == session[gallery]
        wins = [
            np.nanmean(wins_over_another(best_of_person(score, person[gallery], out, 60), person[asks]))
            for score in random.random((50, *out.shape))
        ]
        assert abs(np.mean(wins) - 0.5) < 5 * np.std(wins) / np.sqrt(len(wins))
