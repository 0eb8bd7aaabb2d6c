"""`eventveil calibrate`: what it reports of a source, what the network sees of it, and who may read the picture."""

from __future__ import annotations

import json
import stat

import numpy as np
import pytest
from PIL import Image
from preprocess_helpers import PLANTED, SENSOR, filmed, packets_of
from recordings import make_events
from typer.testing import CliRunner

from eventveil import EventPacket, Sensor
from eventveil.cli import app
from eventveil.errors import EventVeilError
from eventveil.io.formats.writer import open_writer
from eventveil.models import load_weights, save_weights
from eventveil.models.shipped import NOISY_CHANNEL
from eventveil.stream.owner.calibration.image import draw_sheet, write_private
from eventveil.stream.owner.calibration.profile import SourceProfile, profile_source
from eventveil.stream.planning.plan import WindowPlan
from eventveil.stream.preprocess.view import View
from eventveil.stream.settings.pipeline import SourceSettings

PLAN = WindowPlan(mode="windows", bins=2, bin_us=100_000, hop=2, size=(10, 10), field=(20, 20))


def recording(path, events, sensor=SENSOR):
    with open_writer(path, sensor) as writer:
        for packet in packets_of(events):
            writer.write(packet)
    return path


def source(path, **scene):
    return SourceSettings.model_validate({"uri": str(path), "scene": scene})


def test_what_is_reported_is_what_was_planted(tmp_path):
    events = filmed(seconds=4.0)
    profile = profile_source(source(recording(tmp_path / "a.aedat4", events)), PLAN, 3.0)
    first = events[: int(events.t.searchsorted(events.t[0] + 3_000_000))]
    assert (profile.events, profile.on) == (len(first), np.count_nonzero(first.p))
    assert profile.seconds == pytest.approx(3.0, abs=0.01)
    want = np.zeros((30, 40), np.uint32)
    np.add.at(want, (first.y, first.x), 1)
    np.testing.assert_array_equal(profile.per_pixel, want)
    rows, columns = np.nonzero(profile.hot)
    assert set(zip(columns.tolist(), rows.tolist(), strict=True)) == PLANTED
    assert profile.view == View(SENSOR, (5, 0, 30, 30), (20, 20))


def test_its_windows_are_those_of_the_pipeline(tmp_path):
    events = filmed(seconds=1.0)
    path = recording(tmp_path / "a.aedat4", events)
    profile = profile_source(source(path), PLAN, 1.0)
    histogrammer = PLAN.histogrammer(profile.view)
    windows = [window for packet in packets_of(events) for window in histogrammer.push(packet)]
    assert profile.density == [window.events / 100 for window in windows]
    assert len(windows) == 4
    densest = max(windows, key=lambda window: window.events)
    np.testing.assert_array_equal(profile.window, densest.counts.sum(axis=(0, 1)))


def test_a_requested_mask_applies_to_what_the_network_sees(tmp_path):
    path = recording(tmp_path / "a.aedat4", filmed(seconds=3.2))
    plain, masked = (profile_source(source(path, pixels="all", hot_pixels=mode), PLAN, 3.0) for mode in ("off", "mask"))
    assert plain.events == masked.events
    assert sum(masked.density) < sum(plain.density)


def test_hot_pixels_of_a_recording_shorter_than_the_measurement_are_found(tmp_path):
    path = recording(tmp_path / "a.aedat4", filmed(seconds=2.0))
    profile = profile_source(source(path), PLAN, 60.0)
    assert profile.hot.sum() == len(PLANTED)


def test_what_is_shorter_than_a_window_is_shown_and_not_judged(tmp_path):
    profile = profile_source(source(recording(tmp_path / "a.aedat4", filmed(seconds=0.1))), PLAN, 5.0)
    assert profile.density == []
    assert profile.window.sum() > 0
    assert profile.training_mismatch((1e6, 2e6, 3e6)) is None


def test_a_sensor_smaller_than_the_window_says_so(tmp_path):
    path = recording(tmp_path / "a.aedat4", make_events(50, sensor=Sensor(8, 8)), Sensor(8, 8))
    with pytest.raises(EventVeilError, match="it only scales down"):
        profile_source(source(path), PLAN, 1.0)


def test_the_repr_of_a_profile_shows_no_events():
    profile = SourceProfile(
        SENSOR, View(SENSOR), np.full((30, 40), 4711, np.uint32), np.zeros((30, 40), np.bool_), events=4711
    )
    assert "4711" not in repr(profile)


def test_the_picture_is_for_its_owner_and_shows_hot_pixels_red(tmp_path):
    profile = profile_source(source(recording(tmp_path / "a.aedat4", filmed(seconds=3.2))), PLAN, 3.0)
    path = tmp_path / "seen.png"
    path.write_bytes(b"older, and open to all")
    path.chmod(0o644)
    write_private(path, draw_sheet(profile, None))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.glob(".seen*")) == []
    picture = np.asarray(Image.open(path).convert("RGB"))[:, :480]
    red = (picture[..., 0] > 200) & (picture[..., 1:].max(axis=2) < 30)
    assert red.any()
    clean = profile_source(source(recording(tmp_path / "b.aedat4", filmed(set(), seconds=3.2))), PLAN, 3.0)
    picture = np.asarray(draw_sheet(clean, profile))[40:510, 12:492]
    assert not ((picture[..., 0] > 200) & (picture[..., 1:].max(axis=2) < 30)).any()


def test_a_picture_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(EventVeilError, match=r"cannot be written .*--out"):
        write_private(tmp_path / "no" / "seen.png", Image.new("RGB", (1, 1)))


def call(*words):
    return CliRunner().invoke(app, ["calibrate", *map(str, words)])


@pytest.fixture(scope="module")
def calm(tmp_path_factory):
    """Two seconds with hardly any events."""
    path = tmp_path_factory.mktemp("calm") / "calm.aedat4"
    events = make_events(2_000, sensor=Sensor(320, 240))
    return recording(path, EventPacket.of(events.t * 500, events.x, events.y, events.p), Sensor(320, 240))


def test_the_command_warns_of_a_scene_far_from_the_training(calm):
    done = call(calm, "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == 1
    assert report["remark"].startswith("far fewer events than in training")
    assert report["looked_at"] == {"crop": [40, 0, 240, 240], "field": [128, 128]}
    assert (report["events"], report["sensor"], report["serial"], report["picture"]) == (2_000, "320x240", None, None)


def test_simulated_people_are_as_the_training_was_and_stand_beside_themselves(tmp_path):
    done = call("simulate:", "--seconds", 2.1, "--out", tmp_path / "seen.png", "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    low, _, high = report["trained_density"]
    assert low < report["density"][0] <= report["density"][2] < high
    assert report["remark"] is None
    assert "only you may read it" in done.stderr
    assert stat.S_IMODE((tmp_path / "seen.png").stat().st_mode) == 0o600


def test_weights_that_do_not_tell_are_said_to_be_no_measure(calm, tmp_path):
    weights = load_weights(NOISY_CHANNEL)
    save_weights(tmp_path / "old", weights.model, weights.metadata.model_copy(update={"scene": None}))
    done = call(calm, "--weights", tmp_path / "old")
    assert done.exit_code == 1
    assert "the weights do not contain the event density" in done.stderr
    assert "unknown" in done.stdout


def test_the_shipped_weights_can_be_named(calm):
    plain, named = call(calm, "--json"), call(calm, "--json", "--weights", "shipped")
    assert json.loads(plain.stdout) == json.loads(named.stdout)
    assert named.exit_code == 1


def test_a_key_that_is_not_known_is_named(calm):
    done = call(calm, "--set", "scene.rotat=90")
    assert isinstance(done.exception, EventVeilError)
    assert "scene.rotat: unknown key; known here: rotate" in str(done.exception)


@pytest.mark.parametrize(
    ("name", "sensor", "hot"),
    [("tonic_sample.aedat4", "320x240", 20), ("derived_test_data_evt3_trigger_0.raw", "1280x720", 2)],
)
def test_real_cameras_go_through_it(real_data, tmp_path, name, sensor, hot):
    done = call(real_data / "recordings" / name, "--out", tmp_path / "seen.png", "--json")
    report = json.loads(done.stdout)
    assert report["sensor"] == sensor
    assert len(report["hot_pixels"]) >= hot  # real sensors have some, and these two do
    assert report["looked_at"]["field"] == [128, 128]
    assert stat.S_IMODE((tmp_path / "seen.png").stat().st_mode) == 0o600
