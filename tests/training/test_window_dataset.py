"""Windows as datasets of PyTorch: those of the histogrammer, each once whatever the workers, split by person."""

from __future__ import annotations

import pickle
import stat
import tempfile
from itertools import islice

import numpy as np
import pytest
import torch
from dataset_makers import events_of, reid_windows, see, tonic, tonic_trial
from model_helpers import anonymizer_weights, voxel_weights
from torch.utils.data import DataLoader

from eventveil import Sensor
from eventveil.errors import ConfigError, DatasetError, EventFileError
from eventveil.models import Anonymizer
from eventveil.models.noise import SeededNoise
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.splits import split_by_person
from eventveil.stream.histogram import WindowedHistogrammer
from eventveil.training import WindowDataset, WindowStream, cut_of

CUT = {"size": (32, 16), "bins": 3, "bin_us": 40_000}


@pytest.fixture(scope="module")
def gestures(tmp_path_factory):
    """Two training people and a test person with three gestures each, in trials of different lengths."""
    root = tmp_path_factory.mktemp("people")
    for folder, number in (("ibmGestureTrain", 1), ("ibmGestureTrain", 2), ("ibmGestureTest", 24)):
        for target in (0, 4, 7):
            rows = events_of(10 * number + target, 3_000, span_us=(400_000, 730_000, 50_000)[number % 3])
            tonic_trial(root, f"{folder}/user{number:02}_led/{target}.npy", rows)
    return root


def by_histogrammer(dataset, hop=None):
    """Return (first count, target, person, start) of each whole window of all trials, from the histogrammer alone."""
    found = []
    for trial in dataset.trials:
        with trial.open() as source:
            packets = list(source)
        histogrammer = WindowedHistogrammer(source.sensor, CUT["size"], CUT["bins"], CUT["bin_us"], hop)
        windows = [window for packet in packets for window in histogrammer.push(packet)]
        windows += [window for window in histogrammer.finish() if window.seq == 0]
        first_us = int(packets[0].t[0])
        found += [(w.counts.reshape(6, 16, 32), trial.target, trial.subject, w.t_start_us - first_us) for w in windows]
    return found


def plain(dataset, samples):
    return [(s.window.numpy(), s.target, dataset.people[s.person], s.start_us) for s in samples]


def in_any_order(rows):
    return sorted((start, target, person, window.tobytes()) for window, target, person, start in rows)


@pytest.mark.parametrize("hop", [None, 1])
def test_both_kinds_have_the_windows_of_the_histogrammer(gestures, hop):
    want = [(w.astype(np.float32), *rest) for w, *rest in by_histogrammer(open_dataset(gestures), hop)]
    by_index, in_turn = (kind(gestures, hop=hop, **CUT) for kind in (WindowDataset, WindowStream))
    assert len(by_index) == len(want) > 9
    assert in_any_order(plain(by_index, by_index)) == in_any_order(want)
    assert in_any_order(plain(in_turn, in_turn)) == in_any_order(want)
    assert by_index[-1].window.dtype == torch.float32
    with pytest.raises(IndexError):
        by_index[len(by_index)]


@pytest.mark.parametrize("kind", [WindowDataset, WindowStream])
def test_workers_share_the_windows_and_repeat_none(gestures, kind):
    dataset = kind(gestures, **CUT)
    loader = DataLoader(dataset, batch_size=4, num_workers=2)
    rows = [row for batch in loader for row in zip(*batch, strict=True)]
    got = [
        (window.numpy(), int(target), dataset.people[int(person)], int(start)) for window, target, person, start in rows
    ]
    assert in_any_order(got) == in_any_order(plain(dataset, dataset))


@pytest.mark.parametrize("source", ["people", "simulate:?subjects=2&seconds=0.2", "dv://"])
def test_another_process_gets_the_same_stream(gestures, source):
    """Workers that are not forked receive the dataset as a pickle."""
    stream = WindowStream(gestures if source == "people" else source, people=None, **CUT)
    again = pickle.loads(pickle.dumps(stream))
    assert (again.people, again.classes) == (stream.people, stream.classes)
    if source != "dv://":
        few = [list(islice(one, 3)) for one in (stream, again)]
        assert in_any_order(plain(stream, few[0])) == in_any_order(plain(again, few[1]))


def test_a_cache_is_of_one_sensor(tmp_path):
    np.save(tmp_path / "seen.npy", [[0, 6, 2, 1], [130_000, 3, 3, 0]])
    uri, cut = f"{tmp_path}/seen.npy?columns=t,x,y,p", CUT | {"size": (4, 4)}
    made = {}
    for width in (8, 16):
        dataset = WindowDataset(uri, sensor=Sensor(width, 8), cache=tmp_path / "windows", **cut)
        made[width] = int(dataset[0].window.sum((0, 1)).argmax())
    assert made == {8: 3, 16: 1}  # the column of x = 6


def test_a_cache_is_private_and_goes_to_workers_as_its_name(gestures, tmp_path):
    kept, in_memory = WindowDataset(gestures, cache=tmp_path / "windows", **CUT), WindowDataset(gestures, **CUT)
    (file,) = (tmp_path / "windows").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert len(pickle.dumps(kept)) < 20_000 < file.stat().st_size < len(pickle.dumps(in_memory))
    again = pickle.loads(pickle.dumps(kept))
    assert torch.equal(again[3].window, kept[3].window)
    again.__init__(gestures, cache=tmp_path / "windows", **CUT)
    assert list((tmp_path / "windows").iterdir()) == [file]


def test_windows_in_memory_are_never_in_a_file(gestures, tmp_path, monkeypatch):
    """A killed process would leave it, where no one looks for raw windows."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "there is no folder for temporary files"))
    dataset = WindowDataset(gestures, **CUT)
    assert dataset[0].window.sum() > 0


@pytest.mark.parametrize("kind", [WindowDataset, WindowStream])
def test_no_person_is_in_two_parts(gestures, kind):
    split = split_by_person(open_dataset(gestures), {"train": 2, "test": 1}, seed=3)
    train, test = (kind(gestures, people=split.people[part], **CUT) for part in ("train", "test"))
    everyone = in_any_order(plain(whole := kind(gestures, **CUT), whole))
    assert not set(train.people) & set(test.people)
    assert {sample.person for sample in train} == {0, 1}
    assert {sample.person for sample in test} == {0}
    assert in_any_order([*plain(train, train), *plain(test, test)]) == everyone
    published = kind(f"dvs-gesture:{gestures}?split=test", **CUT)
    assert published.people == ("user24",)
    with pytest.raises(DatasetError, match=r"expected some of the people user01, .* got user99"):
        kind(gestures, people=["user99"], **CUT)


def test_a_recording_has_windows_of_nobody(tmp_path):
    np.save(tmp_path / "seen.npy", events_of(1, 2_000, span_us=500_000))
    for kind in (WindowDataset, WindowStream):
        dataset = kind(f"{tmp_path}/seen.npy?columns=t,x,y,p", sensor=Sensor(128, 128), **CUT)
        samples = list(dataset)
        assert [sample.start_us for sample in samples] == [0, 120_000, 240_000, 360_000]
        assert {(sample.target, sample.person) for sample in samples} == {(-1, -1)}
        assert (dataset.classes, dataset.people) == ((), ())
        with pytest.raises(ConfigError, match="cannot be split by person"):
            kind(f"{tmp_path}/seen.npy?columns=t,x,y,p", sensor=Sensor(128, 128), people=["user01"], **CUT)


def test_every_dataset_and_mode(gestures, tmp_path):
    faces = see(tmp_path / "see")
    grids = reid_windows(
        tmp_path / "reid", {f"{part}/001_c1_001.txt": events_of(2, 400, 33_000) for part in ("train", "test")}
    )
    for source, cut, shape in (
        (faces, {"size": (24, 16), "bins": 3, "bin_us": 20_000}, (6, 16, 24)),
        (
            tmp_path / "reid" if grids is None else grids,
            {"mode": "voxel", "size": (20, 40), "bin_us": 6_660},
            (5, 40, 20),
        ),
        (gestures, {"mode": "recording", "size": (32, 32), "bin_us": None}, (10, 32, 32)),
    ):
        one, other = WindowDataset(source, **cut), WindowStream(source, **cut)
        samples = list(other)
        assert len(one) == len(samples) > 0
        assert samples[0].window.shape == shape
        assert in_any_order(plain(one, one)) == in_any_order(plain(other, samples))


def test_simulated_people_have_no_end_and_workers_film_different_takes():
    stream = WindowStream("simulate:?subjects=3&seconds=0.3", size=(16, 16), bins=2, bin_us=50_000)
    with pytest.raises(ConfigError, match="use WindowStream"):
        WindowDataset("simulate:")
    assert stream.people == ("user01", "user02", "user03")
    alone = list(islice(stream, 12))  # four takes
    loader = iter(DataLoader(stream, batch_size=3, num_workers=2))
    takes = [next(loader) for _ in range(4)]
    del loader
    for number, take in enumerate(takes):
        want = alone[3 * number : 3 * number + 3]
        assert torch.equal(take.window, torch.stack([sample.window for sample in want]))
        assert take.target.tolist() == [sample.target for sample in want]
        assert take.person.tolist() == [sample.person for sample in want]
    only = WindowStream("simulate:?subjects=3&seconds=0.1", size=(16, 16), bins=1, bin_us=50_000, people=["user02"])
    assert {only.people[sample.person] for sample in islice(only, 3)} == {"user02"}


@pytest.mark.parametrize("weights", [anonymizer_weights, voxel_weights])
def test_an_anonymizer_gets_each_window_as_the_pipeline_cuts_it(gestures, weights):
    file = weights()
    cut = cut_of(file.metadata)
    one, other = (Anonymizer(file, device="cpu", noise=SeededNoise(4)) for _ in range(2))
    raw = WindowDataset(gestures, **cut)[1].window.numpy()
    for kind in (WindowDataset, WindowStream):
        dataset = kind(gestures, anonymizer=Anonymizer(file, device="cpu", noise=SeededNoise(4)), **cut)
        sample = dataset[1] if kind is WindowDataset else next(iter(dataset))
        assert sample.window.dtype == torch.float32
        assert sample.window.shape == raw.shape
    want = one([raw.astype(other._dtype).reshape(file.metadata.window_shape)])[0]
    got = WindowDataset(gestures, anonymizer=other, **cut)[1].window.numpy()
    np.testing.assert_array_equal(got, want)
    assert (got != raw).any()


def test_a_transform_sees_each_window_once(gestures):
    seen = []
    dataset = WindowDataset(gestures, transform=lambda window: (seen.append(window), window + 1)[1], **CUT)
    assert torch.equal(dataset[2].window, seen[0] + 1)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [({"hop": 4}, ConfigError), ({"bin_us": None}, ConfigError), ({"mode": "recording"}, ConfigError),
     ({"mode": "voxel", "hop": 1}, ConfigError)],
)  # fmt: skip
def test_settings_that_contradict_each_other_are_refused(gestures, change, error):
    with pytest.raises(error, match="got"):
        WindowDataset(gestures, **CUT | change)


def test_a_source_that_cannot_be_read_is_refused_at_once(tmp_path):
    for kind in (WindowDataset, WindowStream):
        with pytest.raises(EventFileError):
            kind(tmp_path / "gone.aedat4", **CUT)
        with pytest.raises(ConfigError, match="unknown kind of source"):
            kind("lidar:" + str(tmp_path), **CUT)
    np.save(tmp_path / "empty.npy", np.empty((0, 4), np.int64))
    with pytest.raises(ConfigError, match="has no events"):
        WindowDataset(f"{tmp_path}/empty.npy?columns=t,x,y,p", sensor=Sensor(4, 4), **CUT | {"size": (4, 4)})


def test_a_dataset_named_as_another_kind_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="open it as dvs-gesture:"):
        WindowDataset(f"see:{tonic(tmp_path / 'people', classes=(0,))}", **CUT)
