"""Losses: the formulas of the papers, with finite gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference_training as reference
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventveil.training.objectives.losses import (
    anonymizer_objective,
    batch_hard_triplet,
    bounded_objective,
    coarse_difference,
    event_reid_objective,
    towards_uniform,
)


@st.composite
def batches(draw):
    """Embeddings of few people, often equal or nearly equal, and a margin."""
    size, width = draw(st.integers(1, 9)), draw(st.integers(1, 3))
    value = st.sampled_from((0.0, 0.0, 1.0, -1.0, 1e-3, 3.7, 400.0))
    rows = draw(st.lists(st.lists(value, min_size=width, max_size=width), min_size=size, max_size=size))
    person = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    return rows, person, draw(st.sampled_from((0.0, 0.3, 4.0)))


@given(batches())
def test_the_triplet_loss_is_its_twin_and_has_a_gradient(batch):
    rows, person, margin = batch
    embedding = torch.tensor(rows, requires_grad=True)
    loss = batch_hard_triplet(embedding, torch.tensor(person), margin)
    assert loss.item() == pytest.approx(reference.triplet(rows, person, margin), rel=1e-5, abs=1e-5)
    loss.backward()
    assert torch.isfinite(embedding.grad).all()


@given(batches())
def test_with_anchors_alone_kept_the_triplet_loss_is_the_published_one(batch):
    rows, person, margin = batch
    embedding = torch.tensor(rows, requires_grad=True)
    loss = batch_hard_triplet(embedding, torch.tensor(person), margin, alone="keep")
    assert loss.item() == pytest.approx(reference.published_triplet(rows, person, margin), rel=1e-5, abs=1e-5)
    loss.backward()
    assert torch.isfinite(embedding.grad).all()


def test_an_anchor_alone_pushes_the_nearest_person_away_only_if_kept():
    rows, person = [[0.0], [1.0], [3.0]], torch.tensor([0, 0, 1])
    gradients = {}
    for alone in ("drop", "keep"):
        embedding = torch.tensor(rows, requires_grad=True)
        batch_hard_triplet(embedding, person, alone=alone).backward()
        gradients[alone] = embedding.grad.flatten().tolist()
    # Losses 4 + 1 - 3 and 4 + 1 - 2, and, if kept, 4 + 0 - 2 of the third, which is alone. Each adds +1 or -1 for a
    # distance, over two anchors or three.
    assert gradients["drop"] == pytest.approx([-1 / 2, 3 / 2, -1])
    assert gradients["keep"] == pytest.approx([-1 / 3, 4 / 3, -1])


def test_the_margin_is_the_papers():
    embedding, person = torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([0, 0, 1])
    # Anchor 0: 4 + 1 - 3, anchor 1: 4 + 1 - 2; the third has no positive.
    assert batch_hard_triplet(embedding, person).item() == 2.5


@pytest.mark.parametrize("person", [[0], [0, 1, 2], [5, 5, 5]])
def test_a_batch_without_a_triplet_is_0_and_can_still_go_backwards(person):
    embedding = torch.randn(len(person), 4, requires_grad=True)
    loss = batch_hard_triplet(embedding, torch.tensor(person))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(embedding.grad, torch.zeros(len(person), 4))


def test_the_triplets_gradient_is_that_of_its_values():
    embedding = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    person = torch.tensor([0, 0, 1, 1, 2, 2, 3])
    assert torch.autograd.gradcheck(lambda x: batch_hard_triplet(x, person), embedding)


def test_small_distances_between_large_embeddings_are_not_lost():
    embedding = 1e4 + torch.tensor([[0.0], [1.0], [3.0]])
    assert batch_hard_triplet(embedding, torch.tensor([0, 0, 1])).item() == 2.5


def test_half_precision_embeddings_are_compared_in_full():
    embedding, person = torch.randn(8, 64) * 30, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    loss = batch_hard_triplet(embedding.bfloat16(), person)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, batch_hard_triplet(embedding.bfloat16().float(), person))


logits = st.lists(st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3), min_size=1, max_size=4)


@given(logits)
def test_towards_uniform_is_its_twin_and_never_below_0(rows):
    value = towards_uniform(torch.tensor(rows)).item()
    assert value == pytest.approx(reference.towards_uniform(rows), rel=1e-4, abs=1e-5)
    assert value > -1e-6


def test_towards_uniform_is_0_only_where_all_is_even_and_stays_finite():
    assert towards_uniform(torch.full((3, 7), 2.5)).item() == pytest.approx(0, abs=1e-6)
    # More certain than float32 can express: KL grows with the logit, here by (K - 1) / K of it.
    certain = torch.tensor([[1e4, 0.0, 0.0, 0.0]], requires_grad=True)
    loss = towards_uniform(certain)
    loss.backward()
    assert loss.item() == pytest.approx(7500 - math.log(4), rel=1e-4)
    assert torch.isfinite(certain.grad).all()


def test_the_published_objective_has_no_floor_and_ours_has():
    target = torch.tensor(0.5)
    person = torch.tensor([0, 0, 1, 1])
    led_astray = torch.tensor([[0.0], [1.0], [0.0], [1.0]])  # each nearest to the wrong person
    published = [anonymizer_objective(target, batch_hard_triplet(k * led_astray, person)).item() for k in (1, 10, 100)]
    np.testing.assert_allclose(published, [0.5 - 4 - 1, 0.5 - 4 - 10, 0.5 - 4 - 100])
    for scale in (0, 1, 10, 100):
        logits = scale * torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
        want = 0.5 + 0.3 * reference.towards_uniform(logits.tolist())
        assert bounded_objective(target, logits, 0.3).item() == pytest.approx(want, rel=1e-5)
        assert want >= 0.5


def test_the_event_reid_objective_is_the_papers_sum():
    structure, picture = torch.tensor([0.9, 0.5]), torch.tensor([0.2, 0.4])
    loss = event_reid_objective(structure, picture, torch.tensor(2.0), alpha=3, beta=5, gamma=7)
    assert loss.item() == pytest.approx(3 * (1 - 0.7) + 5 * 0.3 + 7 * 2)
    assert event_reid_objective(structure, picture, torch.tensor(2.0)).item() == pytest.approx(0.3 + 0.3 + 2)


def test_the_coarse_difference_is_its_twin():
    generator = np.random.default_rng(2)
    x, y = generator.poisson(2, (2, 3, 8, 12)).astype(np.float32), generator.normal(0, 3, (2, 3, 8, 12))
    total = 0.0
    for b, c, row, column in np.ndindex(2, 3, 2, 3):
        square = np.s_[b, c, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        means = [np.mean([math.copysign(math.log(1 + abs(v)), v) for v in n[square].ravel()]) for n in (x, y)]
        total += (means[0] - means[1]) ** 2
    got = coarse_difference(torch.from_numpy(x), torch.from_numpy(y).float())
    assert got.item() == pytest.approx(total / (2 * 3 * 2 * 3), rel=1e-4)


def test_the_coarse_difference_sees_where_and_not_how_it_looks():
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 1, 1] = 5
    elsewhere_in_the_square, elsewhere = torch.roll(x, 1, 3), torch.roll(x, 4, 3)
    assert coarse_difference(x, elsewhere_in_the_square).item() == 0
    assert coarse_difference(x, elsewhere).item() > 0
