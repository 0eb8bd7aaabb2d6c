"""Live cameras for tests: fakes below each driver, real senders on the network, and how to read them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from fake_drivers.fake_camera import DV_DTYPE, FakeCamera
from fault_injection import Running, pipeline_of
from pipeline_setup import Kit
from recordings import join

from eventveil import EventPacket, Sensor
from eventveil.io.camera.device import Tuning
from eventveil.io.camera.live import LiveCamera
from eventveil.io.camera.uri import CameraUri
from eventveil.io.formats.evt3 import ADDR_X, ADDR_Y, TIME_HIGH, TIME_LOW

FAKES = Path(__file__).parent / "fake_drivers"
PATIENCE_S = 60  # for things that must happen, on the busiest machine
MODELS = {"neuromorphic": "Prophesee EVK4", "dv": "DVXPLORER", "metavision": "Prophesee EVK4"}
SENSORS = {"neuromorphic": (1280, 720), "dv": (640, 480), "metavision": (1280, 720)}


def fake_camera(tmp_path, monkeypatch, driver, **properties) -> FakeCamera:
    """Plug in a camera below this driver, for all processes started from now on."""
    monkeypatch.setenv("PYTHONPATH", f"{FAKES / driver}{os.pathsep}{FAKES}")
    monkeypatch.setenv("FAKE_CAMERA", str(tmp_path))
    camera = {"model": MODELS[driver], "sensor": SENSORS[driver]} | properties
    return FakeCamera(tmp_path, **camera)


def live(uri, tuning=None, *, max_age_ms=None, quiet_ms=60_000) -> LiveCamera:
    """Return a live camera that treats no event as late by default."""
    return LiveCamera(CameraUri.parse(uri), tuning or Tuning(), max_age_ms=max_age_ms, quiet_ms=quiet_ms)


def read_events(camera: LiveCamera, count: int) -> EventPacket:
    """Read packets until at least `count` events have come."""
    deadline, packets, events = time.monotonic() + PATIENCE_S, [], 0
    while events < count:
        assert time.monotonic() < deadline, f"{events} of {count} events came"
        packet = camera.read()
        if packet is not None:
            packets.append(packet)
            events += len(packet)
    return join(packets)


@contextmanager
def cameras_in_a_pipeline(kit: Kit, folder: Path, endpoint: str, sources: list[dict], **settings) -> Iterator[Running]:
    """Run `eventveil run` with these sources, stages as processes, lossless; `settings` as `a__b=value`.

    It runs as a separate program, because only then do all processes find the fake driver.
    """
    config = folder / "cameras.yaml"
    config.write_text(json.dumps({"sources": sources}))  # JSON is YAML
    defaults = {"publish__bind": endpoint, "publish__wait_for": 1, "line__delivery": "lossless"}
    defaults |= {"line__runtime_dir": str(folder / "run")}
    with pipeline_of(kit, config, defaults | settings, env=os.environ | {"OMP_NUM_THREADS": "1"}) as pipeline:
        yield pipeline


def wait_until(condition, camera: LiveCamera | None = None) -> None:
    """Wait for a condition, and keep reading meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        if camera is None:
            time.sleep(0.005)
        else:
            camera.read()


def evt3(events: EventPacket) -> bytes:
    """Encode events as a Prophesee camera does, which repeats the time and the row now and then."""
    words, high, low, row = [], None, 0, None
    for number, (t, x, y, p) in enumerate(zip(*(getattr(events, name).tolist() for name in "txyp"), strict=True)):
        if t >> 12 != high or number % 50 == 0:
            high, low, row = t >> 12, low if t >> 12 == high else 0, None
            words.append(TIME_HIGH << 12 | high & 0xFFF)
        if t & 0xFFF != low:
            low = t & 0xFFF
            words.append(TIME_LOW << 12 | low)
        if y != row:
            row = y
            words.append(ADDR_Y << 12 | row)
        words.append(ADDR_X << 12 | int(p) << 11 | x)
    return np.array(words, "<u2").tobytes()


def as_dv(events: EventPacket) -> np.ndarray:
    """Return events as dv-processing delivers them."""
    array = np.zeros(len(events), DV_DTYPE)
    array["timestamp"], array["x"], array["y"], array["polarity"] = events.t, events.x, events.y, events.p
    return array


def as_columns(events: EventPacket, dtype) -> np.ndarray:
    """Return events as a structured array with the columns t, x, y and p or on."""
    array = np.zeros(len(events), dtype)
    array["t"], array["x"], array["y"] = events.t, events.x, events.y
    array["on" if "on" in array.dtype.names else "p"] = events.p
    return array


SENDER = """
import json, os, sys, time
import dv_processing as dv
where, source, width, height, recording, extra = sys.argv[1:7]
stream = dv.io.Stream.EventStream(0, "events", source, (int(width), int(height)))
port = where.rpartition(":")[2]
if port.isdecimal():
    writer = dv.io.NetworkWriter("127.0.0.1", int(port), stream, *json.loads(extra))
else:
    writer = dv.io.NetworkWriter(where, stream)
print("up", flush=True)
packets = []
file = dv.io.MonoCameraRecording(recording)
while (packet := file.getNextEventBatch()) is not None:
    packets.append(packet)
at = 0
for line in sys.stdin:  # N: send N more packets; "clients N": wait for N clients
    words = line.split()
    if words[0] == "clients":
        while writer.getClientCount() < int(words[1]):
            time.sleep(0.001)
    else:
        for packet in packets[at : at + int(words[0])]:
            writer.writeEvents(packet)
        at += int(words[0])
        while writer.getQueuedPacketCount():
            time.sleep(0.001)
    print("done", flush=True)
os._exit(0)  # the writer's destructor blocks forever
"""


class Sender:
    """dv-processing's NetworkWriter in a separate process, which sends the packets of a recording on demand.

    Args:
        where: 127.0.0.1:PORT, or the path of a socket.
        recording: an AEDAT4 file.
        sensor: its geometry.
        tls: certificate, key and CA of the sender, PEM files.
    """

    def __init__(self, where: str, recording: Path, sensor: Sensor, tls: tuple[str, ...] = ()) -> None:
        command = [sys.executable, "-c", SENDER, where, "DVXplorer_FAKE0001", str(sensor.width), str(sensor.height)]
        self.process = subprocess.Popen(
            [*command, str(recording), json.dumps(tls)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._expect("up")

    def command(self, words: str) -> None:
        """Send it a command, and wait until it is done."""
        self.process.stdin.write(f"{words}\n")
        self.process.stdin.flush()
        self._expect("done")

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        self.process.kill()
        self.process.communicate()

    def _expect(self, word: str) -> None:
        answer = self.process.stdout.readline().strip()
        assert answer == word, f"the sender said {answer!r}"
