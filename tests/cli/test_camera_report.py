"""`eventveil cameras test`: what the report counts, and that it holds neither events nor a serial number."""

from __future__ import annotations

import json
import stat
import threading

import pytest
from camera_helpers import as_dv, fake_camera
from recordings import make_events
from typer.testing import CliRunner

from eventveil import Sensor
from eventveil.cli import app, camera_report
from eventveil.io.camera.device import CameraInfo
from eventveil.io.camera.live import CameraCounters

SENSOR = Sensor(640, 480)
SERIAL = "DXB0CAFE"


def report_on(*words, status):
    done = CliRunner().invoke(app, ["cameras", "test", *map(str, words), "--json"])
    assert done.exit_code == status, done.output + repr(done.exception)
    return json.loads(done.stdout)


def events(count=5_000):
    return make_events(count, sensor=SENSOR)


def test_a_report_counts_every_event_and_holds_none(tmp_path, monkeypatch):
    camera = fake_camera(tmp_path, monkeypatch, "dv", serial=SERIAL)
    emitted = events()
    camera.emit(as_dv(emitted))
    out = tmp_path / "report.json"
    result = report_on("dv://", "--minutes", 0.05, "--max-age-ms", 60_000, "--out", out, status=0)
    assert result["losses"] == []
    report = json.loads(out.read_text())
    assert report == result["report"]
    assert report["counts"]["read"] == report["counts"]["delivered"] == len(emitted)
    assert report["events_per_second"]["highest"] <= len(emitted)
    assert report["camera"]["model"].endswith("DVXPLORER")
    assert report["camera"]["sensor"] == "640x480"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert SERIAL not in out.read_text()
    assert out.stat().st_size < 4_000  # no list of any length
    leaves = [value for value in flat(report) if isinstance(value, (list, tuple))]
    assert leaves == []


def unplug_when_read(camera):
    pause = threading.Event()
    while camera.untaken:
        pause.wait(0.1)
    pause.wait(0.5)
    camera.unplug()


def flat(value):
    """All values in nested dictionaries."""
    for inner in value.values():
        yield from flat(inner) if isinstance(inner, dict) else (inner,)


def test_a_camera_that_is_unplugged_and_stays_away_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(camera_report, "RECONNECT_S", 0.0)
    camera = fake_camera(tmp_path, monkeypatch, "dv", serial=SERIAL)
    camera.emit(as_dv(events(100)))
    unplugging = threading.Thread(target=unplug_when_read, args=(camera,))
    unplugging.start()
    result = report_on("dv://", "--minutes", 10, "--max-age-ms", 60_000, "--out", tmp_path / "report.json", status=1)
    unplugging.join()
    assert result["report"]["failure"] is not None
    assert result["report"]["seconds"] < result["report"]["requested_seconds"]
    assert result["report"]["counts"]["read"] == 100
    assert "the camera disappeared and did not come back" in result["losses"]
    assert "the camera was disconnected for a while" in result["losses"]


def test_a_report_is_never_replaced_silently_and_a_missing_camera_is_an_error(tmp_path, monkeypatch):
    fake_camera(tmp_path, monkeypatch, "dv", serial=SERIAL).unplug()
    (tmp_path / "report.json").write_text("mine")
    done = CliRunner().invoke(app, ["cameras", "test", "dv://", "--out", str(tmp_path / "report.json")])
    assert "exists already" in str(done.exception)
    done = CliRunner().invoke(app, ["cameras", "test", "dv://", "--out", str(tmp_path / "other.json")])
    assert done.exception is not None
    assert not (tmp_path / "other.json").exists()


class NetworkCamera:
    """Stands in for a camera at the other end of a network, which DV names MODEL_SERIAL."""

    def __init__(self, uri, **_):
        self.uri, self.incidents, self.counters = uri, set(), CameraCounters()
        self.info = CameraInfo(
            driver="dv-processing", model=f"DVXplorer_{SERIAL}", sensor=SENSOR, connection="network", uri=str(uri)
        )

    def connect(self, within_s):
        pass

    def read(self):
        raise KeyboardInterrupt

    def close(self):
        pass


def test_the_name_of_a_camera_on_the_network_is_not_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(camera_report, "LiveCamera", NetworkCamera)
    result = report_on("dv+tcp://127.0.0.1:7777", "--out", tmp_path / "report.json", status=1)
    assert SERIAL not in json.dumps(result)
    assert "7777" not in json.dumps(result["report"])
    assert result["report"]["camera"]["connection"] == "network"


@pytest.mark.parametrize(
    ("counts", "incidents", "words"),
    [({"dropped": 1}, {}, "too old"), ({"packets": 1}, {}, "too old"), ({"damaged": 1}, {}, "damaged"),
     ({"read": 0}, {}, "no events"), ({}, {"overflow": 3}, "lost events"), ({}, {"clock": 1}, "evenly"),
     ({}, {}, None)],
)  # fmt: skip
def test_every_loss_is_said_in_words(counts, incidents, words):
    none = dict.fromkeys(("dropped", "packets", "damaged"), 0) | {"read": 10}
    losses = camera_report.losses_of({"counts": none | counts, "incidents": incidents, "failure": None})
    assert [words in loss for loss in losses] == ([True] if words else [])
