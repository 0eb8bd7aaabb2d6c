"""Training windows, summed from rows, equal those of the live histogrammer."""

from __future__ import annotations

import os

import numpy as np
import pytest
from dataset_makers import LABELS, events_of, recording, reid_windows, see, tonic_trial
from small_trainings import planted

from eventveil.errors import ConfigError, TrainingError
from eventveil.replay.datasets import open_dataset
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.windows import build


def shape(**changes):
    usual = {"mode": "windows", "bins": 3, "bin_us": 40_000, "offsets": 4, "size": (32, 16), "crop": None}
    return RowShape.of(**(usual | changes))


def by_histogrammer(trial, start_us, **settings):
    """Return the window of a trial that starts `start_us` after its first event."""
    with trial.open() as source:
        packets = list(source)
    first_us = int(packets[0].t[0])
    histogrammer = WindowedHistogrammer(source.sensor, start_us=first_us + start_us, **settings)
    windows = []
    for packet in packets:
        first = packet.t.searchsorted(first_us + start_us)
        windows += histogrammer.push(packet[first:])
    return [*windows, *histogrammer.finish()][0].counts


def one_trial(tmp_path, rows):
    for split in ("ibmGestureTrain", "ibmGestureTest"):
        number = "01" if split == "ibmGestureTrain" else "24"
        tonic_trial(tmp_path, f"{split}/user{number}_led/3.npy", rows)
    return open_dataset(tmp_path).of("train")


@pytest.mark.parametrize("crop", [None, (8, 20, 96, 64)])
@pytest.mark.parametrize("row", [0, 1, 5, 40])
def test_a_window_at_any_row_is_that_of_the_histogrammer(tmp_path, row, crop):
    trials = one_trial(tmp_path, events_of(3, 20_000))
    windows = build(trials, shape(crop=crop), tmp_path / "windows")
    got = windows.cut(np.array([row]))[0]
    want = by_histogrammer(trials[0], row * 10_000, size=(32, 16), bins=3, bin_us=40_000, crop=crop)
    np.testing.assert_array_equal(got, want.reshape(6, 16, 32))
    assert got.sum() > 0


def test_the_channel_is_two_times_bin_plus_polarity(tmp_path):
    rows = np.array([(0, 0, 0, 1), (40_000, 127, 0, 0), (41_000, 127, 0, 0), (119_000, 0, 127, 1)])
    window = build(one_trial(tmp_path, rows), shape(), tmp_path / "windows").cut(np.array([0]))[0]
    assert {tuple(map(int, place)): int(window[tuple(place)]) for place in np.argwhere(window)} == {
        (1, 0, 0): 1,
        (2, 0, 31): 2,
        (5, 15, 0): 1,
    }


def test_counts_are_kept_in_bytes_while_they_fit_and_saturate_as_those_of_the_pipeline(tmp_path):
    few = np.array([(0, 5, 5, 1)] * 255 + [(130_000, 0, 0, 0)])
    many = np.array([(0, 5, 5, 1)] * 60_000 + [(10_000, 5, 5, 1)] * 60_000 + [(130_000, 0, 0, 0)])
    for name, rows, dtype, most in (("few", few, np.uint8, 255), ("many", many, np.uint16, 65_535)):
        folder = tmp_path / name
        windows = build(one_trial(folder, rows), shape(), folder / "windows")
        assert windows.rows.dtype == dtype
        assert windows.cut(np.array([0])).max() == most
    assert list((tmp_path / "many" / "windows").iterdir()) == [next((tmp_path / "many" / "windows").glob("*.npy"))]


def test_a_short_trial_is_quiet_at_its_end(tmp_path):
    windows = build(one_trial(tmp_path, events_of(1, 500, span_us=50_000)), shape(), tmp_path / "windows")
    assert len(windows.rows) == windows.shape.per_window == 12
    window = windows.cut(np.array([0]))[0]
    assert window.sum() == 500
    assert window[4:].sum() == 0


def test_a_whole_recording_is_binned_as_the_histogrammer_does(tmp_path):
    trials = one_trial(tmp_path, events_of(7, 3_000))
    windows = build(trials, shape(mode="recording", bin_us=None, bins=5), tmp_path / "windows")
    with trials[0].open() as source:
        histogrammer = WindowedHistogrammer(source.sensor, (32, 16), bins=5, mode="recording")
        assert [list(histogrammer.push(packet)) for packet in source]
        (want,) = histogrammer.finish()
    np.testing.assert_array_equal(windows.cut(np.array([0]))[0], want.counts.reshape(10, 16, 32))


def test_frames_become_windows(tmp_path):
    dataset = open_dataset(see(tmp_path / "see"))
    windows = build(dataset.trials, shape(size=(24, 16), bins=3, bin_us=33_333, offsets=1), tmp_path / "windows")
    window = windows.cut(windows.first_row[:1])[0]
    # White and black blocks of 8x8 in the first and the last of three frames; the first event is at a frame's middle.
    assert window.reshape(3, 2, 16, 24).sum((2, 3)).tolist() == [[0, 64], [0, 0], [64, 0]]


def test_voxel_grids_of_the_box_around_a_person_fill_the_window(tmp_path):
    rows = events_of(2, 4_000, 33_000, 20, 40) + np.array([0, 300, 200, 0])
    reid_windows(tmp_path, {"train/001_c1_001.txt": rows, "test/001_c1_001.txt": rows})
    trials = open_dataset(tmp_path).of("train")
    plain = {"mode": "voxel", "bins": 5, "bin_us": 6_660, "offsets": 1}
    boxed = build(trials, shape(**plain, size=(20, 40), crop="events"), tmp_path / "windows").cut(np.array([0]))
    cropped = build(trials, shape(**plain, size=(20, 40), crop=(300, 200, 20, 40)), tmp_path / "windows")
    grid = cropped.cut(np.array([0]))
    values = grid[grid != 0]
    want = np.where(grid != 0, (grid - values.mean()) / values.std(), 0)
    np.testing.assert_allclose(boxed, want, atol=1e-5)
    larger = build(trials, shape(**plain, size=(64, 128), crop="events"), tmp_path / "windows").cut(np.array([0]))
    assert larger.shape == (1, 5, 128, 64)
    assert (larger[..., :8] != 0).any()
    assert (larger[..., -8:] != 0).any()


def test_several_processes_make_the_same_rows_and_a_second_run_finds_them(tmp_path):
    trials = open_dataset(planted(tmp_path / "set")).trials
    calls = []
    one = build(trials, shape(), tmp_path / "one", watch=lambda done, of: calls.append((done, of)))
    two = build(tuple(reversed(trials)), shape(), tmp_path / "two", workers=2)
    np.testing.assert_array_equal(one.rows, two.rows)
    assert one.trials == two.trials
    assert calls[-1] == (len(trials), len(trials))
    before = next((tmp_path / "one").iterdir()).stat()
    build(trials, shape(), tmp_path / "one")
    assert next((tmp_path / "one").iterdir()).stat() == before


@pytest.mark.parametrize("damage", ["empty", "header", "bracket", "cut off", "another array"])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    trials = one_trial(tmp_path, events_of(1, 100))
    rows = np.array(build(trials, shape(), tmp_path / "windows").rows)
    (path,) = (tmp_path / "windows").iterdir()
    whole = path.read_bytes()
    if damage == "another array":
        np.save(path, rows[..., :-1])
    else:
        damaged = {"empty": b"", "header": whole[7:], "bracket": whole.replace(b"}", b"(", 1), "cut off": whole[:-1]}
        path.write_bytes(damaged[damage])
    np.testing.assert_array_equal(build(trials, shape(), tmp_path / "windows").rows, rows)
    assert path.read_bytes() == whole


def test_rows_of_changed_events_are_made_again(tmp_path):
    build(one_trial(tmp_path, events_of(1, 100)), shape(), tmp_path / "windows")
    build(one_trial(tmp_path, events_of(2, 100)), shape(), tmp_path / "windows")
    assert len(list((tmp_path / "windows").iterdir())) == 2


@pytest.mark.parametrize(
    "labels", [[(1, 40_000, 100_000), (2, 100_000, 300_000)], [(1, 0, 200_000), (2, 200_000, 360_000)]]
)
def test_rows_of_changed_labels_are_made_again(tmp_path, labels):
    """The file of the events has not changed; in the first case, the number of rows has not either."""
    built = {}
    for name in ("first", "again"):
        recording(tmp_path, "user01_led", [(1, 0, 60_000), (2, 60_000, 260_000)], events_of(3, 20_000))
        for split, names in (("train", "user01_led.aedat\n"), ("test", "")):
            (tmp_path / f"trials_to_{split}.txt").write_text(names)
        os.utime(tmp_path / "user01_led.aedat", (1, 1))
        cache = tmp_path / name
        if name == "first":
            build(open_dataset(tmp_path).trials, shape(), cache)
        lines = [LABELS, *(",".join(map(str, label)) for label in labels)]
        (tmp_path / "user01_led_labels.csv").write_text("\n".join(lines) + "\n")
        built[name] = build(open_dataset(tmp_path).trials, shape(), cache)
    np.testing.assert_array_equal(built["first"].first_row, built["again"].first_row)
    np.testing.assert_array_equal(built["first"].rows, built["again"].rows)


def test_bins_that_are_not_whole_rows_are_refused():
    with pytest.raises(ConfigError, match=r"window\.offsets: expected a divisor of bin_us, 40000, got 3"):
        shape(offsets=3)


def test_a_full_disk_is_reported_with_the_space_needed(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(TrainingError, match=r"No space left on device.*take up to 0\.0 GB.*data\.cache"):
        build(one_trial(tmp_path, events_of(1, 100)), shape(), tmp_path / "windows")
    assert list((tmp_path / "windows").iterdir()) == []
