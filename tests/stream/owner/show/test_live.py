"""The owner's page of a live camera: it shows what a recording of the same events shows, and ends on request."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager

import numpy as np
import pytest
from moving_disc import moving_disc
from page_helpers import PATIENCE_S
from show_helpers import plan_of, read_to_the_end
from stand_in_helpers import make_stand_in_kit

from eventveil import Sensor
from eventveil.errors import CameraError
from eventveil.stream.clients.bridge.dv_server import DvServer
from eventveil.stream.owner.show import steps
from eventveil.stream.owner.show.reel import Reel

SENSOR = Sensor(64, 64)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    return make_stand_in_kit(tmp_path_factory.mktemp("kit"), moving_disc(SENSOR, 0.8))


@contextmanager
def camera():
    """Serve events as a DV camera does; yield the server and its URI."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"dv+tcp://127.0.0.1:{free.getsockname()[1]}"
    with DvServer(uri, SENSOR) as server:
        yield server, uri


@pytest.fixture
def patient(monkeypatch):
    """A slow machine must not drop events: they may wait for as long as the test does."""
    monkeypatch.setattr(steps, "MAX_AGE_MS", None)


def live(kit, uri):
    sources = [{"uri": uri, "camera": {"quiet_ms": 60_000}}]
    return Reel({"stand-in": plan_of(uri, kit.anonymizer, sources=sources)}, None)


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_live_camera_shows_what_its_recording_shows(kit, patient):
    with Reel({"stand-in": plan_of(kit.recording, kit.anonymizer)}, None) as recorded:
        read_to_the_end(recorded)
    with camera() as (server, uri), live(kit, uri) as reel:
        wait_until(lambda: server.clients == 1)
        for packet in moving_disc(SENSOR, 0.8):
            while server.missed == 0 and any(waiting.full() for waiting in server._clients.values()):
                time.sleep(0.01)
            server.send(packet)
        expected = recorded.span.stop - 1  # the last step of a camera is never complete
        wait_until(lambda: reel.span.stop >= expected)
        assert reel.live
        assert reel.failure is None
        for number in range(expected):
            for one, other in zip(reel.step(number).columns, recorded.step(number).columns, strict=True):
                np.testing.assert_array_equal(one.events, other.events)
                assert one.label == other.label
    assert not reel.works
    assert server.missed == 0


def test_a_camera_without_an_event_does_not_keep_the_page_open(kit):
    with camera() as (server, uri), live(kit, uri) as reel:
        wait_until(lambda: server.clients == 1)
        assert reel.works
    assert not reel.works
    assert (reel.failure, reel.span) == (None, range(0))


def test_a_camera_that_says_nothing_does_not_keep_the_page_open(kit):
    """It accepts a connection, but never says what camera it is."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with live(kit, f"dv+tcp://127.0.0.1:{silent.getsockname()[1]}") as reel:
            connection = silent.accept()[0]
        connection.close()
    assert not reel.works
    assert reel.failure is None


def test_a_camera_that_is_unplugged_ends_the_page_with_the_reason(kit, patient):
    with camera() as (server, uri):
        reel = live(kit, uri)
        reel.__enter__()
        wait_until(lambda: server.clients == 1)
        for packet in moving_disc(SENSOR, 0.06):
            server.send(packet)
    wait_until(lambda: not reel.works)
    assert isinstance(reel.failure, CameraError)
