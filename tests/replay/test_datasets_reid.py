"""Event-ReId: the full set in windows of 33.3 ms, prepared sets and the published sample."""

from __future__ import annotations

from fractions import Fraction

import dataset_makers as make
import numpy as np
import pytest
import reference_io as reference
from hypothesis import given
from hypothesis import strategies as st

from eventveil.errors import DatasetError, EventFileError
from eventveil.events import Sensor
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.text_spans import open_span, read_span

SENSOR = Sensor(640, 480)


def read(trial):
    with trial.open() as source:
        return [row for packet in source for row in reference.rows(packet)]


def lines_between(path, start, stop, unit_us):
    """The slow twin of `open_span`: reads every line."""
    rows = []
    for line in path.read_text().splitlines():
        cells = line.split()
        if len(cells) == 4 and start <= float(cells[0]) < stop:
            t, x, y, p = cells
            rows.append((round(float(t) * unit_us), int(x), int(y), int(p)))
    return rows


def test_index_of_the_full_set(tmp_path):
    dataset = open_dataset(make.reid(tmp_path))
    assert (dataset.kind, dataset.classes, dataset.splits) == ("event-reid", (), ("train", "test"))
    assert {trial.subject for trial in dataset.of("train")} == {"001", "003"}
    assert {trial.subject for trial in dataset.of("test")} == {"002", "005"}  # the dataset's own list
    names = [trial.name for trial in dataset.trials if (trial.subject, trial.session) == ("002", "c2")]
    assert names[:3] == ["002_c2_001.txt", "002_c2_006.txt", "002_c2_011.txt"]  # every fifth, for tests
    names = [trial.name for trial in dataset.trials if (trial.subject, trial.session) == ("001", "c1")]
    assert names[:2] == ["001_c1_001.txt", "001_c1_002.txt"]
    assert {(trial.target, trial.label, trial.lighting, trial.duration_us) for trial in dataset.trials} == {
        (None, None, None, 33_300)
    }


@pytest.mark.parametrize("unit_us", [1_000, 100])
def test_windows_of_a_recording_hold_every_event_once(tmp_path, unit_us):
    rows = make.events_of(1, 400, 3_000_000, 640, 480)
    path = make.reid_recording(tmp_path, "001", "cam01", rows, unit_us)
    dataset = open_dataset(tmp_path)
    parts = [read(trial) for trial in dataset.trials]
    assert [row for part in parts for row in part] == lines_between(path, 0, float("inf"), unit_us)
    begin_us = rows[0, 0] + round(7_000.5 * unit_us)
    for number, part in enumerate(parts):
        assert all(number * 33_300 <= t - begin_us + 1 and t - begin_us - 1 < (number + 1) * 33_300 for t, *_ in part)
    assert len(parts) == (rows[-1, 0] - rows[0, 0]) // 33_300 + 1


def test_the_last_event_on_the_edge_of_a_window_has_a_window(tmp_path):
    rows = np.array([[k * 33_300, k, k, 1] for k in range(100)])
    make.reid_recording(tmp_path, "001", "cam01", rows)
    assert sum(len(read(trial)) for trial in open_dataset(tmp_path).trials) == 100


def test_a_quiet_window_is_empty(tmp_path):
    rows = np.array([[0, 1, 1, 1], [3_000_000, 2, 2, 0]])
    make.reid_recording(tmp_path, "001", "cam01", rows)
    assert [len(read(trial)) for trial in open_dataset(tmp_path).trials] == [1, *[0] * 89, 1]


def test_geometry_is_that_of_the_header_line(tmp_path):
    rows = make.events_of(0, 10, 3_000_000, 100, 50)
    make.reid_recording(tmp_path, "001", "cam01", rows, header="100 50\n")
    with open_dataset(tmp_path).trials[0].open() as source:
        assert source.sensor == Sensor(100, 50)


@given(
    times=st.lists(st.integers(0, 30), min_size=1, max_size=25),
    start=st.integers(-2, 33),
    length=st.integers(0, 33),
    header=st.sampled_from(["", "640 480\n", "640 480\r\n"]),
    ending=st.sampled_from(["\n", " \n", "\r\n"]),
    last=st.sampled_from(["", "\n", "\r\n", " \n\n  \n"]),
)
def test_a_span_is_found_wherever_it_lies(tmp_path_factory, times, start, length, header, ending, last):
    path = tmp_path_factory.mktemp("span") / "events.txt"
    lines = [f"{t}.0 {7 ** (k % 4)} {k} {k % 2}" for k, t in enumerate(sorted(times))]
    path.write_bytes((header + ending.join(lines) + last).encode())
    span = read_span(path, SENSOR)
    assert (span.first, span.last, span.sensor) == (min(times), max(times), SENSOR)
    with open_span(span, start, start + length, 1_000) as source:
        rows = [row for packet in source for row in reference.rows(packet)]
    assert rows == lines_between(path, start, start + length, Fraction(1_000))


@pytest.mark.parametrize("content", [b"", b"640 480\n", b"640 480\n1 2 3\n", b"\xff\xfe\n", b"nan 1 1 1\n", b"x" * 999])
def test_a_recording_that_holds_no_events(tmp_path, content):
    path = make.reid_recording(tmp_path, "001", "cam01", make.events_of(0))
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"events.txt: expected lines of t x y p"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("line", ["", "7100.0 a 1 1", "7100.0 1 1", "7100.0 1 1 5", "7100.0 1.5 1 1", "7100.0 640 1 1"])
def test_a_damaged_line_is_reported_without_its_content(tmp_path, line):
    path = make.reid_recording(tmp_path, "001", "cam01", np.array([[0, 1, 1, 1], [3_000_000, 1, 1, 1]]))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:2], line, *lines[2:]]))
    dataset = open_dataset(tmp_path)
    with pytest.raises((EventFileError, DatasetError)) as error:
        [read(trial) for trial in dataset.trials]
    assert str(path) in str(error.value)
    assert "7100" not in str(error.value)


def test_a_camera_without_its_recording(tmp_path):
    make.reid_recording(tmp_path, "001", "cam01", make.events_of(0)).unlink()
    with pytest.raises(DatasetError, match=r"cam01: looked for events.txt, but it is not there"):
        open_dataset(tmp_path)


def test_a_folder_that_is_not_a_camera(tmp_path):
    make.reid_recording(tmp_path, "001", "labels", make.events_of(0))
    with pytest.raises(DatasetError, match=r"labels: expected a camera as cam01 to cam04"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("unit_us", [1_000, 100])
def test_windows_in_files(tmp_path, unit_us):
    rows = {
        name: make.events_of(k, 30, 33_000) for k, name in enumerate(("train/001_c1_048.txt", "test/001_c3_096.txt"))
    }
    dataset = open_dataset(make.reid_windows(tmp_path, rows, unit_us))
    # Both folders count from 001: these are two people.
    assert [(trial.subject, trial.session, trial.split) for trial in dataset.trials] == [
        ("train/001", "c1", "train"),
        ("test/001", "c3", "test"),
    ]
    for trial in dataset.trials:
        times = [t for t, *_ in read(trial)]
        expected = rows[trial.name][:, 0] + round(324_572_590.75 * unit_us)
        np.testing.assert_allclose(times, expected, atol=1)


def test_a_window_in_which_nothing_moved_is_left_out(tmp_path):
    make.reid_windows(
        tmp_path, {"train/001_c1_001.txt": make.events_of(0), "train/001_c1_002.txt": make.events_of(0, 0)}
    )
    assert [trial.name for trial in open_dataset(tmp_path).trials] == ["train/001_c1_001.txt"]


def test_a_set_in_which_nothing_moves_at_all(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "008_c3_096.txt").touch()
    with pytest.raises(DatasetError, match="found only empty ones"):
        open_dataset(tmp_path)


def test_a_window_with_another_name(tmp_path):
    make.reid_windows(tmp_path, {"train/001_c1_001.txt": make.events_of(0), "train/notes.txt": make.events_of(0)})
    with pytest.raises(DatasetError, match=r"notes.txt: expected a window named like 008_c3_096.txt"):
        open_dataset(tmp_path)


def test_the_published_sample(real_data):
    dataset = open_dataset(real_data / "event_reid")
    assert (len(dataset.of("train")), len(dataset.of("test")), len(dataset.subjects)) == (30, 33, 15)
    rows = read(dataset.by_name["test/001_c1_035.txt"])
    assert len(rows) == 1_493
    assert 30_000 < rows[-1][0] - rows[0][0] < 33_300
