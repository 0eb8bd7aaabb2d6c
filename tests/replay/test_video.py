"""Videos become events: each picture reaches the simulated sensor as linear light, at the time of its number."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner
from video_files import write_video

from eventveil.cli import app
from eventveil.errors import EventFileError
from eventveil.events import Sensor
from eventveil.io import open_events
from eventveil.replay.simulation.sensor import EventSensor, Pixels
from eventveil.replay.simulation.video import VideoSource

pytest.importorskip("av", reason="needs the extra video")
RATE = 50


@pytest.fixture(scope="module")
def moving(tmp_path_factory):
    """A bright bar that moves over a grey wall, in 40 pictures."""
    pictures = np.full((40, 16, 24), 60, np.uint8)
    for number, picture in enumerate(pictures):
        picture[:, number // 2 : number // 2 + 3] = 200
    return write_video(tmp_path_factory.mktemp("video") / "bar.mkv", pictures), pictures


def test_a_video_gives_the_events_of_its_light(moving):
    path, pictures = moving
    pixels = Pixels(mismatch=0.05)
    with VideoSource(path, pixels=pixels, seed=3) as source:
        assert (source.sensor, source.step_us) == (Sensor(24, 16), 1_000_000 // RATE)
        packets = list(source)
    light = np.round(65_535 * (pictures / 255.0) ** 2.2).astype(np.uint16)  # what a display would emit
    sensor = EventSensor(Sensor(24, 16), pixels=pixels, seed=3, noise=3, step_us=20_000)
    want = sensor.watch(light)
    for column in "txyp":
        np.testing.assert_array_equal(np.concatenate([getattr(p, column) for p in packets]), getattr(want, column))
    assert len(want) > 300
    assert packets[-1].until_us == 39 * 20_000


def test_a_brighter_wall_gives_as_many_events_as_its_contrast_has_thresholds(tmp_path):
    pictures = np.full((3, 8, 8), 60, np.uint8)
    pictures[1:] = 180
    ideal = Pixels(on=0.7, mismatch=0, leak_hz=0, shot_hz=0, bandwidth_hz=1e6, refractory_us=1)
    with VideoSource(write_video(tmp_path / "wall.mkv", pictures), pixels=ideal) as source:
        events = [packet for packet in source if len(packet)]
    # The logarithm of light and dark signal together: ln((180/255)^2.2 + 0.003) - ln((60/255)^2.2 + 0.003).
    before, after = ((v / 255) ** 2.2 + 0.003 for v in (60, 180))
    assert sum(len(packet) for packet in events) == 64 * int(np.log(after / before) / 0.7)
    assert all(packet.p.all() for packet in events)


def test_the_command_writes_a_recording_and_refuses_other_files(moving, tmp_path):
    path, _ = moving
    out = tmp_path / "bar.aedat4"
    result = CliRunner().invoke(app, ["simulate", "video", str(path), str(out), "--size", "12x8"])
    assert result.exit_code == 0, result.output
    with open_events(out) as source:
        assert source.sensor == Sensor(12, 8)
        assert sum(len(packet) for packet in source) > 50
    (tmp_path / "no.mp4").write_bytes(b"no video at all")
    for name in ("no.mp4", "gone.mp4"):
        with pytest.raises(EventFileError, match="expected a video, found none"):
            VideoSource(tmp_path / name)
