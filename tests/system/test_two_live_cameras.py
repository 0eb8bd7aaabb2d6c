"""Two live cameras share one anonymizer: each stream shows its own camera, whatever happens to the other.

One is plugged in (a fake below neuromorphic-drivers), one sends over the network (dv-processing's own NetworkWriter in
another process). The weights leave the counts visible through the noise, so that each window reveals its camera.
"""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from camera_helpers import Sender, as_columns, cameras_in_a_pipeline, fake_camera, wait_until
from pipeline_setup import SIZE, make_kit, write_recording

from eventveil import EventPacket, Sensor
from eventveil.models import load_weights, save_weights
from eventveil.stream import subscribe
from eventveil.stream.protocol.wire import GESTURE, STATE, WINDOW

pytestmark = pytest.mark.timeout(600)  # real processes; the timeouts are in camera_helpers
pytest.importorskip("dv_processing")
pytest.importorskip("neuromorphic_drivers")

WINDOW_US = 100_000
COLUMNS = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("on", "?")])  # of neuromorphic-drivers
SENSORS = {"door": Sensor(346, 260), "desk": Sensor(640, 480)}
PLACES = {"door": (4, 5), "desk": (25, 20)}  # column and row of all events of a camera, in its windows
STEPS_US = {"door": 500, "desk": 250}  # from event to event
BEGINS_US = {"door": 7_000_000, "desk": 1_700_000_000_000_000}
NOISE = 30  # bound on the noise of a pixel, summed over all bins; its standard deviation is 3.2


def events(name, windows, begins_us=None):
    """Events of a camera for this many windows, and the one that closes the last."""
    begins_us = BEGINS_US[name] if begins_us is None else begins_us
    t = np.arange(begins_us, begins_us + windows * WINDOW_US + 1, STEPS_US[name])
    sensor, (column, row) = SENSORS[name], PLACES[name]
    x, y = (
        int((place + 0.5) * of / size)
        for place, of, size in ((column, sensor.width, SIZE[0]), (row, sensor.height, SIZE[1]))
    )
    return EventPacket.of(t, np.full(len(t), x), np.full(len(t), y), np.arange(len(t)) % 2)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """A kit whose anonymizer only adds noise of one event to each value."""
    kit = make_kit(tmp_path_factory.mktemp("kit"), seconds=0.2)
    weights = load_weights(kit.anonymizer)
    with torch.no_grad():
        for parameter in weights.model.parameters():
            parameter.zero_()
        weights.model.convs3[-1].bias.fill_(1 / weights.metadata.config["noise_std"])
    seen_through = kit.anonymizer.with_name("seen_through.safetensors")
    save_weights(seen_through, weights.model, weights.metadata)
    return replace(kit, anonymizer=seen_through)


@pytest.fixture
def sender(tmp_path):
    """The camera on the network: one packet per window."""
    sent = events("desk", 10)
    per_window = WINDOW_US // STEPS_US["desk"]
    packets = (sent[at : at + per_window] for at in range(0, len(sent), per_window))
    write_recording(tmp_path / "desk.aedat4", packets, SENSORS["desk"])
    sender = Sender(str(tmp_path / "desk.sock"), tmp_path / "desk.aedat4", SENSORS["desk"])
    yield sender
    sender.kill()


class Listener:
    """A subscriber, in a thread."""

    def __init__(self, endpoint):
        self.messages = []
        self._thread = threading.Thread(target=self._listen, args=(endpoint,), daemon=True)
        self._thread.start()

    def _listen(self, endpoint):
        self.messages.extend(subscribe(endpoint))

    def of(self, topic, stream):
        return [one for one in list(self.messages) if one.topic == topic and one.header.stream == stream]

    def states(self, stream):
        return [message.header.state for message in self.of(STATE, stream)]

    def finish(self):
        self._thread.join(60)


@pytest.mark.nightly
def test_each_stream_is_of_its_own_camera_and_goes_on_when_the_other_is_unplugged(kit, sender, tmp_path, monkeypatch):
    door = fake_camera(tmp_path, monkeypatch, "neuromorphic", model="iniVation DAVIS 346", sensor=(346, 260))
    uris = {"door": "dv://?driver=neuromorphic-drivers", "desk": f"dv+unix://{tmp_path}/desk.sock"}
    settings = {
        "camera": {"wait": True, "quiet_ms": 60_000},
        "scene": {"crop": "all", "pixels": "all", "hot_pixels": "off"},
    }
    sources = [{"uri": uri, "stream": name, **settings} for name, uri in uris.items()]
    endpoint = f"ipc://{tmp_path}/public"
    listener = Listener(endpoint)
    with cameras_in_a_pipeline(kit, tmp_path, endpoint, sources) as pipeline:
        door.emit(as_columns(events("door", 3), COLUMNS))
        sender.command("clients 1")
        sender.command("4")
        wait_until(lambda: [len(listener.of(WINDOW, name)) for name in uris] == [3, 3])
        door.unplug()
        wait_until(lambda: listener.states("door") == ["camera_lost"])
        sender.command("3")
        wait_until(lambda: len(listener.of(WINDOW, "desk")) == 6)
        door.plug()
        wait_until(lambda: listener.states("door") == ["camera_lost", "camera_back"])
        door.emit(as_columns(events("door", 3, begins_us=0), COLUMNS))  # its clock restarts at zero
        sender.command("3")
        wait_until(lambda: [len(listener.of(WINDOW, name)) for name in uris] == [7, 9])
        summary = pipeline.stop()
    listener.finish()
    assert pipeline.process.returncode == 0, pipeline.errors
    assert (listener.states("door")[2:], listener.states("desk"), listener.states(None)) == (
        ["ended"],
        ["ended"],
        ["ended"],
    )
    for name in uris:
        check_the_windows(name, listener)
        check_the_counts(name, summary["stages"][f"histogram:{name}"]["counts"])
    assert summary["dropped"] == {}


def check_the_windows(name, listener):
    windows, gestures = listener.of(WINDOW, name), listener.of(GESTURE, name)
    headers = [message.header for message in windows]
    assert [header.seq for header in headers] == list(range(8 if name == "door" else 10))
    assert [message.header.seq for message in gestures] == [header.seq for header in headers]
    assert {(header.sensor.width, header.sensor.height) for header in headers} == {
        (SENSORS[name].width, SENSORS[name].height)
    }
    column, row = PLACES[name]
    counts = []
    for message in windows:
        assert (message.missing, message.header.lost) == ({}, {})
        picture = message.array.sum(axis=0)
        counts.append(picture[row, column])
        picture[row, column] = 0
        assert abs(picture).max() < NOISE  # no events of the other camera
    per_window = WINDOW_US // STEPS_US[name]
    whole = [count for seq, count in enumerate(counts) if is_whole(name, seq)]
    assert np.abs(np.array(whole) - per_window).max() < NOISE
    starts = np.array([header.t_start_us for header in headers])
    if name == "desk":  # undisturbed: no gap, no incident
        assert (starts == BEGINS_US[name] + WINDOW_US * np.arange(10)).all()
        assert [header.incidents for header in headers] == [{}] * 10
    else:
        assert (starts[:4] == BEGINS_US[name] + WINDOW_US * np.arange(4)).all()
        assert starts[4] >= headers[3].t_end_us
        assert (np.diff(starts[4:]) == WINDOW_US).all()
        # The camera returned at any moment of a window, so the last window holds what the first lacks.
        assert abs(counts[4] + counts[7] - per_window) < 2 * NOISE
        assert [header.incidents for header in headers] == [{}] * 4 + [{"away": 1, "clock": 1}] * 4


def is_whole(name, seq):
    """Whether a window was not cut short by the unplugging, the return or the end."""
    return seq not in ((3, 4, 7) if name == "door" else (9,))


def check_the_counts(name, counts):
    sent = 2 * len(events("door", 3)) if name == "door" else len(events("desk", 10)) - 1
    read, dropped = counts["camera_read"], [counts[f"camera_{why}"] for why in ("dropped", "late", "damaged")]
    assert (read, counts["camera_delivered"], dropped) == (sent, sent, [0, 0, 0])
    assert (counts["received"], counts["binned"], counts["outside"]) == (sent, sent, 0)
    assert counts["camera_losses"] == (1 if name == "door" else 0)
    assert counts["windows"] == counts["sent"] == (8 if name == "door" else 10)
