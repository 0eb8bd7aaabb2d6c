"""DVS128 Gesture in both published forms: its index, its events, and the errors of damaged sets."""

from __future__ import annotations

import pickle
from pathlib import Path

import dataset_makers as make
import numpy as np
import pytest
import reference_io as reference

from eventveil.errors import DatasetError, EventFileError
from eventveil.events import Sensor
from eventveil.models.published import GESTURES as TRAINED_GESTURES
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.clip_source import CutSource, open_recording
from eventveil.replay.datasets.dvs_gesture import GESTURES


def read(trial):
    with trial.open() as source:
        return [row for packet in source for row in reference.rows(packet)]


def test_classes_are_named_as_the_published_classifiers_name_them():
    assert GESTURES == TRAINED_GESTURES


def test_tonic_index(tmp_path):
    dataset = open_dataset(make.tonic(tmp_path))
    assert (dataset.kind, dataset.classes, len(dataset.trials)) == ("dvs-gesture", GESTURES, 5 * 2 * 11)
    assert dataset.subjects == ("user01", "user02", "user03", "user24", "user25")
    assert {trial.subject for trial in dataset.of("test")} == {"user24", "user25"}
    trial = dataset.by_name["ibmGestureTest/user24_fluorescent_led/10.npy"]
    assert (trial.target, trial.label, trial.split) == (10, "other gestures", "test")
    assert (trial.session, trial.lighting) == ("fluorescent_led", "fluorescent_led")
    assert [trial.target for trial in dataset.trials[:11]] == list(range(11))  # 2 before 10


def test_tonic_events_come_in_microseconds(tmp_path):
    rows = make.events_of(3)
    make.tonic_trial(tmp_path, "ibmGestureTrain/user01_led/7.npy", rows)
    (trial,) = open_dataset(tmp_path).trials
    assert read(trial) == [(1_000 * (t // 1_000), x, y, p) for t, x, y, p in rows.tolist()]
    assert trial.duration_us == 1_000 * (rows[-1, 0] // 1_000 - rows[0, 0] // 1_000)
    with trial.open() as source:
        assert source.sensor == Sensor(128, 128)


def test_tonic_itself_reads_the_same(tmp_path):
    tonic = pytest.importorskip("tonic.datasets")

    root = make.tonic(tmp_path / "DVSGesture", (("ibmGestureTrain", range(1, 6)),))
    (root / "ibmGestureTrain.tar.gz").touch()  # it would download a missing archive
    theirs = tonic.DVSGesture(str(tmp_path), train=True)
    ours = open_dataset(root).trials
    assert {trial.path: trial.target for trial in ours} == dict(
        zip(map(Path, theirs.data), theirs.targets, strict=True)
    )
    events, _ = theirs[0]
    trial = next(trial for trial in ours if trial.path == Path(theirs.data[0]))
    assert read(trial) == [(event["t"], event["x"], event["y"], event["p"]) for event in events]


def test_an_empty_trial_lasts_no_time(tmp_path):
    make.tonic_trial(tmp_path, "ibmGestureTrain/user01_led/7.npy", make.events_of(0, 0))
    (trial,) = open_dataset(tmp_path).trials
    assert (trial.duration_us, read(trial)) == (0, [])


def test_a_folder_name_with_a_question_mark_is_read(tmp_path):
    make.tonic_trial(tmp_path / "what? 100%", "ibmGestureTrain/user01_led/7.npy")
    (trial,) = open_dataset(tmp_path / "what? 100%").trials
    assert len(read(trial)) == 50


def test_trials_travel_between_processes(tmp_path):
    make.tonic_trial(tmp_path, "ibmGestureTrain/user01_led/7.npy")
    (trial,) = open_dataset(tmp_path).trials
    assert read(pickle.loads(pickle.dumps(trial))) == read(trial)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("user01_led/11.npy", "unknown class '11'; the classes are numbered 0 to 10"),
        ("user01_led/wave.npy", "unknown class 'wave'"),
        ("person1/3.npy", "expected a name like userNN_LIGHTING"),
    ],
)
def test_tonic_names_that_are_not_of_the_layout(tmp_path, name, message):
    path = make.tonic_trial(tmp_path, f"ibmGestureTrain/{name}")
    with pytest.raises(DatasetError, match=message) as error:
        open_dataset(tmp_path)
    assert str(path.parent) in str(error.value)


def test_a_tonic_folder_without_trials(tmp_path):
    (tmp_path / "ibmGestureTest" / "user24_led").mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"user24_led: looked for trials named 0.npy to 10.npy, found none"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no array", np.zeros((3, 3)), np.zeros(5), np.array([["a"] * 4])])
def test_a_tonic_file_that_is_not_a_table_of_events(tmp_path, content):
    path = make.tonic_trial(tmp_path, "ibmGestureTest/user24_led/0.npy")
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(DatasetError, match=r"0.npy: expected a table of numbers with columns x, y, p, t"):
        open_dataset(tmp_path)


def test_a_tonic_file_that_is_cut_off(tmp_path):
    path = make.tonic_trial(tmp_path, "ibmGestureTest/user24_led/0.npy")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DatasetError, match="fetch the file again"):
        open_dataset(tmp_path)


def test_a_person_on_both_sides_is_refused(tmp_path):
    make.tonic(tmp_path, (("ibmGestureTrain", (1, 2)), ("ibmGestureTest", (2,))), range(1))
    with pytest.raises(DatasetError, match="person user02 is in two splits, train and test"):
        open_dataset(tmp_path)


def test_release_index(tmp_path):
    dataset = open_dataset(make.release(tmp_path))
    assert (dataset.kind, len(dataset.trials), dataset.splits) == ("dvs-gesture", 12, ("train", "test"))
    assert [trial.name for trial in dataset.of("test")] == [f"user24_natural.aedat#{row}" for row in (1, 2, 3)]
    assert [(trial.target, trial.label) for trial in dataset.of("test")] == [
        (0, "hand clapping"),
        (1, "right hand wave"),
        (10, "other gestures"),
    ]
    assert [trial.duration_us for trial in dataset.of("test")] == [200_000, 200_001, 300_000]
    assert {(trial.subject, trial.session) for trial in dataset.of("train")} == {
        ("user01", "natural"),
        ("user01", "led"),
        ("user02", "natural"),
    }


def test_release_trials_are_cut_by_their_labels(tmp_path):
    rows = make.events_of(5, 200)
    rows[:, 0] += 5
    rows[40, 0] = rows[39, 0] = start = int(rows[39, 0])  # two events at the start, one at the end
    stop = int(rows[90, 0])
    rows[91, 0] = stop + 1
    rows = rows[rows[:, 0].argsort(kind="stable")]
    make.recording(tmp_path, "user24_led", [(4, start, stop), (5, stop, 2_000_000), (6, 3_000_000, 4_000_000)], rows)
    (tmp_path / "trials_to_train.txt").write_text("")
    (tmp_path / "trials_to_test.txt").write_text("user24_led.aedat\n")
    first, second, third = open_dataset(tmp_path).trials
    events = [tuple(row) for row in rows.tolist()]
    assert read(first) == [event for event in events if start <= event[0] < stop]
    assert read(second) == [event for event in events if stop <= event[0]]
    assert read(third) == []
    assert read(first)[0][0] == start
    assert read(second)[0][0] == stop


def test_a_cut_goes_on_after_a_damaged_packet_and_ignores_damage_after_its_end(tmp_path):
    packet = [
        reference.aedat3_packet([reference.polarity(t, 1, 1, 1)]) for t in (10, 20, 30, 40)
    ]  # packets of one event each
    early = tmp_path / "a.aedat"
    early.write_bytes(reference.aedat3_head() + packet[0] + b"\xff" * 36 + packet[1] + packet[2])
    with CutSource(open_recording(early), 0, 30) as source:
        times = [next(source).t[0]]
        with pytest.raises(EventFileError):
            next(source)
        assert [*times, *(packet.t[0] for packet in source)] == [10, 20]
    late = tmp_path / "b.aedat"
    late.write_bytes(reference.aedat3_head() + b"".join(packet[:3]) + b"\xff" * 36 + packet[3])
    with CutSource(open_recording(late), 0, 30) as source:
        assert [packet.t[0] for packet in source] == [10, 20]


@pytest.mark.parametrize("lost", ["user02_natural.aedat", "user02_natural_labels.csv"])
def test_a_release_without_a_file_it_lists(tmp_path, lost):
    make.release(tmp_path)
    (tmp_path / lost).unlink()
    with pytest.raises(DatasetError) as error:
        open_dataset(tmp_path)
    assert f"{tmp_path}: trials_to_train.txt, line 3, names user02_natural.aedat, but there is no {lost}" in str(
        error.value
    )


def test_a_release_with_one_list_only(tmp_path):
    make.release(tmp_path)
    (tmp_path / "trials_to_test.txt").unlink()
    with pytest.raises(DatasetError, match=r"looked for trials_to_test.txt"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("class,start,end\n1,2,3\n", "expected columns class,startTime_usec,endTime_usec"),
        ("", "expected columns class"),
        ("\x00", "expected columns class"),
        (f"{make.LABELS}\n0,1,2\n", "unknown class '0'; the classes are numbered 1 to 13"),
        (f"{make.LABELS}\n14,1,2\n", "unknown class '14'"),
        (f"{make.LABELS}\n1,1,2\n2,x,2\n", "label 2 has no start and end"),
        (f"{make.LABELS}\n1,1\n", "label 1 has no start and end"),
        (f"{make.LABELS}\n1,5,5\n", "label 1 ends before it begins"),
        (f"{make.LABELS}\n1,0,{10**40}\n", "label 1 is of times that no recording has"),
        (f"{make.LABELS}\n1,{10**40},{10**40 + 1}\n", "label 1 is of times that no recording has"),
        (f"{make.LABELS}\n{'1' * 200_000},1,2\n", "expected lines of class, start and end"),
    ],
)
def test_labels_that_cannot_be_right(tmp_path, lines, message):
    make.release(tmp_path)
    (tmp_path / "user01_led_labels.csv").write_text(lines)
    with pytest.raises(DatasetError, match=message) as error:
        open_dataset(tmp_path)
    assert "user01_led_labels.csv" in str(error.value)


@pytest.mark.parametrize("last", [np.nan, np.inf, 1e300])
def test_times_of_a_table_that_cannot_be_right(tmp_path, last):
    path = tmp_path / "ibmGestureTest" / "user24_led" / "8.npy"
    path.parent.mkdir(parents=True)
    np.save(path, [[5, 7, 1, 20], [6, 7, 0, last]])
    with pytest.raises(DatasetError, match=r"8.npy: expected times of a trial in milliseconds"):
        open_dataset(tmp_path)


def test_labels_that_are_not_text(tmp_path):
    make.release(tmp_path)
    (tmp_path / "user01_led_labels.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(DatasetError, match=r"user01_led_labels.csv: expected text, the labels of a recording"):
        open_dataset(tmp_path)


def test_labels_as_they_were_released(real_data, tmp_path):
    labels = (real_data / "dvs_gesture" / "user01_natural_labels.csv").read_text()
    make.recording(tmp_path, "user01_natural", [], make.events_of(0))
    (tmp_path / "user01_natural_labels.csv").write_text(labels)
    (tmp_path / "trials_to_train.txt").write_text("user01_natural.aedat\n")
    (tmp_path / "trials_to_test.txt").write_text("")
    dataset = open_dataset(tmp_path)
    assert sorted(trial.target for trial in dataset.trials) == sorted([*range(11), 7])  # the arm roll was made twice
    assert [trial.label for trial in dataset.trials[3:5]] == [GESTURES[4], GESTURES[3]]  # as they were made
    assert all(6e6 < trial.duration_us < 11e6 for trial in dataset.trials)


def test_ten_real_trials(real_data):
    dataset = open_dataset(real_data / "dvs_gesture")
    assert [(trial.target, trial.subject, trial.split) for trial in dataset.trials] == [
        (target, "user00", "test") for target in range(10)
    ]
    assert {trial.duration_us for trial in dataset.trials} == {1_449_000}
    assert len(read(dataset.trials[0])) == 63_471


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(DatasetError) as error:
        open_dataset(tmp_path)
    for looked_for in ("ibmGestureTrain/", "trials_to_train.txt", "event/angry/", "camNN/events.txt", str(tmp_path)):
        assert looked_for in str(error.value)
    with pytest.raises(DatasetError, match="there is no folder; check the path"):
        open_dataset(tmp_path / "nowhere")
