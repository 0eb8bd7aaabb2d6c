"""Simulated people, their gestures, and how they are drawn."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import reference_simulator as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from eventveil.errors import EventError
from eventveil.events import Sensor
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.simulation.body import Body, BodyShapes, Viewpoint, bend
from eventveil.replay.simulation.gestures import Performance
from eventveil.replay.simulation.person import Person
from eventveil.replay.simulation.portable_random import PortableRandom, sine
from eventveil.replay.simulation.scene import LIGHTINGS, MARGIN, Lighting, background, draw
from eventveil.replay.simulation.scene_kernels import WHITE, draw_bar
from eventveil.replay.simulation.wrist_paths import MIRROR

SECONDS = np.arange(0, 3, 0.01)
RIGHT_HANDED = dataclasses.replace(Person.drawn(0, 1), left_handed=False)
SMALL = Sensor(12, 9)

pixels = st.floats(-4, 15) | st.floats(-30, 40)
widths = st.floats(0.1, 4) | st.floats(0.1, 12)
shapes = st.tuples(pixels, pixels, pixels, pixels, widths, widths)
looks = st.tuples(st.floats(0.02, 1), st.integers(0, 3), st.floats(1, 9), st.floats(0, 0.9), st.floats(0, 0.5))


@pytest.mark.kernel
@settings(max_examples=200)
@given(shapes, looks, st.floats(-1, 1))
def test_a_bar_is_drawn_as_by_the_slow_twin(shape, look, side):
    picture = np.linspace(0.1, 0.9, 108).reshape(9, 12)
    expected = picture.tolist()
    reference.bar(shape, look, side, expected)
    draw_bar(np.array(shape), np.array(look, np.float64), 0.0, 0.0, side, picture)
    np.testing.assert_allclose(picture, expected, atol=1e-9)


@pytest.mark.kernel
def test_bars_without_length_and_beyond_the_picture_are_drawn_too():
    picture = np.zeros((9, 12))
    look = np.array([1.0, 1, 3.0, 0.0, 0.0])
    draw_bar(np.array([5.0, 4.0, 5.0, 4.0, 2.0, 2.0]), look, 0.0, 0.0, 0.0, picture)
    assert abs(picture.sum() - np.pi * 4) < 1  # a disc
    before = picture.copy()
    for away in (-1e6, 1e6):
        draw_bar(np.array([away, away, away, away, 2.0, 2.0]), look, 0.0, 0.0, 0.0, picture)
    np.testing.assert_array_equal(picture, before)


def figure(n=1, *, parts=()):
    looks = np.array([(0.5, 0, 1.0, 0.0, 0.0), (1.0, 0, 1.0, 0.0, 0.0)])[: len(parts)].reshape(len(parts), 5)
    shapes = np.tile(np.array(parts, np.float64).reshape(len(parts), 6), (n, 1, 1))
    return BodyShapes(shapes, looks, np.tile(np.arange(len(parts)), (n, 1)))


@pytest.mark.kernel
def test_the_camera_moves_against_the_room_and_the_person_alike():
    wall = background(SMALL, PortableRandom(1))
    disc = (5.0, 4.0, 6.0, 4.0, 2.0, 2.0)
    still, moved = draw(wall, np.array([(0.0, 0.0), (2.0, 1.0)]), figure(2, parts=[disc]), np.ones(2), 0.0, SMALL)
    np.testing.assert_allclose(moved[:-1, :-2].astype(int), still[1:, 2:].astype(int), atol=1)
    between = draw(wall, np.array([(0.25, 0.5)]), figure(), np.ones(1), 0.0, SMALL)[0]
    room = wall[MARGIN : 1 - MARGIN, MARGIN : 1 - MARGIN] * WHITE
    room = 0.75 * room[:, :-1] + 0.25 * room[:, 1:]
    np.testing.assert_allclose(between, (room[1:] + room[:-1]) / 2, atol=1)


@pytest.mark.kernel
def test_what_is_nearer_is_drawn_over_what_is_farther_and_light_is_light():
    grey, white = (5.0, 4.0, 6.0, 4.0, 2.0, 2.0), (5.0, 4.0, 6.0, 4.0, 1.0, 1.0)
    two = figure(2, parts=[grey, white])
    two.order[1] = [1, 0]
    over, under = draw(background(SMALL, PortableRandom(1)), np.zeros((2, 2)), two, np.array([1.0, 0.5]), 0.0, SMALL)
    assert over[4, 5] == WHITE
    assert under[4, 5] == WHITE * 0.5 * 0.5


@pytest.mark.kernel
def test_a_camera_cannot_leave_the_room():
    draw(background(SMALL, PortableRandom(1)), np.array([(99.0, -99.0)]), figure(), np.ones(1), 0.0, SMALL)


def test_a_person_is_the_same_again_and_nobody_else():
    assert Person.drawn(0, 1) == Person.drawn(0, 1)
    people = [Person.drawn(seed, number) for seed in range(2) for number in range(20)]
    assert len(set(people)) == 40


def test_draws_are_even_and_belong_to_their_name():
    draws = [PortableRandom("a", 1).uniform(2, 4)] + [
        random.uniform(2, 4) for random in [PortableRandom("b")] for _ in range(1000)
    ]
    assert 2 <= min(draws) < 2.02 < 3.98 < max(draws) < 4
    assert PortableRandom("a", 1).bits() == PortableRandom("a/1").bits() != PortableRandom("a", 2).bits()
    random = PortableRandom("c")
    assert {random.pick("xyz") for _ in range(50)} == set("xyz")


def test_the_sine_is_one():
    turns = np.linspace(-2, 2, 999)
    np.testing.assert_allclose(sine(turns), np.sin(2 * np.pi * turns), atol=2e-3)


def paths(gesture, person=RIGHT_HANDED, take=0):
    return Performance(gesture, person, PortableRandom("take", take)).at(SECONDS)[0]


def turning(path):
    """Return the area that a path encloses in the picture, positive where it turns clockwise (y points down)."""
    x, y = path[:, 0] - path[:, 0].mean(), path[:, 1] - path[:, 1].mean()
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))


@pytest.mark.parametrize(("gesture", "hand"), [(1, 0), (2, 1), (3, 0), (4, 0), (5, 1), (6, 1)])
def test_gestures_of_one_hand_leave_the_other_still(gesture, hand):
    both = paths(gesture)
    assert np.ptp(both[hand], axis=0).max() > 0.2
    assert np.ptp(both[1 - hand], axis=0).max() == 0
    assert np.sign(both[hand][:, 0].mean()) == (-1, 1)[hand]  # the right hand is on the left of the picture


@pytest.mark.parametrize(("gesture", "hand", "sign"), [(3, 0, -1), (4, 0, 1), (5, 1, -1), (6, 1, 1)])
def test_circles_turn_as_the_person_sees_them(gesture, hand, sign):
    assert turning(paths(gesture)[hand]) * sign > 0.1


def test_hands_clap_together_and_drum_in_turn():
    right, left = paths(0)
    np.testing.assert_allclose(right[:, 0], -left[:, 0])
    assert (left[:, 0] - right[:, 0]).min() < 0.15
    right, left = paths(8)
    assert np.corrcoef(right[:, 1], left[:, 1])[0, 1] < -0.5


def test_the_other_gesture_is_one_of_several_and_left_handed_where_the_person_is():
    takes = [paths(10, take=take) for take in range(12)]
    assert len({round(float(np.ptp(right[:, 0])), 1) for right, _ in takes}) > 1
    mirrored = dataclasses.replace(RIGHT_HANDED, left_handed=True)
    for take, (right, left) in enumerate(takes):
        left_handed = paths(10, mirrored, take)
        np.testing.assert_allclose(left_handed[1] * MIRROR, right, atol=1e-12)
        np.testing.assert_allclose(left_handed[0] * MIRROR, left, atol=1e-12)


@pytest.mark.parametrize("gesture", range(len(GESTURES)))
def test_a_gesture_varies_with_the_take_and_the_person_but_not_with_where_it_is_cut(gesture):
    one = paths(gesture)
    assert any((a != b).any() for a, b in zip(one, paths(gesture, take=1), strict=True))
    assert any((a != b).any() for a, b in zip(one, paths(gesture, Person.drawn(0, 2)), strict=True))
    performance = Performance(gesture, RIGHT_HANDED, PortableRandom("take", 0))
    parts = [performance.at(SECONDS[:100])[0], performance.at(SECONDS[100:])[0]]
    for hand in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[hand] for part in parts]), one[hand])


@pytest.mark.parametrize("gesture", [-1, 11])
def test_there_are_eleven_gestures(gesture):
    with pytest.raises(EventError, match="a gesture from 0 to 10"):
        Performance(gesture, RIGHT_HANDED, PortableRandom(0))


@given(st.lists(st.tuples(*[st.floats(-1, 1)] * 3), min_size=1, max_size=5))
def test_arms_keep_their_lengths_wherever_the_hand_wants_to_be(wanted):
    shoulder, wanted = np.zeros((len(wanted), 3)), np.array(wanted)
    elbow, wrist = bend(shoulder, wanted, 0.3, 0.25, np.array([1.0, 1.0, -0.3]))
    reach = np.linalg.norm(wanted, axis=1)
    straight = np.abs(np.linalg.norm(np.cross(wanted, (1.0, 1.0, -0.3)), axis=1)) > 1e-6
    for bone, length in ((elbow - shoulder, 0.3), (wrist - elbow, 0.25)):
        np.testing.assert_allclose(np.linalg.norm(bone, axis=1)[straight & (reach > 0.01)], length, rtol=1e-6)
    reachable = (reach > 0.08) & (reach < 0.54)
    np.testing.assert_allclose(wrist[reachable], wanted[reachable], atol=1e-9)


def test_the_nearer_arm_is_drawn_last():
    body = Body(RIGHT_HANDED, Viewpoint(100, 64, 64))
    near, far = np.array([[-0.2, 0.2, 0.4, 1]]), np.array([[0.2, 0.2, 0.1, 1]])
    two = body.figure(
        (np.concatenate((near, far * MIRROR)), np.concatenate((far, near * MIRROR))), np.zeros(2), np.zeros(2)
    )
    assert (np.sort(two.order, axis=1) == np.arange(len(two.looks))).all()
    right_last, left_last = two.shapes[[0, 1], two.order[:, -1]]
    assert right_last[0] < 64 < left_last[0]


@pytest.mark.kernel
@pytest.mark.parametrize("name", LIGHTINGS)
def test_every_light_leaves_white_below_the_brightest_value(name):
    light = Lighting.named(name)
    assert 0 < light.level * (1 + light.flicker) * WHITE * (1 + 0.35 * abs(light.side)) < 65_536
