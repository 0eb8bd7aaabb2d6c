"""Looks of the simulated people: contrast, motion and noise."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import EventError
from eventveil.events import Sensor
from eventveil.replay.simulation.body import ARM_PARTS, Body, Viewpoint
from eventveil.replay.simulation.camera import DVS128, Shot, simulate
from eventveil.replay.simulation.canvas import side_by_side
from eventveil.replay.simulation.gestures import Performance, idle
from eventveil.replay.simulation.looks import LOOKS, look_named
from eventveil.replay.simulation.portable_random import PortableRandom
from eventveil.replay.simulation.sensor import EventSensor, Pixels
from eventveil.replay.simulation.wrist_paths import points

SECONDS = np.arange(0, 4, 0.01)
ROLL, DRUMS, LEFT_CIRCLE = 7, 8, 5


def share_with_a_dark_front(look, subject):
    """Return the share of moments at which a circling arm fires OFF ahead of where it fires ON."""
    packets = simulate(5, subject=subject, session=subject, gesture=LEFT_CIRCLE, seconds=1.0, shot=Shot(look=look))
    dark = []
    for before, now in itertools.pairwise(packets):
        places, on = np.stack((now.x, now.y), axis=1).astype(float), now.p
        moved = np.median(places, axis=0) - (np.median(before.x), np.median(before.y)) if len(before) else np.zeros(2)
        if min(np.count_nonzero(on), np.count_nonzero(~on)) > 100 and np.hypot(*moved) > 2:
            dark.append(moved @ (places[~on].mean(axis=0) - places[on].mean(axis=0)) > 0)
    assert len(dark) >= 15
    return np.mean(dark)


@pytest.mark.parametrize("subject", [1, 2, 3])
def test_an_arm_of_dvs_gesture_darkens_the_wall_where_it_advances_and_a_plain_one_lightens_it(subject):
    assert share_with_a_dark_front("dvs-gesture", subject) > 0.7
    assert share_with_a_dark_front("plain", subject) < 0.3


def test_arms_of_varied_people_are_darker_and_lighter_than_walls_and_shirts():
    look = look_named("varied")
    seen = set()
    for number in range(1, 30):
        person = look.person(0, number)
        for session in range(2):
            wall = np.median(look.wall(Sensor(24, 20), PortableRandom("room", 0, number, session)))
            arm = person.shirt_light if person.long_sleeves else person.skin_light
            sleeve = "sleeve" if person.long_sleeves else arm < person.shirt_light
            seen.add((bool(arm < wall), sleeve))
    assert seen == {(wall, shirt) for wall in (False, True) for shirt in (False, True, "sleeve")}


def natural(gesture, take=0):
    person = dataclasses.replace(look_named("dvs-gesture").person(0, 1), left_handed=False)
    return Performance(gesture, person, PortableRandom("take", take)).at(SECONDS)[0]


def test_rolling_wrists_turn_about_each_other_before_the_chest():
    right, left = natural(ROLL)
    apart = right - left
    turns = np.unwrap(np.arctan2(apart[:, 1], apart[:, 2])) / (2 * np.pi)
    assert abs(turns[-1] - turns[0]) > 2
    assert np.mean(np.sign(np.diff(turns)) == np.sign(turns[-1] - turns[0])) > 0.95
    assert np.abs(apart[:, 0]).max() < 0.15
    assert 0.15 < (right[:, 1].mean() + left[:, 1].mean()) / 2 < 0.45


def test_drumming_hands_move_in_turn_from_the_chest_to_the_hips():
    right, left = natural(DRUMS)
    assert np.corrcoef(right[:, 1], left[:, 1])[0, 1] < -0.5
    assert min(np.ptp(right[:, 1]), np.ptp(left[:, 1])) > 0.25


def test_the_right_hand_claps_onto_the_left_from_a_height_that_differs_between_takes():
    raised = []
    for take in range(12):
        right, left = natural(0, take)
        gap = left[:, 0] - right[:, 0]
        assert gap.min() < 0.17 < 0.22 < gap.max()
        assert np.ptp(left[:, 0]) < np.ptp(right[:, 0])
        raised.append(np.ptp(right[:, 1]))
    assert min(raised) < 0.04
    assert max(raised) > 0.08


def test_hands_are_fists_where_they_roll_or_drum_and_open_where_they_wave():
    def opening(gesture):
        return {round(float(hand[0, 3]), 1) for hand in natural(gesture)}

    assert opening(ROLL) == opening(DRUMS) == {0.0}
    assert opening(1) == {1.0}


def test_an_elbow_stays_in_place_while_the_hand_moves_across_the_chest():
    body = Body(look_named("dvs-gesture").person(0, 1), Viewpoint(100, 64, 64))
    right = points(np.linspace(-0.2, 0.0, 10), 0.3, 0.25)
    shapes = body.figure((right, idle(10)[1]), np.zeros(10), np.zeros(10)).shapes
    elbow = shapes[:, -2 * ARM_PARTS, 2:4]  # the upper arm comes first, and ends at the elbow
    assert np.ptp(elbow, axis=0).max() < 5 < 15 < np.ptp(shapes[:, -2 * ARM_PARTS + 1, 2])


def test_people_of_dvs_gesture_stand_stiller_than_plain_ones():
    for number in range(1, 6):
        still, plain = (LOOKS[name].person(0, number) for name in ("dvs-gesture", "plain"))
        assert still.sway < plain.sway / 2
        assert still.nod <= plain.nod / 2


def test_other_gestures_are_varied():
    person = look_named("dvs-gesture").person(0, 1)
    takes = [Performance(10, person, PortableRandom("take", take)).at(SECONDS)[0] for take in range(40)]
    reaches = {tuple(np.round(np.ptp(np.concatenate(hands, axis=1), axis=0), 1)) for hands in takes}
    assert len(reaches) > 8


@pytest.mark.parametrize("share", [0.18, 0.38, 0.5])
def test_noise_has_its_rate_and_its_share_of_on_events(share):
    pixels = Pixels(leak_hz=0.0, shot_hz=10.0, shot_on=share)
    sensor = EventSensor(Sensor(32, 32), pixels=pixels, step_us=2_000)
    dark = np.zeros((500, 32, 32), np.uint16)
    events = sensor.watch(dark)
    # About 10,000 events: five standard deviations are 500 of them, or 0.025 of the share. The seed is fixed.
    assert abs(len(events) - 10 * 32 * 32 * 0.998) < 500
    assert abs(events.p.mean() - share) < 0.025


def test_an_unknown_look_lists_the_known_ones(tmp_path):
    for ask in (
        lambda: Shot(look="noir"),
        lambda: look_named("noir"),
    ):
        with pytest.raises(EventError, match=r"unknown look 'noir'; known: plain, dvs-gesture, varied"):
            ask()
    result = CliRunner().invoke(app, ["simulate", "gestures", str(tmp_path / "set"), "--look", "noir"])
    assert "known: plain, dvs-gesture, varied" in str(result.exception)
    assert not (tmp_path / "set").exists()


def test_every_look_gives_other_events_and_the_same_again():
    def columns(look):
        shot = Shot(sensor=Sensor(24, 20), look=look)
        packets = simulate(0, subject=1, session=0, gesture=3, seconds=0.2, shot=shot)
        return [(packet.t.tobytes(), packet.x.tobytes(), packet.p.tobytes()) for packet in packets]

    made = [columns(look) for look in LOOKS]
    assert all(made[a] != made[b] for a in range(len(made)) for b in range(a))
    assert made == [columns(look) for look in LOOKS]


def test_some_varied_people_sit_drum_with_one_hand_make_small_movements_and_have_company():
    look = look_named("varied")
    people = [look.person(0, number) for number in range(1, 31)]
    assert {(person.seated, person.one_hand) for person in people} == set(itertools.product((False, True), repeat=2))
    assert min(person.amplitude for person in people) < 0.7
    view = Viewpoint(100, 64, 64)
    company = [look.bystander(0, (number, 0), view) is not None for number in range(1, 31)]
    assert 2 < sum(company) < 20
    places = [look.viewpoint(view, PortableRandom(number), DVS128).x for number in range(30)]
    assert min(places) < 0.38 * 128
    assert max(places) > 0.62 * 128
    person = dataclasses.replace(people[0], one_hand=True, left_handed=False)
    right, left = Performance(DRUMS, person, PortableRandom(0)).at(SECONDS)[0]
    assert np.ptp(right[:, 1]) > 0.1 > np.ptp(left[:, 1])


def test_a_bystander_is_drawn_first():
    body = Body(look_named("varied").person(0, 1), Viewpoint(100, 64, 64))
    figure = body.figure(idle(2), np.zeros(2), np.zeros(2))
    both = side_by_side((lambda _: figure, lambda _: figure))(None)
    assert (np.sort(both.order, axis=1) == np.arange(2 * len(figure.looks))).all()
    assert (both.order[:, : len(figure.looks)] == figure.order).all()
