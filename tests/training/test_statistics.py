"""Statistics of the training windows that weights carry: field of view and event density."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_makers import events_of, tonic_trial
from pydantic import ValidationError

from eventveil.models.metadata import TrainedScene
from eventveil.replay.datasets import open_dataset
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.statistics import measure_scene
from eventveil.training.data.windows import build


def shape(**changes):
    usual = {"mode": "windows", "bins": 3, "bin_us": 40_000, "offsets": 4, "size": (32, 16), "crop": None}
    return RowShape.of(**(usual | changes))


@pytest.fixture
def trials(tmp_path):
    for number, events in ((1, 20_000), (2, 5_000), (3, 40_000)):
        tonic_trial(tmp_path, f"ibmGestureTrain/user{number:02}_led/3.npy", events_of(number, events))
    tonic_trial(tmp_path, "ibmGestureTest/user24_led/3.npy", events_of(4, 10))
    return open_dataset(tmp_path).of("train")


@pytest.mark.parametrize("crop", [None, (8, 20, 96, 64)])
def test_density_is_that_of_every_window_within_a_trial(trials, tmp_path, crop):
    windows = build(trials, shape(crop=crop), tmp_path / "windows")
    starts = [
        start
        for trial in range(len(trials))
        for start in range(windows.first_row[trial], windows.first_row[trial + 1] - 12 + 1)
    ]
    densities = windows.cut(np.array(starts)).sum(axis=(1, 2, 3)) / (32 * 16)
    scene = measure_scene(windows)
    np.testing.assert_allclose(scene.density, np.percentile(densities, (1, 50, 99)), atol=6e-4)
    assert scene.field == ((128, 128) if crop is None else (96, 64))
    assert 0 < scene.density[0] < scene.density[1] < scene.density[2]


def test_a_whole_recording_is_one_window(trials, tmp_path):
    windows = build(trials, shape(mode="recording", bin_us=None), tmp_path / "windows")
    densities = windows.cut(windows.first_row[:-1]).sum(axis=(1, 2, 3)) / (32 * 16)
    assert measure_scene(windows).density == pytest.approx(np.percentile(densities, (1, 50, 99)), abs=6e-4)


def test_voxels_have_no_density_and_boxes_no_field(trials, tmp_path):
    scene = measure_scene(build(trials, shape(mode="voxel"), tmp_path / "windows"))
    assert (scene.field, scene.density) == ((128, 128), None)
    boxed = measure_scene(build(trials, shape(mode="voxel", crop="events"), tmp_path / "windows"))
    assert (boxed.field, boxed.density) == (None, None)


@pytest.mark.parametrize("wrong", [{"density": (1, 3, 2)}, {"density": (-1, 0, 1)}, {"field": (0, 1)}, {"hue": 1}])
def test_a_scene_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        TrainedScene.model_validate(wrong)
