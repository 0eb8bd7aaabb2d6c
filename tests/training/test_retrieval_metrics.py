"""Ranking: the protocol of the papers, the entries left out, and independence from the order of the gallery."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import reference_training as reference
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from eventveil.errors import DatasetError
from eventveil.models.kinds import initialise
from eventveil.training.evaluation.retrieval_metrics import (
    Labels,
    cosine,
    embed,
    equal_error_rate,
    left_out,
    rank,
    rank_scores,
)


@st.composite
def labels(draw, *, most=7):
    """Entries of few people, targets and sessions; sometimes of the same trial."""
    n = draw(st.integers(1, most))

    def column(highest):
        return np.array(draw(st.lists(st.integers(0, highest), min_size=n, max_size=n)))

    person, trial = column(2), column(30)
    return Labels(person, column(2), person * 100 + trial, column(1))  # a trial belongs to one person


def entries(person, target=None, trial=None, session=None):
    n = len(person)
    spread = [np.asarray(column) for column in (target or range(n), trial or range(100, 100 + n), session or range(n))]
    return Labels(np.asarray(person), *spread)


@given(labels(), labels(), st.booleans())
def test_entries_left_out_are_those_of_the_twin(query, gallery, disjoint):
    got = left_out(query, gallery, session_disjoint=disjoint)
    np.testing.assert_array_equal(got, reference.left_out(query, gallery, disjoint))


def test_left_out_are_the_same_file_and_the_same_person_at_the_same_thing():
    query = Labels(*(np.array([value]) for value in ("ann", "wave", "a.npy", "monday")))
    gallery = Labels(
        np.array(["ann", "ann", "ann", "bob", "ann"]),
        np.array(["wave", "clap", "roll", "wave", "clap"]),
        np.array(["b.npy", "a.npy", "c.npy", "d.npy", "e.npy"]),
        np.array(["friday", "friday", "friday", "monday", "monday"]),
    )
    assert left_out(query, gallery).tolist() == [[True, True, False, False, False]]
    assert left_out(query, gallery, session_disjoint=True).tolist() == [[True, True, False, False, True]]


@given(labels(), labels(most=14), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_ranking_is_its_twin(query, gallery, disjoint, seed):
    random = np.random.default_rng(seed)
    query_QE, gallery_GE = random.normal(size=(len(query), 3)), random.normal(size=(len(gallery), 3))
    table = reference.left_out(query, gallery, disjoint)
    want = [
        reference.first_match_and_precision(query_QE[q], gallery_GE, gallery.person == query.person[q], table[q])
        for q in range(len(query))
    ]
    counted = [pair for pair in want if pair is not None]
    if not counted:
        with pytest.raises(DatasetError, match="has a match among"):
            rank(query_QE, gallery_GE, query, gallery, session_disjoint=disjoint)
        return
    got = rank(query_QE, gallery_GE, query, gallery, session_disjoint=disjoint)
    assert got.first_match.tolist() == [first for first, _ in counted]
    np.testing.assert_allclose(got.average_precision, [area for _, area in counted])
    assert got.persons.tolist() == [p for p, pair in zip(query.person, want, strict=True) if pair is not None]
    assert got.unmatched == len(want) - len(counted)
    for k, share in ((1, got.rank1), (5, got.rank5), (10, got.rank10)):
        assert share == pytest.approx(sum(first <= k for first, _ in counted) / len(counted))
    assert got.mean_average_precision == pytest.approx(np.mean([area for _, area in counted]))


def test_average_precision_is_that_of_market_1501():
    # Matches at places 1 and 3 of 4: recall rises by 1/2 at precision 1, then by 1/2 between precisions 1/2 and 2/3.
    score = np.array([[4.0, 3.0, 2.0, 1.0]])
    query, gallery = entries([7], target=[9]), entries([7, 1, 7, 2], trial=[1, 2, 3, 4])
    ranking = rank_scores(score, query, gallery, left_out(query, gallery))
    assert ranking.mean_average_precision == pytest.approx(0.5 * 1 + 0.5 * (1 / 2 + 2 / 3) / 2)
    assert ranking.first_match.tolist() == [1]


def test_ranks_are_counted_up_to_and_with_their_number():
    for place, want in (
        (1, (1, 1, 1)),
        (2, (0, 1, 1)),
        (5, (0, 1, 1)),
        (6, (0, 0, 1)),
        (10, (0, 0, 1)),
        (11, (0, 0, 0)),
    ):
        score = -np.arange(12.0)[None]
        query = entries([7], target=[99])
        gallery = entries([7 if number == place else 1 for number in range(1, 13)], trial=list(range(12)))
        ranking = rank_scores(score, query, gallery, left_out(query, gallery))
        assert (ranking.rank1, ranking.rank5, ranking.rank10) == want


def test_what_is_left_out_neither_helps_nor_stands_in_the_way():
    query = entries([0], target=[5])
    gallery = entries([0, 1, 0], target=[5, 6, 7])
    for first in (3.0, -3.0):
        ranking = rank_scores(np.array([[first, 1.0, 2.0]]), query, gallery, left_out(query, gallery))
        assert (ranking.rank1, ranking.mean_average_precision) == (1, 1)


@given(labels(), labels(most=14), st.data())
def test_of_tied_entries_any_may_come_first_but_none_that_is_left_out(query, gallery, data):
    values = st.sampled_from([-np.inf, 0.0, 1.0])
    size = len(query) * len(gallery)
    score = np.array(data.draw(st.lists(values, min_size=size, max_size=size))).reshape(len(query), len(gallery))
    out = left_out(query, gallery)
    match = (query.person[:, None] == gallery.person) & ~out
    assume(match.any())
    places = iter(rank_scores(score, query, gallery, out).first_match.tolist())
    for row in np.flatnonzero(match.any(1)):
        best = score[row][match[row]].max()
        better = int((score[row][~out[row]] > best).sum())
        others = int(((score[row] == best) & ~out[row] & ~match[row]).sum())
        assert better + 1 <= next(places) <= better + others + 1


def test_an_attacker_who_tells_nobody_apart_is_at_chance_whatever_the_gallerys_order():
    person = np.repeat(np.arange(10), 30)
    query, gallery = entries(np.tile(np.arange(10), 30)), entries(person)
    gallery = Labels(gallery.person, gallery.target + 1000, gallery.trial + 1000, gallery.session)
    ranking = rank(np.ones((300, 4)), np.ones((300, 4)), query, gallery)
    assert abs(ranking.rank1 - 0.1) < 0.07  # four standard deviations of 300 random draws
    assert abs(ranking.mean_average_precision - 0.1) < 0.05
    assert rank(np.zeros((300, 4)), np.ones((300, 4)), query, gallery).rank1 < 0.2


def test_the_same_scores_are_ranked_the_same_twice():
    query, gallery = entries([0, 1, 2]), entries([0, 1, 2, 0, 1, 2], trial=[9, 8, 7, 6, 5, 4], target=[9] * 6)
    score = np.zeros((3, 6))
    again = [rank_scores(score, query, gallery, left_out(query, gallery)) for _ in range(2)]
    np.testing.assert_array_equal(again[0].first_match, again[1].first_match)


def test_diverged_embeddings_and_wrong_sizes_are_refused():
    query = gallery = entries([0, 1])
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="not finite"):
            rank(np.full((2, 3), bad), np.ones((2, 3)), query, gallery)
    with pytest.raises(ValueError, match=r"\(2, 2\), got \(3, 2\)"):
        rank(np.ones((3, 3)), np.ones((2, 3)), query, gallery)


def test_the_length_of_an_embedding_does_not_matter():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(4, 3)), random.normal(size=(5, 3))
    lengths = np.array([[1e-6], [1], [3], [1e6]])
    np.testing.assert_allclose(cosine(a, b), cosine(a * lengths, b))
    assert cosine(a, a).diagonal() == pytest.approx(1)
    assert cosine(np.zeros((1, 3)), b).tolist() == [[0] * 5]


@given(labels(), labels(most=10), st.lists(st.sampled_from((-1.0, 0.0, 0.1, 0.5)), min_size=70, max_size=70))
def test_the_equal_error_rate_is_its_twin(query, gallery, scores):
    score = np.array(scores[: len(query) * len(gallery)]).reshape(len(query), len(gallery))
    table = left_out(query, gallery)
    pairs = list(itertools.product(range(len(query)), range(len(gallery))))
    genuine = [score[q, g] for q, g in pairs if query.person[q] == gallery.person[g] and not table[q, g]]
    impostor = [score[q, g] for q, g in pairs if query.person[q] != gallery.person[g] and not table[q, g]]
    if genuine and impostor:
        want = reference.equal_error_rate(genuine, impostor)
        assert equal_error_rate(score, query, gallery, table) == pytest.approx(want)
    else:
        with pytest.raises(DatasetError, match="expected pairs"):
            equal_error_rate(score, query, gallery, table)


def test_the_equal_error_rate_of_simple_cases():
    query, gallery = entries([0, 1]), entries([0, 1], target=[8, 9], trial=[1, 2])
    table = left_out(query, gallery)
    for score, want in (([[1, 0], [0, 1]], 0), ([[0, 1], [1, 0]], 1), ([[1, 1], [1, 1]], 0.5)):
        assert equal_error_rate(np.array(score, float), query, gallery, table) == want


def test_of_thresholds_that_are_equally_good_the_lowest_counts_whatever_rounds():
    # At 0.0 nothing is refused and 2 of 3 are accepted; at 0.1 everything is refused and 1 of 3 accepted.
    query, gallery = entries([0]), entries([0, 1, 1, 1], target=[8] * 4, trial=[1, 2, 3, 4])
    score = np.array([[0.0, -1.0, 0.0, 0.1]])
    assert equal_error_rate(score, query, gallery, left_out(query, gallery)) == pytest.approx(1 / 3)


def test_embedding_is_that_of_the_network_and_of_its_mirror_image():
    config = {"depth": 18, "width": 4, "channels": 3, "classes": 5, "embedding": 8}
    network = initialise("resnet_classifier", config, seed=0)
    x = torch.randn(5, 3, 33, 40)
    with torch.no_grad():
        plain, mirrored = network(x).embedding, network(x[:, :, :, torch.arange(39, -1, -1)]).embedding
    for batch in (1, 2, 5, 9):
        got = embed(network, x, batch)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, plain, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(embed(network, x, batch, mirrored=True), plain + mirrored, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain, mirrored)
