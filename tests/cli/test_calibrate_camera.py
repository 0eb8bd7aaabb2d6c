"""`eventveil calibrate` with a live camera: hot pixels are stored for the camera, and deleted on request."""

from __future__ import annotations

import json

import numpy as np
import pytest
from camera_helpers import PATIENCE_S, as_dv, fake_camera
from preprocess_helpers import PLANTED, SENSOR, filmed, packets_of
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.models import save_weights
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata, TrainedScene
from eventveil.stream.owner.calibration import profile
from eventveil.stream.preprocess.hot_pixel_file import HotPixelFile


@pytest.fixture
def weights(tmp_path):
    model = initialise("anonynoise", {"channels": 4, "noise_std": 32.0}, seed=1)
    scene = TrainedScene(field=(20, 20), density=(1, 5, 20))
    window = {"bins": 2, "bin_us": 50_000, "hop": 2, "size": (10, 10), "trained": False, "scene": scene}
    save_weights(tmp_path / "weights", model, Metadata.of(model, role="anonymizer", **window))
    return tmp_path / "weights"


def calibrate(*words):
    return CliRunner().invoke(app, ["calibrate", "dv://", "--json", *map(str, words)])


def test_a_camera_is_looked_at_twice_remembered_and_forgotten(weights, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(profile, "PATIENCE_S", PATIENCE_S)
    fake = fake_camera(tmp_path, monkeypatch, "dv", sensor=(SENSOR.width, SENSOR.height), serial="DXB00010")
    for packet in packets_of(filmed(seconds=4.0)):
        fake.emit(as_dv(packet))
    options = ("--weights", weights, "--seconds", 1.5, "--set", "camera.quiet_ms=60000")
    done = calibrate(*options)
    assert done.exit_code == 0, (done.stdout, done.stderr, done.exception)
    report = json.loads(done.stdout)
    assert (report["serial"], report["sensor"]) == ("DXB00010", "40x30")
    assert {(one["x"], one["y"]) for one in report["hot_pixels"]} == PLANTED
    assert report["seconds"] == pytest.approx(1.5, abs=0.05)
    assert report["windows"] >= 14  # of 100 ms, in the second measurement
    rows, columns = np.nonzero(HotPixelFile("DXB00010", SENSOR).load())
    assert set(zip(columns.tolist(), rows.tolist(), strict=True)) == PLANTED

    fake.plug()
    for packet in packets_of(filmed(seconds=1.0)):
        fake.emit(as_dv(packet))
    forgotten = calibrate(*options[:2], "--seconds", 0.3, *options[4:], "--forget")
    assert "deleted the stored hot pixels of DXB00010" in forgotten.stderr
    assert HotPixelFile("DXB00010", SENSOR).load() is None
