"""The simulated camera as a whole, and the datasets it writes."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import time

import numpy as np
import pytest
from event_digest import digest
from pipeline_setup import PROGRAM
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import EventError, EventFileError
from eventveil.events import Sensor
from eventveil.io.source import open_events
from eventveil.replay.simulation.camera import DVS128, Shot, simulate
from eventveil.replay.simulation.dataset import check_recipe, plan, write_trials

TINY = Shot(sensor=Sensor(24, 20))


def events(shot=TINY, seconds=0.2, **numbers):
    arguments = {"subject": 1, "session": 0, "gesture": 3, "take": 0, **numbers}
    packets = list(simulate(arguments.pop("seed", 0), **arguments, seconds=seconds, shot=shot))
    return [np.concatenate([getattr(packet, name) for packet in packets]) for name in "txyp"]


@pytest.mark.kernel
def test_the_same_numbers_give_the_same_events_on_every_machine():
    # Recorded when the simulator was written; a failure means that the arithmetic differs here or was changed.
    assert digest(events()) == "194b9cc5a4d71e4d"


@pytest.mark.parametrize("change", [{}, {"seed": 1}, {"subject": 2}, {"session": 1}, {"gesture": 4}, {"take": 1}])
def test_every_number_counts(change):
    same = digest(events()) == digest(events(**change))
    assert same == (not change)


@pytest.mark.parametrize("sensor", [DVS128, Sensor(1, 1), Sensor(50, 7)])
def test_events_are_in_order_on_the_sensor_and_in_their_time(sensor):
    packets = list(simulate(0, subject=1, session=0, gesture=0, seconds=0.1, shot=Shot(sensor=sensor)))
    assert [packet.until_us for packet in packets] == [38_000, 78_000, 100_000]
    for before, packet in itertools.pairwise([None, *packets]):
        if len(packet):
            assert packet.t[0] >= (before.until_us if before else 0)
            assert packet.t[-1] < packet.until_us
            assert (np.diff(packet.t) >= 0).all()
            assert packet.x.max() < sensor.width
            assert packet.y.max() < sensor.height


def test_a_longer_take_begins_as_a_shorter_one():
    short, long = events(seconds=0.1), events(seconds=0.2)
    for a, b in zip(short, long, strict=True):
        np.testing.assert_array_equal(a, b[: len(a)])


def test_a_camera_that_sways_sees_the_room():
    still, swaying = (events(Shot(camera_motion=motion))[0] for motion in (0.0, 5.0))
    assert len(swaying) > 1.5 * len(still)


def test_a_camera_farther_away_sees_a_smaller_person():
    near, far = (events(Shot(distance=distance), gesture=0) for distance in (1.0, 3.0))
    assert np.ptp(np.percentile(far[1], [10, 90])) < 0.6 * np.ptp(np.percentile(near[1], [10, 90]))


@pytest.mark.parametrize("wrong", [{"session": -1}, {"seconds": 0}, {"gesture": 11}])
def test_what_cannot_be_simulated_is_refused(wrong):
    with pytest.raises(EventError, match="expected a"):
        events(**wrong)


@pytest.mark.parametrize("wrong", [{"distance": 0}, {"camera_motion": -1}, {"camera_motion": 6}])
def test_a_shot_out_of_range_is_refused(wrong):
    with pytest.raises(EventError, match="a simulated camera"):
        Shot(**wrong)


def test_a_set_is_split_as_the_real_one(tmp_path):
    planned = plan(tmp_path, subjects=29, sessions=4)
    assert len(planned) == 29 * 4 * 11 == len({trial.path for trial in planned})
    train = {trial.subject for trial in planned if "ibmGestureTrain" in trial.path.parts}
    test = {trial.subject for trial in planned if "ibmGestureTest" in trial.path.parts}
    assert (len(train), len(test), train & test) == (23, 6, set())
    assert planned[0].path == tmp_path / "ibmGestureTrain" / "user01_fluorescent" / "0.npy"


@pytest.mark.parametrize(("subjects", "train"), [(2, 1), (3, 2), (10, 8)])
def test_somebody_is_on_each_side(tmp_path, subjects, train):
    planned = plan(tmp_path, subjects=subjects, sessions=1)
    assert len({trial.subject for trial in planned if "ibmGestureTrain" in trial.path.parts}) == train


@pytest.mark.parametrize(("subjects", "sessions"), [(1, 1), (5, 0), (5, 6), (1000, 1)])
def test_sets_that_cannot_be_are_refused(tmp_path, subjects, sessions):
    with pytest.raises(EventFileError, match="a set has 2 to 999 subjects and 1 to 5 sessions"):
        plan(tmp_path, subjects=subjects, sessions=sessions)


def command(*words):
    return CliRunner().invoke(app, ["simulate", "gestures", *map(str, words)])


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "people"
    result = command(folder, "--subjects", 2, "--sessions", 1, "--seconds", 0.1, "--seed", 7)
    assert result.exit_code == 0, result.output
    return folder


def test_the_command_writes_what_is_simulated(people):
    files = sorted(people.rglob("*.npy"))
    assert len(files) == 22
    assert sorted(path.name for path in people.iterdir()) == ["ibmGestureTest", "ibmGestureTrain", "simulated.json"]
    table = np.load(people / "ibmGestureTest" / "user02_fluorescent" / "8.npy")
    t, x, y, p = events(Shot(), 0.1, seed=7, subject=2, gesture=8)
    assert table.dtype == np.float32
    np.testing.assert_array_equal(np.rint(table[:, 3].astype(float) * 1000), t)
    for column, values in enumerate((x, y, p)):
        np.testing.assert_array_equal(table[:, column], values)


def test_the_readers_of_the_real_set_read_it(people):
    trial = people / "ibmGestureTrain" / "user01_fluorescent" / "0.npy"
    with open_events(f"{trial}?columns=x,y,p,t&unit=ms", sensor=DVS128) as source:
        t = np.concatenate([packet.t for packet in source])
    np.testing.assert_array_equal(t, events(Shot(), 0.1, seed=7, gesture=0)[0])
    result = CliRunner().invoke(app, ["datasets", "check", str(people), "--json"])
    assert result.exit_code == 0, result.output


def test_an_interrupted_run_goes_on_where_it_was(people):
    files = sorted(people.rglob("*.npy"))
    lost = files[5]
    bytes_before = lost.read_bytes()
    times = {path: path.stat().st_mtime_ns for path in files if path != lost}
    lost.unlink()
    lost.with_name(f".{lost.name}.1.part").write_bytes(b"half a file")
    assert command(people, "--subjects", 2, "--sessions", 1, "--seconds", 0.1, "--seed", 7).exit_code == 0
    assert lost.read_bytes() == bytes_before
    assert not list(people.rglob("*.part"))
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)]
)
def test_a_run_that_is_killed_goes_on_to_the_same_set(tmp_path, number):
    options = ["--subjects", "2", "--sessions", "1", "--seconds", "0.3", "--seed", "7"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with subprocess.Popen(
        [*PROGRAM, "simulate", "gestures", str(broken), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as killed:
        deadline = time.monotonic() + 60
        while not len(list(broken.rglob("*.npy"))) >= 3:
            assert time.monotonic() < deadline
            assert killed.poll() is None
            time.sleep(0.01)
        killed.send_signal(number)
        output, _ = killed.communicate(timeout=60)
    assert killed.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
    assert "Traceback" not in output
    if number != signal.SIGKILL:
        assert not list(broken.rglob("*.part"))
    begun = {path.relative_to(broken): path.stat().st_mtime_ns for path in broken.rglob("*.npy")}
    assert 3 <= len(begun) < 22
    for folder in (broken, whole):
        result = command(folder, *options)
        assert result.exit_code == 0, result.output
    names = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    assert {path.relative_to(broken) for path in broken.rglob("*") if path.is_file()} == names
    assert all((broken / name).read_bytes() == (whole / name).read_bytes() for name in names)
    assert all((broken / name).stat().st_mtime_ns == when for name, when in begun.items())


def test_distance_and_camera_motion_are_options_and_part_of_what_a_set_is_made_from(tmp_path):
    options = ["--subjects", 2, "--sessions", 1, "--seconds", 0.1, "--distance", 1.5, "--camera-motion", 2]
    assert command(tmp_path / "far", *options).exit_code == 0
    shot = Shot(distance=1.5, camera_motion=2.0)
    table = np.load(tmp_path / "far" / "ibmGestureTrain" / "user01_fluorescent" / "8.npy")
    np.testing.assert_array_equal(np.rint(table[:, 3].astype(float) * 1000), events(shot, 0.1, gesture=8)[0])
    recipe = json.loads((tmp_path / "far" / "simulated.json").read_text())
    assert (recipe["distance"], recipe["camera_motion"]) == (1.5, 2.0)
    assert isinstance(command(tmp_path / "far", *options[:-2]).exception, EventFileError)
    assert command(tmp_path / "near", "--distance", 0.2).exit_code == 2


def test_the_look_is_part_of_what_a_set_is_made_from(tmp_path):
    check_recipe(tmp_path, seed=0, seconds=1, subjects=2, shots=[Shot(look="varied")])
    assert json.loads((tmp_path / "simulated.json").read_text())["look"] == "varied"
    with pytest.raises(EventFileError, match="another folder"):
        check_recipe(tmp_path, seed=0, seconds=1, subjects=2)


def test_a_folder_holds_one_set(people):
    result = command(people, "--subjects", 2, "--sessions", 1, "--seconds", 0.2, "--seed", 7)
    assert isinstance(result.exception, EventFileError)
    assert "the same options" in str(result.exception)
    assert json.loads((people / "simulated.json").read_text()) == {"seed": 7, "seconds": 0.1, "subjects": 2}


def test_a_set_that_cannot_be_written_says_so(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = command(blocked / "people", "--subjects", 2)
    assert isinstance(result.exception, EventFileError)
    with pytest.raises(EventFileError, match="cannot write"):
        list(write_trials(plan(blocked, subjects=2, sessions=1)[:1], seed=0, seconds=0.01))


def test_a_folder_without_a_kind_is_answered_with_the_right_command():
    result = CliRunner().invoke(app, ["simulate", "people"])
    assert result.exit_code == 2
    assert "simulate gestures people" in " ".join(result.output.replace("│", " ").split())
