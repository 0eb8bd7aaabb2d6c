"""Augmentation: where each pixel goes, that counts stay whole, and the mirror image of each gesture."""

from __future__ import annotations

import numpy as np
import pydantic
import pytest
import reference_training as reference
import torch
from hypothesis import given
from hypothesis import strategies as st

from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.plain_gestures import PATHS
from eventveil.replay.simulation.wrist_paths import MIRROR, Beat
from eventveil.training.data.augment import MIRRORED_GESTURES, augment, draw_augmentation
from eventveil.training.settings import AugmentSettings

IN_THE_PICTURE = [0, 1, 4, 5]  # x and y of both wrists
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def counts(batch, size, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).poisson(1.0, (batch, 2, *size)).astype(np.float32))


@given(SIZES, st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.floats(-180, 180), st.booleans()),
                       min_size=1, max_size=4))  # fmt: skip
def test_augmenting_is_its_twin(size, parameters):
    # Awkward angles, so that no source lies exactly between two pixels, where rounding would decide.
    rows = [(right, down, degrees + 0.1234567, mirror) for right, down, degrees, mirror in parameters]
    x = counts(len(rows), size)
    got = augment(x, torch.tensor([[float(value) for value in row] for row in rows]))
    for window, out, row in zip(x, got, rows, strict=True):
        np.testing.assert_array_equal(out, reference.augmented(window.numpy(), *row))


@given(SIZES)
def test_all_zero_parameters_change_nothing(size):
    x = counts(3, size)
    assert torch.equal(augment(x, torch.zeros(3, 4)), x)


def test_nothing_is_changed_at_the_size_of_a_large_sensor_either():
    x = counts(1, (720, 1280))
    assert torch.equal(augment(x, torch.zeros(1, 4)), x)


def test_moving_is_a_crop_of_the_padded_window():
    x = counts(1, (128, 128))
    for right, down in ((10, -10), (-3, 7), (0, 1)):
        padded = np.pad(x.numpy(), ((0, 0), (0, 0), (10, 10), (10, 10)))
        crop = padded[:, :, 10 - down : 138 - down, 10 - right : 138 - right]
        np.testing.assert_array_equal(augment(x, torch.tensor([[right, down, 0.0, 0.0]])), crop)


def test_quarter_turns_and_mirrors_are_exact():
    x = counts(1, (6, 6))
    for degrees, quarters in ((90.0, -1), (-90.0, 1), (180.0, 2)):  # clockwise in the picture
        np.testing.assert_array_equal(
            augment(x, torch.tensor([[0, 0, degrees, 0]])), np.rot90(x.numpy(), quarters, axes=(2, 3))
        )
    assert torch.equal(augment(x, torch.tensor([[0.0, 0.0, 0.0, 1.0]])), x.flip(3))


def test_it_moves_and_turns_before_it_mirrors():
    x = counts(1, (8, 8))
    both = augment(x, torch.tensor([[2.0, -1.0, 20.0, 1.0]]))
    assert torch.equal(both, augment(x, torch.tensor([[2.0, -1.0, 20.0, 0.0]])).flip(3))
    assert not torch.equal(both, augment(x.flip(3), torch.tensor([[2.0, -1.0, 20.0, 0.0]])))


def test_counts_stay_whole_and_none_is_made():
    x = counts(64, (24, 32))
    out = augment(x, draw_augmentation(64, (32, 24), torch.Generator().manual_seed(0), AugmentSettings(mirror=True)))
    assert torch.equal(out, out.round())
    assert out.min() >= 0
    assert out.max() <= x.max()
    assert not torch.equal(out, x)


def test_each_window_has_its_own_parameters_and_any_share_of_a_batch_is_the_same():
    x = counts(6, (12, 15))
    drawn = draw_augmentation(6, (15, 12), torch.Generator().manual_seed(1), AugmentSettings())
    whole = augment(x, drawn)
    assert torch.equal(torch.cat([augment(x[:2], drawn[:2]), augment(x[2:], drawn[2:])]), whole)
    assert len({tuple(row) for row in drawn.tolist()}) == 6


def test_autocast_moves_no_pixel():
    x = counts(4, (128, 128))
    drawn = draw_augmentation(4, (128, 128), torch.Generator().manual_seed(2), AugmentSettings())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augment(x, drawn), augment(x, drawn))
        inside = augment(x, drawn)
    assert torch.equal(inside, augment(x, drawn))


def test_parameters_are_drawn_evenly_within_their_ranges():
    settings = AugmentSettings(mirror=True)
    drawn = draw_augmentation(42_000, (128, 64), torch.Generator().manual_seed(3), settings)
    for column, farthest in ((0, 10), (1, 5)):  # 128 // 12 and 64 // 12, as the paper pads
        values, times = drawn[:, column].unique(return_counts=True)
        assert values.tolist() == list(range(-farthest, farthest + 1))
        np.testing.assert_allclose(times / 42_000, 1 / (2 * farthest + 1), rtol=0.12)
    degrees = drawn[:, 2]
    assert -15 <= degrees.min() < -14.9
    assert 14.9 < degrees.max() <= 15
    assert abs(degrees.mean()) < 0.2
    assert set(drawn[:, 3].tolist()) == {0, 1}
    assert abs(drawn[:, 3].mean() - 0.5) < 0.015
    assert not draw_augmentation(500, (9, 9), torch.Generator().manual_seed(3), AugmentSettings())[:, 3].any()


def test_a_draw_follows_its_generator_and_the_settings_do_not_shift_it():
    def draw(**settings):
        generator = torch.Generator().manual_seed(4)
        drawn = draw_augmentation(8, (128, 128), generator, AugmentSettings(**settings))
        return drawn, torch.rand(1, generator=generator)

    plain, after = draw()
    assert torch.equal(plain, draw()[0])
    still, later = draw(padding=0, rotation_deg=0)
    assert not still.any()
    assert torch.equal(after, later)


def test_wrong_shapes_and_settings_are_refused():
    for x, parameters in ((counts(2, (4, 4)), torch.zeros(1, 4)), (counts(2, (4, 4))[0], torch.zeros(2, 4)),
                          (counts(2, (4, 4)), torch.zeros(2, 3))):  # fmt: skip
        with pytest.raises(ValueError, match=r"expected \(B, C, H, W\) and \(B, 4\)"):
            augment(x, parameters)
    for bad in ({"padding": 1.5}, {"rotation_deg": -1}, {"flip": True}):
        with pytest.raises(pydantic.ValidationError, match=next(iter(bad))):
            AugmentSettings(**bad)


def test_a_mirror_exchanges_the_sides_and_mirrors_back():
    assert len(MIRRORED_GESTURES) == len(GESTURES)
    for gesture, mirrored in enumerate(MIRRORED_GESTURES):
        assert MIRRORED_GESTURES[mirrored] == gesture
        name = GESTURES[gesture]
        for side, other in (("right", "left"), ("left", "right")):
            if name.startswith(side):
                assert GESTURES[mirrored].startswith(other)
        if not name.startswith(("right", "left")):
            assert mirrored == gesture


@pytest.mark.parametrize("gesture", range(1, 7))
def test_a_mirrored_path_of_the_simulator_is_that_of_the_mirrored_gesture(gesture):
    turns = np.arange(64) / 64
    beat = Beat(turns=turns, size=np.ones(64), snap=0.0, lag=0.0)
    right, left = PATHS[gesture][1](beat)
    # A mirror swaps the arms. Only the picture is compared, because the depth of a circle has only one direction.
    mirrored = np.concatenate((left * MIRROR, right * MIRROR), axis=1)[:, IN_THE_PICTURE]
    fits = []
    for number, (_, path) in enumerate(PATHS[:7]):
        shifts = [path(Beat(turns + s / 64, np.ones(64), 0.0, 0.0)) for s in range(64)]
        gap = min(np.abs(mirrored - np.concatenate(pair, axis=1)[:, IN_THE_PICTURE]).max() for pair in shifts)
        if gap < 1e-9:
            fits.append(number)
    assert fits == [MIRRORED_GESTURES[gesture]]
