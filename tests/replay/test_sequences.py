"""Visits with gestures in them: their labels, their motion, and the datasets that hold them."""

from __future__ import annotations

import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import EventError, EventFileError
from eventveil.events import Sensor
from eventveil.host.files import write_atomic
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.dvs_gesture import GESTURES, LABELS, NO_GESTURE, NOBODY
from eventveil.replay.simulation import dataset, recordings
from eventveil.replay.simulation.camera import Shot, film_series, film_visit, simulate
from eventveil.replay.simulation.person import Person
from eventveil.replay.simulation.portable_random import PortableRandom
from eventveil.replay.simulation.sequence import draw_visit

SMALL = Shot(sensor=Sensor(32, 32))
TINY = Shot(sensor=Sensor(16, 16))
HALF_WIDTH_M = 0.7


def visit(number, seconds=60.0):
    person = Person.drawn(0, number)
    return draw_visit(person, PortableRandom("test", number), seconds=seconds, half_width_m=HALF_WIDTH_M)


@pytest.mark.parametrize("number", range(5))
def test_every_moment_has_one_label(number):
    spans = visit(number).labels(HALF_WIDTH_M)
    assert spans[0].start_us == 0
    assert spans[-1].end_us == 60_000_000
    for span, following in itertools.pairwise(spans):
        assert span.end_us == following.start_us
        assert span.label != following.label
    assert all(span.start_us < span.end_us for span in spans)
    assert {span.label for span in spans} <= set(LABELS)
    assert {NOBODY, NO_GESTURE} <= {span.label for span in spans}
    assert sum(span.label in GESTURES for span in spans) >= 4


def test_a_visitor_makes_every_gesture_before_one_comes_twice():
    made = [part.label for part in visit(1, 600.0).parts if part.label in GESTURES]
    assert len(made) > 2 * len(GESTURES)
    for first in range(0, len(made) - len(GESTURES), len(GESTURES)):
        assert set(made[first : first + len(GESTURES)]) == set(GESTURES)


def test_nobody_jumps():
    t_s = np.arange(0, 60, 0.002)
    (right, left), beat, place = visit(2).at(t_s)
    for path in (right, left, place):
        speed = np.sqrt((np.diff(path, axis=0) ** 2).sum(1)) / 0.002
        assert speed.max() < 8  # metres per second; a jump of two centimetres would be 10
        assert np.median(speed) < 1
    assert np.abs(np.diff(beat)).max() < 0.2


def test_a_person_out_of_the_picture_causes_no_events_and_is_labelled_nobody():
    packets, labels = film_visit(0, subject=2, session=0, seconds=20.0, shot=SMALL)
    times = np.concatenate([packet.t for packet in packets])
    rate = {
        label: sum(np.diff(np.searchsorted(times, (span.start_us + 50_000, span.end_us - 50_000)))[0] for span in spans)
        / sum(span.end_us - span.start_us - 100_000 for span in spans)
        for label, spans in (
            (label, [span for span in labels if span.label == label]) for label in {span.label for span in labels}
        )
    }
    gestures = [events for label, events in rate.items() if label in GESTURES]
    assert rate[NOBODY] < 0.1 * min(gestures)
    assert rate[NOBODY] < rate[NO_GESTURE]


def test_the_same_numbers_give_the_same_visit():
    def times(**numbers):
        packets, labels = film_visit(**{"seed": 0, "subject": 1, "session": 0, "seconds": 3.0, "shot": TINY} | numbers)
        return next(packets).t.tobytes() + b"".join(packet.t.tobytes() for packet in packets), labels

    once = times()
    assert once == times()
    for other in ({"seed": 1}, {"subject": 2}, {"session": 1}):
        assert once[0] != times(**other)[0]
    with pytest.raises(EventError, match="expected a session"):
        film_visit(0, subject=1, session=-1)


def test_a_series_is_all_trials_of_a_person_one_after_the_other():
    orders = set()
    for subject in (1, 2, 3):
        numbers = {"seed": 0, "subject": subject, "session": 1, "seconds": 0.2, "shot": TINY}
        packets, labels = film_series(**numbers)
        order = [GESTURES.index(span.label) for span in labels]
        assert sorted(order) == list(range(len(GESTURES)))
        assert [span.start_us for span in labels] == [200_000 * k for k in range(len(GESTURES))]
        assert [span.end_us for span in labels] == [200_000 * (k + 1) for k in range(len(GESTURES))]
        want = []
        for number, gesture in enumerate(order):
            for packet in simulate(**numbers, gesture=gesture):
                assert packet.t.max(initial=0) < 200_000
                want.append((packet.t + 200_000 * number, packet.x, packet.y, packet.p))
        got = [(packet.t, packet.x, packet.y, packet.p) for packet in packets]
        for mine, its in zip(zip(*got, strict=True), zip(*want, strict=True), strict=True):
            np.testing.assert_array_equal(np.concatenate(mine), np.concatenate(its))
        orders.add(tuple(order))
    assert len(orders) == 3


def command(*words):
    return CliRunner().invoke(app, ["simulate", *map(str, words)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "room"
    for words in (
        ("sequences", folder, "--subjects", 2, "--sessions", 1, "--seconds", 10),
        ("negatives", folder, "--kinds", "noise,talking", "--takes", 2, "--seconds", 0.2),
    ):
        result = command(*words)
        assert result.exit_code == 0, result.output
    return folder


def test_a_set_is_read_as_a_dataset(folder):
    trials = open_dataset(folder).trials
    assert open_dataset(folder).classes == LABELS
    assert {trial.subject: trial.split for trial in trials} == {
        "user01": "train",
        "user02": "test",
        "scene01": "train",
        "scene02": "train",
        "scene03": "test",
        "scene04": "test",
    }
    assert {trial.name: trial.label for trial in trials if trial.subject.startswith("scene")} == {
        "scene01_noise.aedat4#1": NOBODY,
        "scene02_talking.aedat4#1": NO_GESTURE,
        "scene03_noise.aedat4#1": NOBODY,
        "scene04_talking.aedat4#1": NO_GESTURE,
    }


def test_the_trials_of_a_visit_hold_all_of_its_events_once(folder):
    trials = [trial for trial in open_dataset(folder).trials if trial.subject == "user01"]
    held = []
    for trial in sorted(trials, key=lambda trial: trial.start_us):
        with trial.open() as packets:
            held += [packet.t for packet in packets]
    packets, labels = film_visit(0, subject=1, session=0, seconds=10.0)
    np.testing.assert_array_equal(np.concatenate(held), np.concatenate([packet.t for packet in packets]))
    assert [trial.label for trial in sorted(trials, key=lambda trial: trial.start_us)] == [
        span.label for span in labels
    ]


def test_a_set_goes_on_with_the_same_options_only(folder):
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.aedat4")}
    assert command("sequences", folder, "--subjects", 2, "--sessions", 1, "--seconds", 10).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.aedat4")} == written
    other = command("sequences", folder, "--subjects", 3, "--sessions", 1, "--seconds", 10)
    assert isinstance(other.exception, EventFileError)
    assert isinstance(command("gestures", folder, "--subjects", 2).exception, EventFileError)
    assert json.loads((folder / "simulated.json").read_text()).keys() == {"sequences", "negatives"}


def test_two_commands_that_write_into_one_folder_at_once_lose_nothing(tmp_path, monkeypatch):
    def slowly(*arguments, **more):
        time.sleep(0.3)  # the other one has read by now, unless it waits
        write_atomic(*arguments, **more)

    for module in (dataset, recordings):
        monkeypatch.setattr(module, "write_atomic", slowly)
    folder, numbers = tmp_path / "room", {"seed": 0, "seconds": 1.0, "shots": (SMALL,)}
    parts = {
        "sequences": recordings.plan_people(folder, film_visit, subjects=3, sessions=1, **numbers),
        "negatives": recordings.plan_negatives(folder, kinds=["rain"], takes=3, **numbers),
    }

    def write(part):
        dataset.check_part_recipes(folder, {part: {"seconds": 1.0}})
        recordings.write_lists(folder, parts[part])

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, parts))
    listed = [name for file in folder.glob("*.txt") for name in file.read_text().split()]
    assert sorted(listed) == sorted(planned.path.name for part in parts.values() for planned in part)
    assert json.loads((folder / "simulated.json").read_text()).keys() == {"sequences", "negatives"}


def test_a_folder_that_is_refused_keeps_its_recipe(tmp_path):
    folder, mine = tmp_path / "room", {"sequences": {"seconds": 15.0}, "series": {"after": 3}}
    dataset.check_part_recipes(folder, {"negatives": {"takes": 2}})
    before = (folder / "simulated.json").read_bytes()
    with pytest.raises(EventFileError, match="also holds negatives"):
        dataset.check_part_recipes(folder, mine, alone=True)
    with pytest.raises(EventFileError, match="not with"):
        dataset.check_part_recipes(folder, mine | {"negatives": {"takes": 3}})
    assert (folder / "simulated.json").read_bytes() == before
    dataset.check_part_recipes(folder, mine)
    dataset.check_part_recipes(folder, {"series": {"after": 3}})
    assert json.loads((folder / "simulated.json").read_text()) == {"negatives": {"takes": 2}} | mine


def test_unknown_negatives_are_refused_with_the_known_ones(tmp_path):
    result = command("negatives", tmp_path / "x", "--kinds", "cat")
    assert isinstance(result.exception, EventError)
    assert "known: all, room, camera, objects, people, noise" in str(result.exception)
    assert not (tmp_path / "x").exists()
