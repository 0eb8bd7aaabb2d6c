"""SEE: folders of event frames as trials, and frames as events."""

from __future__ import annotations

import dataset_makers as make
import numpy as np
import pytest

from eventveil.errors import DatasetError, EventFileError
from eventveil.events import Sensor
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.see_frames import FRAME_US


def test_index(tmp_path):
    dataset = open_dataset(make.see(tmp_path))
    assert (dataset.kind, len(dataset.trials), dataset.splits) == ("see", 12, ("all",))
    assert dataset.subjects == ("001", "002", "003")
    trial = dataset.by_name["event/fear/4_001_man_24_Master_normal_fear_3_take001"]
    assert (trial.subject, trial.label, trial.lighting, trial.session) == ("001", "fear", "normal", "take001")
    assert (trial.target, trial.duration_us) == (dataset.classes.index("fear"), 3 * FRAME_US)
    assert dataset.classes == ("angry", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")


def test_white_is_on_black_is_off_and_grey_is_nothing(tmp_path):
    frames = [make.frame(on=[(0, 0)], off=[(2, 1)]), make.frame(), make.frame(on=[(1, 1)])]
    make.sequence(tmp_path, "1_001_woman_24_Master_HDR_angry_3_take000", frames)
    (trial,) = open_dataset(tmp_path).trials
    with trial.open() as source:
        assert source.sensor == Sensor(24, 16)
        first, second, third = source
    assert (len(first), len(second), len(third)) == (128, 0, 64)
    for packet, frame in zip((first, second, third), frames, strict=True):
        shown = np.full((16, 24), 128)
        shown[packet.y, packet.x] = np.where(packet.p, 255, 0)
        np.testing.assert_array_equal(shown, frame)
    assert [set(packet.t.tolist()) for packet in (first, second, third)] == [{16_666}, set(), {83_332}]
    assert [packet.until_us for packet in (first, second, third)] == [33_333, 66_666, 99_999]


def test_a_closed_source_ends(tmp_path):
    make.see(tmp_path)
    with open_dataset(tmp_path).trials[0].open() as source:
        next(source)
    assert list(source) == []


def test_the_folder_that_was_published_with_a_capital_is_read(tmp_path):
    make.sequence(tmp_path, "1_001_man_24_Master_Low_neutral_3_take000", [make.frame()])
    (tmp_path / "event" / "neutral").rename(tmp_path / "event" / "neutraL")
    assert open_dataset(tmp_path).trials[0].label == "neutral"


def test_the_split_of_anonynoise_is_taken_where_it_lies_there(tmp_path):
    make.see(tmp_path)
    rows = [{"filename": trial.path.name} for trial in open_dataset(tmp_path).trials]
    sides = {"001": "train", "002": "query", "003": "gallery"}
    lists = {
        side: [row for row in rows if sides[row["filename"].split("_")[1]] == side]
        for side in ("train", "query", "gallery")
    }
    make.see(tmp_path / "again", metadata=lists)
    dataset = open_dataset(tmp_path / "again")
    assert {trial.subject: trial.split for trial in dataset.trials} == {"001": "train", "002": "test", "003": "test"}


@pytest.mark.parametrize("metadata", [{}, [], {"train": [1], "query": [], "gallery": []}])
def test_a_file_that_is_not_a_list(tmp_path, metadata):
    make.see(tmp_path, metadata=metadata)
    with pytest.raises(DatasetError, match=r"see_metadata.json: expected lists train, query and gallery"):
        open_dataset(tmp_path)


def test_a_sequence_that_the_list_does_not_name(tmp_path):
    make.see(tmp_path, metadata={"train": [], "query": [], "gallery": []})
    with pytest.raises(DatasetError, match=r"see_metadata.json does not name this sequence"):
        open_dataset(tmp_path)


def test_an_unknown_emotion(tmp_path):
    make.see(tmp_path, emotions=("angry", "joy"))
    with pytest.raises(DatasetError, match="unknown class 'joy'; the emotions are angry, disgust"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["take", "1_001_man_24_Master_normal_fear_3_take000"])
def test_a_sequence_with_another_name(tmp_path, name):
    folder = make.sequence(tmp_path, "1_001_man_24_Master_normal_angry_3_take000", [make.frame()])
    folder.rename(folder.with_name(name))
    with pytest.raises(DatasetError, match="expected a sequence of 'angry', named NUMBER_ID_SEX"):
        open_dataset(tmp_path)


def test_a_missing_frame(tmp_path):
    folder = make.sequence(tmp_path, "1_001_man_24_Master_normal_angry_3_take000", [make.frame()] * 3)
    (folder / "00001.jpg").unlink()
    with pytest.raises(DatasetError, match=r"looked for frame 00001.jpg, found 00002.jpg"):
        open_dataset(tmp_path)


def test_a_damaged_frame_is_reported_and_left_out(tmp_path):
    frames = [make.frame(on=[(0, 0)]), make.frame(), make.frame(off=[(0, 0)])]
    folder = make.sequence(tmp_path, "1_001_man_24_Master_normal_angry_3_take000", frames)
    (folder / "00001.jpg").write_bytes(b"no picture")
    with open_dataset(tmp_path).trials[0].open() as source:
        next(source)
        with pytest.raises(EventFileError, match=r"00001.jpg \(event frame\): expected a picture"):
            next(source)
        assert len(next(source)) == 64


def test_a_frame_of_another_size(tmp_path):
    make.sequence(tmp_path, "1_001_man_24_Master_normal_angry_3_take000", [make.frame(), make.frame(shape=(16, 16))])
    with open_dataset(tmp_path).trials[0].open() as source:
        next(source)
        with pytest.raises(EventFileError, match="expected a frame of 24x16 like the first one, got 16x16"):
            next(source)
