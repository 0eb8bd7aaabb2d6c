"""Every source by its URI: what it plays, and the errors where it cannot be played."""

from __future__ import annotations

from itertools import islice

import dataset_makers as make
import numpy as np
import pytest

from eventveil import EventPacket, Sensor
from eventveil.config import run_settings
from eventveil.errors import ConfigError, EventVeilError
from eventveil.io.source import open_events
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.player.player import Excerpt, Player
from eventveil.replay.player.sources import SourceUri, open_playlist
from eventveil.replay.simulation.camera import Shot, simulate
from eventveil.replay.simulation.portable_random import PortableRandom
from eventveil.replay.simulation.sensor_models import SENSOR_MODELS

GAP_US = 250_000


def playlist(uri, **changed):
    options = {"sensor": None, "on_disorder": "raise", "shuffle": False, "seed": None, **changed}
    return open_playlist(SourceUri.parse(uri), **options)


def joined(packets):
    parts = [EventPacket.empty(), *packets]
    return [np.concatenate([getattr(part, name) for part in parts]) for name in "txyp"]


def test_a_recording_plays_as_it_is_with_the_options_of_its_format(tmp_path):
    path = make.tonic_trial(tmp_path, "trial.npy", make.events_of(3))
    uri = f"{path}?columns=x,y,p,t&unit=ms"
    with open_events(uri, sensor=Sensor(128, 128)) as source:
        expected = joined(source)
    got = joined(Player(playlist(uri, sensor=Sensor(128, 128)), Excerpt()))
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("kind", "maker", "split"),
    [("dvs-gesture", make.tonic, "test"), ("dvs-gesture", make.release, "train"), ("event-reid", make.reid, "test")],
)
def test_a_dataset_plays_its_trials_one_after_the_other(tmp_path, kind, maker, split):
    dataset = open_dataset(maker(tmp_path / "set"))
    for uri, trials in (
        (f"{kind}:{tmp_path}/set", dataset.trials),
        (f"{kind}:{tmp_path}/set?split={split}", dataset.of(split)),
    ):
        t, x, _, _ = joined(Player(playlist(uri), Excerpt(gap_us=GAP_US)))
        at, times, columns = 0, [], []
        for trial in trials:
            with trial.open() as packets:
                trial_t, trial_x, _, _ = joined(packets)
            trial_t = trial_t - trial_t[:1]
            times.append(trial_t + at)
            columns.append(trial_x)
            at += max(trial.duration_us, *trial_t[-1:]) + GAP_US if len(trial_t) else trial.duration_us + GAP_US
        np.testing.assert_array_equal(t, np.concatenate(times))
        np.testing.assert_array_equal(x, np.concatenate(columns))
        assert (np.diff(t) >= 0).all()


def test_see_plays_its_frames_with_their_quiet_times(tmp_path):
    make.see(tmp_path, people=("001",), emotions=("angry",))
    player = Player(playlist(f"see:{tmp_path}"), Excerpt(gap_us=GAP_US))
    packets = list(player)
    assert np.diff(joined(packets)[0]).max() >= GAP_US
    assert player.truth.of(0, 1_000).label == "angry"


def test_a_shuffled_order_is_the_seeds_and_another_one_each_time_around(tmp_path):
    root = make.tonic(tmp_path)

    def order(seed, number):
        return [(clip.subject, clip.label, clip.duration_us) for clip in shuffled(seed).clips(number)]

    def shuffled(seed):
        return playlist(f"dvs-gesture:{root}", shuffle=True, seed=seed)

    plain = [(trial.subject, trial.label, trial.duration_us) for trial in open_dataset(root).trials]
    assert order(5, 0) == order(5, 0)
    assert len({str(order(seed, number)) for seed in (5, 6) for number in (0, 1)}) == 4
    assert sorted(order(5, 1)) == sorted(plain) != order(5, 1)
    assert order(None, 0) != order(None, 0)


def test_a_shuffled_loop_loses_nothing(tmp_path):
    root = make.tonic(tmp_path, people=(("ibmGestureTest", (24,)),), classes=range(4))
    once = joined(Player(playlist(f"dvs-gesture:{root}"), Excerpt()))
    player = iter(Player(playlist(f"dvs-gesture:{root}", shuffle=True, seed=1), Excerpt(loop=True)))
    t, x, y, _ = joined(islice(player, 3 * 8))
    assert len(t) == 3 * len(once[0])
    assert (np.diff(t) >= 0).all()
    assert sorted(zip(x.tolist(), y.tolist(), strict=True)) == sorted(
        3 * list(zip(once[1].tolist(), once[2].tolist(), strict=True))
    )


def test_times_that_go_back_in_a_trial_are_put_right_where_asked(tmp_path):
    rows = make.events_of(1)
    rows[[10, 40], 0] = rows[[40, 10], 0]
    make.tonic_trial(tmp_path, "ibmGestureTest/user01_led/0.npy", rows)
    with pytest.raises(EventVeilError, match="datasets check"):
        list(Player(playlist(f"dvs-gesture:{tmp_path}"), Excerpt()))
    for policy in ("sort", "clip"):
        t = joined(Player(playlist(f"dvs-gesture:{tmp_path}", on_disorder=policy), Excerpt()))[0]
        assert len(t) == len(rows)
        assert (np.diff(t) >= 0).all()


def test_simulated_people_go_on_with_everybody_making_every_gesture():
    people = playlist("simulate:?seed=3&subjects=2&seconds=0.5")
    clips = list(islice(people.clips(0), 44))
    for turn in (clips[:22], clips[22:]):
        made = {(clip.subject, clip.label) for clip in turn}
        assert made == {(f"user{subject:02d}", label) for subject in (1, 2) for label in GESTURES}
    assert clips[:22] != clips[22:]
    again = list(islice(playlist("simulate:?seed=3&subjects=2&seconds=0.5").clips(0), 44))
    assert [(clip.subject, clip.label) for clip in again] == [(clip.subject, clip.label) for clip in clips]


def test_a_simulated_take_is_what_the_simulator_makes():
    shot = {"distance": 1.5, "camera_motion": 2.0, "sensor": Sensor(24, 20)}
    uri = "simulate:?seed=3&subjects=1&seconds=0.2&distance=1.5&camera_motion=2&sensor=24x20"
    people = playlist(uri)
    clip = next(iter(people.clips(0)))
    with clip.open() as packets:
        got = joined(packets)
    sessions = [
        joined(
            simulate(3, subject=1, session=session, gesture=GESTURES.index(clip.label), seconds=0.2, shot=Shot(**shot))
        )
        for session in range(5)
    ]
    assert people.sensor == Sensor(24, 20)
    assert any(all(map(np.array_equal, got, session)) for session in sessions)


@pytest.mark.parametrize(
    ("name", "sensor"),
    [("DVS128", "128x128"), ("davis346", "346x260"), ("GENX320", "320x320"), ("1280x720", "1280x720")],
)
def test_a_sensor_has_a_name_in_any_case(name, sensor):
    assert str(playlist(f"simulate:?sensor={name}").sensor) == sensor


def test_the_pixels_of_a_named_sensor_are_its_own():
    def take(sensor):
        people = playlist(f"simulate:?seed=3&subjects=1&seconds=0.1&sensor={sensor}")
        with next(iter(people.clips(0))).open() as packets:
            return joined(packets)

    pixels = SENSOR_MODELS["GenX320"].pixels
    assert not np.array_equal(take("GenX320")[0], take("320x320")[0])  # a geometry alone has the pixels of a DVS128
    session = PortableRandom("stream", 3, 0, 1, (gesture := first_gesture())).pick(range(5))
    shot = Shot(sensor=Sensor(320, 320), pixels=pixels)
    expected = joined(simulate(3, subject=1, session=session, gesture=gesture, seconds=0.1, shot=shot))
    for one, other in zip(take("genx320"), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def first_gesture():
    clip = next(iter(playlist("simulate:?seed=3&subjects=1&seconds=0.1").clips(0)))
    return GESTURES.index(clip.label)


def test_a_far_start_does_not_simulate_what_lies_before():
    player = Player(playlist("simulate:?seconds=0.2&sensor=24x20"), Excerpt(start_us=10**10, stop_us=10**10 + 300_000))
    t = joined(player)[0]
    assert 10**10 <= t[0] <= t[-1] < 10**10 + 300_000


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("dvsgesture:data", "unknown kind of source 'dvsgesture'; expected the path of a recording, dvs-gesture:PATH"),
        ("simulate", "unknown kind of source 'simulate'"),
        ("dvs-gesture:", "expected the folder of the dataset, as in dvs-gesture:data/folder"),
        ("see:data?spilt=test", "unknown option spilt; a dataset takes split"),
        ("see:data?split", "malformed options"),
        ("simulate:people", "expected options after a '?', as in simulate:?subjects=3"),
        (
            "simulate:?people=3",
            "unknown option 'people'; known: seed, subjects, seconds, distance, camera_motion, sensor, negatives, look",
        ),
        ("simulate:?look=noir", "unknown look 'noir'; known: plain, dvs-gesture, varied"),
        ("simulate:?subjects=many", "subjects: expected a number, as in subjects=1, got 'many'"),
        (
            "simulate:?sensor=big",
            "unknown sensor 'big'; known: DVS128, DAVIS346, GenX320, 1280x720, or another WIDTHxHEIGHT",
        ),
        ("simulate:?subjects=0", "1 to 999 subjects"),
        ("simulate:?seconds=nan", "0.1 to 600 seconds per gesture"),
        ("simulate:?distance=99", "a simulated camera is at 0.3 to 10 times the default distance"),
    ],
)
def test_an_invalid_uri_is_refused_before_anything_starts(uri, words):
    with pytest.raises(ConfigError) as caught:
        run_settings({"sources": [{"uri": uri}]}, name="mine.yaml")
    assert str(caught.value).startswith("mine.yaml: sources.0.uri: ")
    assert words in str(caught.value)


def test_wrong_folders_say_what_was_looked_for_and_what_is_there(tmp_path):
    make.tonic(tmp_path / "gestures", people=(("ibmGestureTest", (24,)),), classes=(0,))
    (tmp_path / "empty").mkdir()
    root = tmp_path / "gestures"
    for uri, words in {
        f"dvs-gesture:{tmp_path}/none": "expected the folder of a dataset, but there is no folder",
        f"dvs-gesture:{tmp_path}/empty": "no dataset is recognised in this folder. Looked for DVS128 Gesture",
        f"see:{root}": f"is not a see dataset; play it as dvs-gesture:{root}",
        f"{root}": f"is not a recording; play it as dvs-gesture:{root}",
        f"dvs-gesture:{root}?split=train": "expected a split of test, got 'train'",
    }.items():
        with pytest.raises(EventVeilError) as caught:
            playlist(uri)
        assert words in str(caught.value)
    with pytest.raises(ConfigError, match="a sensor of 128x128, not 64x64"):
        playlist(f"dvs-gesture:{root}", sensor=Sensor(64, 64))
    with pytest.raises(ConfigError, match="sensor=WxH"):
        playlist("simulate:", sensor=Sensor(64, 64))


def test_a_dataset_with_a_fault_names_nobody(tmp_path):
    make.tonic(tmp_path, people=(("ibmGestureTest", (24,)),), classes=(0,))
    (tmp_path / "ibmGestureTest" / "user24_natural" / "12.npy").touch()
    with pytest.raises(EventVeilError) as caught:
        playlist(f"dvs-gesture:{tmp_path}")
    assert str(caught.value) == f"{tmp_path}: cannot be played; `eventveil datasets check {tmp_path}` shows why"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"uri": "a", "start_s": 5, "stop_s": 5}, "expected stop_s after start_s, got 5 and 5"),
        ({"uri": "a", "shuffle": True}, "shuffle is for the trials of a dataset, and 'a' is not a dataset"),
        ({"uri": "simulate:", "shuffle": True}, "shuffle is for the trials of a dataset"),
        ({"uri": "see:a", "seed": 3}, "seed sets only the order of shuffled trials"),
        ({"uri": "simulate:", "loop": True}, "simulate: never ends"),
        ({"uri": "a", "start_s": -1}, "greater than or equal to 0"),
        ({"uri": "a", "gap_s": float("nan")}, "gap_s"),
        ({"uri": "a", "stop_s": float("inf")}, "stop_s"),
    ],
)
def test_options_that_do_not_fit_are_refused(source, words):
    with pytest.raises(ConfigError) as caught:
        run_settings({"sources": [source]}, name="mine.yaml")
    assert words in str(caught.value)


def test_the_real_trials_play_as_one_stream(real_data):
    folder = real_data / "dvs_gesture"
    player = Player(playlist(f"dvs-gesture:{folder}"), Excerpt(gap_us=500_000))
    t = joined(player)[0]
    assert (np.diff(t) >= 0).all()
    assert t[-1] == pytest.approx(9 * 1.95e6 + 1.45e6, abs=20_000)
    t = joined(Player(playlist(f"event-reid:{real_data / 'event_reid'}?split=test"), Excerpt()))[0]
    assert (np.diff(t) >= 0).all()
