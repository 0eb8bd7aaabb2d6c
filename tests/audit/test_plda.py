"""The comparison of pairs scores as its model says, finds a planted trait of people, and nothing where none is."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from eventveil.audit.attacks.discriminant import Features, most_telling
from eventveil.audit.evaluation.plda import Plda, Sessions


def drawn(people, sessions, windows, features, *, person, session, seed):
    """Draw windows whose features have these standard deviations by person and by session, and 1 within sessions."""
    random = np.random.default_rng(seed)
    of_person = person * random.standard_normal((people, 1, 1, features))
    of_session = session * random.standard_normal((people, sessions, 1, features))
    x = of_person + of_session + random.standard_normal((people, sessions, windows, features))
    keys = np.indices((people, sessions, windows)).reshape(3, -1)
    return x.reshape(-1, features), keys[0].astype(str), keys[1].astype(str)


def test_a_score_is_the_log_of_the_likelihood_ratio():
    random = np.random.default_rng(0)
    person, session, window = (root @ root.T for root in random.standard_normal((3, 2, 2)))
    model = Plda(np.array([2.0, 0.5]), person + np.eye(2), session, window)
    query, gallery = random.standard_normal((3, 2)), random.standard_normal((4, 2))
    score = model.score(query, gallery, 5)
    noise, own = session + window / 5 + 1e-6 * np.eye(2), person + np.eye(2)
    for q in range(3):
        for g in range(4):
            a, b = query[q] / [2, 0.5], gallery[g] / [2, 0.5]
            whole = np.block([[own + noise, own], [own, own + noise]])
            same = multivariate_normal(np.zeros(4), whole).logpdf(np.concatenate((a, b)))
            apart = sum(multivariate_normal(np.zeros(2), own + noise).logpdf(one) for one in (a, b))
            assert score[q, g] == pytest.approx(same - apart, rel=1e-4, abs=1e-4)


def test_the_covariances_are_those_that_were_planted():
    """600 people: the standard error of a variance of 4 is 0.23, and five of them are 1.2."""
    model = Plda.fit(*drawn(600, 3, 4, 2, person=2.0, session=0.5, seed=1))
    for covariance, expected in ((model.person_KK, 4), (model.session_KK, 0.25), (model.window_KK, 1)):
        assert np.diag(covariance) * model.scale_K**2 == pytest.approx([expected] * 2, rel=0.3)


def rank1(person, seed):
    x, names, sessions = drawn(40, 2, 6, 8, person=person, session=0.5, seed=seed)
    train = names.astype(int) < 20
    model = Plda.fit(x[train] - x[train].mean(0), names[train], sessions[train])
    means = Sessions.of(x[~train] - x[train].mean(0), names[~train], sessions[~train])
    query, gallery = means.mean_SF[::2], means.mean_SF[1::2]
    return (model.score(query, gallery, 6).argmax(1) == np.arange(20)).mean()


def test_people_are_found_by_what_they_have_in_all_sessions_and_only_then():
    """Chance is 1 in 20; more than 4 hits of 20 by luck happen once in 400 draws, and the seed is fixed."""
    assert rank1(2.0, 3) > 0.8
    assert rank1(0.0, 3) <= 0.2


def test_the_features_that_tell_people_apart_come_first():
    x, names, sessions = drawn(12, 2, 10, 500, person=0.0, session=0.3, seed=4)
    x[:, 321] += 2 * np.random.default_rng(5).standard_normal(12)[names.astype(int)]
    features = Features(x, names, sessions, np.zeros(len(x), np.int64))
    assert most_telling(features)[0] == 321
    # A session that all people share, as a light, distinguishes no one.
    x[:, 7] += 50 * sessions.astype(int)
    assert 7 not in most_telling(features, 5)


def test_the_mean_of_a_target_is_that_of_training():
    training = Features(
        np.array([[1.0], [3], [10]]), np.array(["a", "b", "b"]), np.array(["x"] * 3), np.array([0, 0, 1])
    )
    test = Features(np.array([[5.0], [5], [5]]), np.array(["c"] * 3), np.array(["x"] * 3), np.array([0, 1, 2]))
    assert test.without_means_of(training).x_NF.ravel().tolist() == pytest.approx([3, -5, 5 - 14 / 3])
