"""Two cameras with different sensors and mountings share one anonymizer: their streams stay apart to the end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pipeline_setup
import pytest
from pipeline_setup import everything, write_recording

from eventveil import EventPacket, Sensor
from eventveil.stream.pipeline.pipeline import Pipeline
from eventveil.stream.protocol.wire import decode

SENSORS = {"door": Sensor(64, 64), "desk": Sensor(96, 72)}
SECONDS = {"door": 1.0, "desk": 0.7}


def corner(left: int, top: int, side: int, seconds: float) -> Iterator[EventPacket]:
    """Events in one square, each pixel once a millisecond, a packet every ten."""
    y, x = (axis.ravel() for axis in np.mgrid[top : top + side, left : left + side])
    for start_ms in range(0, round(seconds * 1000), 10):
        t = np.repeat(np.arange(start_ms, start_ms + 10) * 1000, len(x))
        yield EventPacket.of(t, np.tile(x, 10), np.tile(y, 10), t // 1000 % 2)


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """All messages that such a pipeline publishes, and its status."""
    folder = tmp_path_factory.mktemp("two")
    kit = pipeline_setup.make_kit(folder)
    # The upper left of the crop; for the desk's 96x72 that is the middle 72x72.
    write_recording(folder / "door.aedat4", corner(0, 0, 16, SECONDS["door"]), SENSORS["door"])
    write_recording(folder / "desk.aedat4", corner(12, 0, 18, SECONDS["desk"]), SENSORS["desk"])
    sources = [
        {"uri": str(folder / "door.aedat4"), "stream": "door", "speed": "max", "scene": {"mirror": True}},
        {"uri": str(folder / "desk.aedat4"), "stream": "desk", "speed": "max", "scene": {"rotate": 180}},
    ]
    with everything() as (endpoint, published):
        status = Pipeline(kit.settings(endpoint, sources=sources)).run()
    assert status.failure is None
    return [decode(frames) for frames in published], status


@pytest.mark.parametrize("topic", ["window", "gesture"])
def test_each_stream_comes_whole_and_under_its_own_name(result, topic):
    messages, _ = result
    numbers = defaultdict(list)
    for message in messages:
        if message.topic == topic:
            numbers[message.header.stream].append(message.header.seq)
            sensor = SENSORS[message.header.stream]
            assert (message.header.sensor.width, message.header.sensor.height) == (sensor.width, sensor.height)
    assert numbers == {"door": list(range(10)), "desk": list(range(7))}


def test_each_stream_ends_for_itself(result):
    messages, _ = result
    ends = [
        message.header.stream for message in messages if message.topic == "state" and message.header.state == "ended"
    ]
    assert sorted(ends[:-1]) == ["desk", "door"]
    assert ends[-1] is None


def test_each_camera_is_mounted_in_its_own_way(result):
    """Noise is where events are: an untrained anonymizer does not hide that."""
    messages, _ = result
    busy = {name: np.zeros((32, 32)) for name in SENSORS}
    for message in messages:
        if message.topic == "window":
            busy[message.header.stream] += np.abs(message.array).sum(axis=0)
    quarters = {name: picture.reshape(2, 16, 2, 16).sum(axis=(1, 3)).argmax() for name, picture in busy.items()}
    assert quarters == {"door": 1, "desk": 3}  # upper right, lower right


def test_every_event_is_accounted_for_by_camera(result):
    _, status = result
    for name, side in (("door", 16), ("desk", 18)):
        counts = status.stages[f"histogram:{name}"].counts
        assert counts["received"] == counts["binned"] == round(SECONDS[name] * 1000) * side**2
