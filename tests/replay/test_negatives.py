"""Scenes without a gesture: every kind, what moves in it, and what it is called."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from event_digest import digest

from eventveil.errors import ConfigError, EventError
from eventveil.events import Sensor
from eventveil.replay.datasets.dvs_gesture import NO_GESTURE, NOBODY
from eventveil.replay.simulation.camera import Shot
from eventveil.replay.simulation.negatives import GROUPS, NEGATIVES, chosen, film_negative, label_of
from eventveil.replay.simulation.people import SimulatedPeople

SMALL = Shot(sensor=Sensor(48, 40))
DIGESTS = {
    "noise": "3b44577fccafd9d9",
    "carried-camera": "6d64aaf5bb45a274",
    "fan": "e3fd2432f55b54d7",
    "rain": "ede731c2d35d3302",
    "passing-by": "2b9b80223af4ea4b",
}


def events(kind, seconds=0.4, shot=SMALL, **numbers):
    packets = list(film_negative(numbers.pop("seed", 0), kind, seconds=seconds, shot=shot, **numbers))
    return [np.concatenate([getattr(packet, name) for packet in packets]) for name in "txyp"]


@pytest.mark.parametrize("kind", NEGATIVES)
def test_every_kind_can_be_filmed_again_and_differently(kind):
    once, again, other = events(kind), events(kind), events(kind, take=1)
    assert digest(once) == digest(again) != digest(other)
    assert (np.diff(once[0]) >= 0).all()
    assert once[1].max() < SMALL.sensor.width
    assert once[2].max() < SMALL.sensor.height


def test_the_same_numbers_give_the_same_scenes_on_every_machine():
    # Recorded when the scenes were written; a failure means that the arithmetic differs here or was changed.
    seen = {kind: digest(events(kind, 0.1)) for kind in DIGESTS}
    assert seen == DIGESTS


def test_a_room_is_quiet_and_what_moves_in_it_is_seen():
    quiet = len(events("noise", shot=SMALL, take=3)[0])
    for kind in ("shaking-camera", "panning-camera", "carried-camera", "fan", "leaves", "shaken-object"):
        counts = [len(events(kind, take=take)[0]) for take in range(3)]
        assert max(counts) > 3 * quiet, kind


def test_a_switched_light_is_seen_everywhere_at_once():
    t, x, y, _ = events("switched-lights", seconds=3.0)
    busiest = np.bincount(t // 4_000).argmax()
    at = t // 4_000 == busiest
    lit = len(np.unique(y[at].astype(int) * SMALL.sensor.width + x[at]))
    assert lit > 0.5 * SMALL.sensor.width * SMALL.sensor.height


def test_hot_pixels_fire_far_more_than_their_neighbours():
    _, x, y, _ = events("hot-pixels", seconds=2.0)
    counts = np.sort(np.bincount(y.astype(int) * SMALL.sensor.width + x, minlength=48 * 40))[::-1]
    assert counts[0] > 20 * max(1, np.median(counts))


def test_labels_say_whether_there_are_people():
    assert {kind for kind in NEGATIVES if label_of(kind) == NO_GESTURE} == set(GROUPS["people"])
    assert {label_of(kind) for kind in GROUPS["objects"]} == {NOBODY}


def test_kinds_are_chosen_by_name_by_group_or_all():
    assert chosen("all") == tuple(NEGATIVES)
    assert chosen("fan,camera,fan") == ("fan", *GROUPS["camera"])
    with pytest.raises(EventError, match=r"unknown negatives 'cat'; known: all, room, camera, .*, waiting"):
        chosen("fan,cat")
    with pytest.raises(ConfigError, match="unknown negatives ''"):
        SimulatedPeople.parse({"negatives": ""})


@pytest.mark.parametrize("wrong", [{"kind": "cat"}, {"kind": "fan", "seconds": 0}])
def test_what_cannot_be_filmed_is_refused(wrong):
    with pytest.raises(EventError, match="expected one of noise"):
        events(**wrong)


def test_negatives_play_in_turn_without_end():
    source = SimulatedPeople.parse({"negatives": "fan,talking", "seconds": "0.1", "sensor": "48x40"})
    clips = list(itertools.islice(source.takes(), 5))
    assert [clip.label for clip in clips] == [NOBODY, NO_GESTURE, NOBODY, NO_GESTURE, NOBODY]
    played = []
    for clip in clips[::2]:
        with clip.open() as packets:
            played.append(np.concatenate([packet.t for packet in packets]))
    assert len({times.tobytes() for times in played}) == 3  # each turn shows another room
