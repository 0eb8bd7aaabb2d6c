"""Clips without a seam: played again, a clip shows what a camera would have seen if it had gone on filming."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from event_digest import digest

from eventveil.errors import EventError
from eventveil.events import EventPacket, Sensor
from eventveil.replay.datasets.dvs_gesture import GESTURES, LABELS, NO_GESTURE, NOBODY
from eventveil.replay.simulation import loops
from eventveil.replay.simulation.camera import Shot
from eventveil.replay.simulation.looks import LOOKS, look_named
from eventveil.replay.simulation.loops import FilmedPerson, LoopedPerformance, Standing, film_loop
from eventveil.replay.simulation.natural_gestures import NATURAL_OTHERS
from eventveil.replay.simulation.portable_random import PortableRandom
from eventveil.replay.simulation.scene import LIGHTINGS
from eventveil.replay.simulation.sensor import Pixels

QUIET = Pixels(leak_hz=0, shot_hz=0)
SMALL = FilmedPerson(number=1, shot=Shot(sensor=Sensor(32, 32), look="dvs-gesture"))


def cells(events, *, length_us, spans, side=4, sensor=32):
    """Return the counts of events by span of time, polarity, and square of `side` pixels."""
    width = sensor // side
    at = ((events.t * spans // length_us) * 2 + events.p) * width * width
    at += (events.y // side) * width + events.x // side
    return np.bincount(at, minlength=spans * 2 * width * width).reshape(spans, 2, width, width)


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("seconds", [2.5, 5.0])
def test_every_gesture_repeats_exactly(look, seconds):
    t_s = np.linspace(0, seconds, 83)
    for number in range(2 * len(NATURAL_OTHERS)):
        person = replace(look_named(look).person(5, number), tempo=1.0)
        for gesture in range(len(GESTURES)):
            made = LoopedPerformance(gesture, person, PortableRandom(number), seconds)
            (paths, beat), (again, beat_again) = made.at(t_s), made.at(t_s + seconds)
            for now, later in zip((*paths, beat), (*again, beat_again), strict=True):
                np.testing.assert_allclose(now, later, atol=1e-9)
            assert np.ptp(paths[0], axis=0).max() + np.ptp(paths[1], axis=0).max() > 0.05  # it moves


def test_a_person_who_stands_repeats_exactly_and_moves_a_little():
    t_s = np.linspace(0, 2, 57)
    now, later = Standing(2.0).at(t_s), Standing(2.0).at(t_s + 2)
    for a, b in zip((*now[0], now[1]), (*later[0], later[1]), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    assert 0.005 < np.ptp(now[0][0], axis=0).max() < 0.05


@pytest.mark.parametrize(("label", "seconds"), [(GESTURES[1], 1.0), (GESTURES[9], 2.5), (NO_GESTURE, 1.0)])
def test_filming_on_gives_the_clip_again(label, seconds, monkeypatch):
    # The third round is as the second, up to the moments at which a pixel crosses its threshold; it is not as the
    # second a tenth later.
    who = replace(SMALL, shot=replace(SMALL.shot, look="plain", pixels=QUIET))
    clip = film_loop(who, label, seconds=seconds)
    monkeypatch.setattr(loops, "film", film_later)
    later = film_loop(who, label, seconds=seconds)
    first, second = (cells(one, length_us=round(seconds * 1e6), spans=10, side=8) for one in (clip, later))
    assert len(clip) > 800
    assert np.abs(first - second).sum() < np.abs(first - np.roll(second, 1, axis=0)).sum() / 3


def film_later(*args, seconds, **rest):
    """Film three rounds, and return the last two, moved to the beginning."""
    round_us = round(seconds / 2 * 1e6)
    for packet in film(*args, seconds=1.5 * seconds, **rest):
        late = packet.t >= round_us
        yield EventPacket(packet.t[late] - round_us, packet.x[late], packet.y[late], packet.p[late])


film = loops.film


@pytest.mark.parametrize("label", [GESTURES[3], NO_GESTURE, NOBODY])
def test_the_seam_looks_like_any_other_moment(label):
    # Two neighbouring spans of 50 ms differ at the seam as much as they do elsewhere, in rate and in where events are.
    clip = film_loop(SMALL, label, seconds=2.0)
    spans = cells(clip, length_us=2_000_000, spans=40).astype(float)
    change = np.abs(spans - np.roll(spans, 1, axis=0)).sum(axis=(1, 2, 3))  # change[0] is at the seam
    assert change[0] <= change[1:].max()
    rate = spans.sum(axis=(1, 2, 3))
    assert abs(rate[0] - rate[-1]) <= np.abs(np.diff(rate)).max()


def test_a_clip_that_does_not_repeat_has_a_seam_that_these_tests_find():
    # The same measure on a clip whose end is cut off: a part of a turn is missing.
    clip = film_loop(SMALL, GESTURES[3], seconds=2.0)
    spans = cells(clip, length_us=2_000_000, spans=40).astype(float)[:30]
    change = np.abs(spans - np.roll(spans, 1, axis=0)).sum(axis=(1, 2, 3))
    assert change[0] > change[1:].max()


@pytest.mark.parametrize("label", LABELS)
def test_all_labels_are_filmed_in_order_and_on_the_sensor(label):
    clip = film_loop(SMALL, label, seconds=2.5)
    assert (np.diff(clip.t) >= 0).all()
    assert 0 <= clip.t[0] < 100_000
    assert 2_400_000 <= clip.t[-1] < 2_500_000
    assert max(clip.x.max(), clip.y.max()) < 32
    # Noise of this look: 0.12 events per pixel and second or so.
    noise = 0.12 * 32 * 32 * 2.5
    low, high = {NOBODY: (0.5, 1.5), NO_GESTURE: (1.5, 20)}.get(label, (4, 100))
    assert low * noise < len(clip) < high * noise


def test_the_same_numbers_give_the_same_clip_on_every_machine():
    # Recorded on an AMD EPYC; a failure means that the arithmetic differs here, or that the simulation was changed.
    plain = replace(SMALL, shot=replace(SMALL.shot, look="plain"))
    assert digest(columns(film_loop(plain, GESTURES[1], seconds=1.0))) == "2c6224a84bd1394b"
    assert digest(columns(film_loop(plain, NOBODY, seconds=1.0))) == "12680dc4ab215087"


@pytest.mark.parametrize("change", [{}, {"seed": 1}, {"number": 2}, {"take": 1}, {"light": "led"}])
def test_every_number_counts(change):
    same = digest(columns(film_loop(SMALL, GESTURES[0], seconds=0.6))) == digest(
        columns(film_loop(replace(SMALL, **change), GESTURES[0], seconds=0.6))
    )
    assert same == (not change)


def test_size_and_amplitude_change_the_clip_as_they_say():
    who = replace(SMALL, shot=replace(SMALL.shot, look="plain", pixels=QUIET))
    usual = film_loop(who, GESTURES[3], seconds=1.0)
    small = film_loop(who, GESTURES[3], seconds=1.0, size=0.5)
    calm = film_loop(who, GESTURES[3], seconds=1.0, amplitude=0.4)
    assert np.ptp(np.percentile(small.y, [5, 95])) < 0.75 * np.ptp(np.percentile(usual.y, [5, 95]))
    assert len(calm) < 0.75 * len(usual)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "sleeping"}, "expected one of hand clapping, .*got 'sleeping'"),
        ({"seconds": 0}, "in multiples of 2000 µs, got 0 s"),
        ({"seconds": 61}, "up to 60 s long"),
        ({"seconds": 1.001}, "in multiples of 2000 µs, got 1.001 s"),
        ({"seconds": 0.1}, "does not repeat within 0.1 s at about .* choose longer clips"),
        ({"who": replace(SMALL, light="disco")}, "expected a light of fluorescent, .*got 'disco'"),
        ({"who": replace(SMALL, light="lab"), "seconds": 0.402}, "flickers at 120 Hz, not a whole number of times"),
        ({"who": replace(SMALL, shot=Shot(camera_motion=1))}, "does not sway"),
    ],
)
def test_a_clip_that_cannot_be_filmed_says_why(change, message):
    with pytest.raises(EventError, match=message):
        film_loop(**{"who": SMALL, "label": GESTURES[3], "seconds": 1.0} | change)


def test_all_lights_can_be_used_for_whole_tenths_of_seconds():
    for light in LIGHTINGS:
        assert len(film_loop(replace(SMALL, light=light), NOBODY, seconds=0.1))


def columns(clip):
    return clip.t, clip.x, clip.y, clip.p
