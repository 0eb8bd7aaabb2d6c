"""Camera streams over the network, from dv-processing's own NetworkWriter in another process: event for event."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest
from camera_helpers import PATIENCE_S, Sender, live, read_events, wait_until
from pipeline_setup import write_recording
from recordings import assert_same, cut, make_events

from eventveil import Sensor
from eventveil.errors import CameraError
from eventveil.io.camera.device import Tuning

dv = pytest.importorskip("dv_processing")

SENSOR = Sensor(346, 260)
PACKETS, SIZE = 40, 250
EVENTS = make_events(PACKETS * SIZE, start_us=1_700_000_000_000_000)
HALF = PACKETS * SIZE // 2
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The data sent: packets of 250 events, times since 1970 as iniVation's cameras report them."""
    path = tmp_path_factory.mktemp("sent") / "sent.aedat4"
    write_recording(path, cut(EVENTS, *range(SIZE, PACKETS * SIZE, SIZE)), SENSOR)
    return path


@pytest.fixture
def senders(recording):
    """Return a function that starts senders; all end with the test."""
    started = []

    def start(where, tls=()):
        started.append(Sender(where, recording, SENSOR, tls))
        return started[-1]

    yield start
    for sender in started:
        sender.kill()


@pytest.fixture
def cameras():
    """Return a function that makes cameras; all are closed after the test."""
    opened = []

    def make(uri, *args, **settings):
        opened.append(live(uri, *args, **settings))
        return opened[-1]

    yield make
    for camera in opened:
        camera.close()


@pytest.fixture
def port():
    """Return a port that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize("way", ["tcp", "unix"])
def test_every_event_arrives_as_it_was_sent(way, tmp_path, port, senders, cameras):
    path = tmp_path / "events.sock"
    sender = senders(f"127.0.0.1:{port}" if way == "tcp" else str(path))
    camera = cameras(f"dv+tcp://localhost:{port}" if way == "tcp" else f"dv+unix://{path}")
    camera.connect(within_s=0)
    assert (camera.sensor, camera.info.model) == (SENSOR, "DVXplorer_FAKE0001")
    sender.command("clients 1")
    sender.command(str(PACKETS))
    assert_same(read_events(camera, len(EVENTS)), EVENTS)
    assert camera.incidents == set()
    assert (camera.counters.read, camera.counters.delivered) == (len(EVENTS), len(EVENTS))


def test_several_readers_get_the_same(port, senders, cameras):
    sender = senders(f"127.0.0.1:{port}")
    readers = [cameras(f"dv+tcp://127.0.0.1:{port}") for _ in range(2)]
    for reader in readers:
        reader.connect(within_s=0)
    sender.command("clients 2")
    sender.command(str(PACKETS))
    for reader in readers:
        assert_same(read_events(reader, len(EVENTS)), EVENTS)


def test_a_sender_that_drops_out_and_starts_again_goes_on_where_it_was(port, senders, cameras):
    sender = senders(f"127.0.0.1:{port}")
    camera = cameras(f"dv+tcp://127.0.0.1:{port}")
    camera.connect(within_s=0)
    sender.command("clients 1")
    sender.command(str(PACKETS // 2))
    first = read_events(camera, HALF)
    sender.kill()
    with pytest.raises(CameraError, match="the peer has closed the connection; start it again") as error:
        wait_until(lambda: False, camera)
    assert error.value.passing
    again = {}

    def restart():
        again["sender"] = senders(f"127.0.0.1:{port}")

    thread = threading.Thread(target=restart)
    thread.start()
    camera.connect(within_s=PATIENCE_S)
    thread.join()
    assert camera.incidents == {"away"}
    again["sender"].command("clients 1")
    again["sender"].command(str(PACKETS))  # the restarted one begins from its beginning: its clock goes back
    second = read_events(camera, len(EVENTS))
    assert_same(first, EVENTS[:HALF])
    for name in "xyp":
        assert (getattr(second, name) == getattr(EVENTS, name)).all()
    assert (second.t - second.t[0] == EVENTS.t - EVENTS.t[0]).all()
    assert second.t[0] >= first.t[-1]
    assert (camera.counters.read, camera.counters.delivered) == (HALF + len(EVENTS), HALF + len(EVENTS))


def test_a_reader_that_drops_out_comes_back_to_the_same_sender(port, senders, cameras):
    sender = senders(f"127.0.0.1:{port}")
    for half in (EVENTS[:HALF], EVENTS[HALF:]):
        camera = cameras(f"dv+tcp://127.0.0.1:{port}")
        camera.connect(within_s=0)
        sender.command("clients 1")
        sender.command(str(PACKETS // 2))
        assert_same(read_events(camera, HALF), half)
        camera.close()


def test_nobody_there_is_said_at_once(port, tmp_path, cameras):
    with pytest.raises(CameraError, match="no sender of DV events answers there; check that it runs") as error:
        cameras(f"dv+tcp://127.0.0.1:{port}").connect(within_s=0)
    assert error.value.passing
    with pytest.raises(CameraError, match="no sender of DV events answers there; check that it runs"):
        cameras(f"dv+unix://{tmp_path}/none.sock").connect(within_s=0)
    with pytest.raises(CameraError, match=r"the host nowhere\.invalid is not known"):
        cameras("dv+tcp://nowhere.invalid:7777").connect(within_s=0)


def test_a_peer_that_says_nothing_is_given_up(cameras):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(CameraError, match="its driver got no answer") as error:
            cameras(f"dv+tcp://127.0.0.1:{silent.getsockname()[1]}").connect(within_s=0)
        assert error.value.passing


def test_a_sender_is_waited_for(port, senders, cameras):
    camera = cameras(f"dv+tcp://127.0.0.1:{port}")
    timer = threading.Timer(0.5, lambda: senders(f"127.0.0.1:{port}"))
    timer.start()
    camera.connect(within_s=None)
    timer.join()
    assert camera.sensor == SENSOR


def test_a_camera_at_the_other_end_takes_no_settings(port, cameras):
    with pytest.raises(CameraError, match="cannot set biases, roi or max_event_rate: the camera is at the other end"):
        cameras(f"dv+tcp://127.0.0.1:{port}", Tuning(biases={"on": 1})).connect(within_s=None)


def test_a_silent_sender_lets_time_go_on(port, senders, cameras):
    sender = senders(f"127.0.0.1:{port}")
    camera = cameras(f"dv+tcp://127.0.0.1:{port}", quiet_ms=50)
    camera.connect(within_s=0)
    sender.command("clients 1")
    sender.command("1")
    read_events(camera, SIZE)
    deadline, until_us = time.monotonic() + PATIENCE_S, []
    while len(until_us) < 3:
        assert time.monotonic() < deadline
        packet = camera.read()
        if packet is not None:
            until_us.append(packet.until_us)
    assert EVENTS.t[SIZE - 1] < until_us[0] < until_us[1] < until_us[2]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Return the keys of a CA, and of a sender and a reader that it has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes certificates, is not installed")
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "stranger"):
        new = ["req", "-x509", *KEY, "-days", "2", "-subj", f"/CN={name}"]
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    for name in ("sender", "reader"):
        new = ["req", *KEY, "-subj", f"/CN={name}"]
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl(*sign, "-days", "2", "-out", f"{name}.pem")
    return folder


def test_an_encrypted_stream_is_read_with_the_right_key_only(port, certificates, senders, cameras):
    tls = tuple(f"{certificates}/{name}" for name in ("sender.pem", "sender.key", "ca.pem"))
    sender = senders(f"127.0.0.1:{port}", tls)
    uri = f"dv+tcp://127.0.0.1:{port}?certificate={certificates}/{{0}}.pem&key={certificates}/{{0}}.key"
    camera = cameras(uri.format("reader"))
    camera.connect(within_s=0)
    sender.command("clients 1")
    sender.command(str(PACKETS))
    assert_same(read_events(camera, len(EVENTS)), EVENTS)
    with pytest.raises(CameraError, match="no sender of DV events answers there"):
        cameras(uri.format("stranger")).connect(within_s=0)
    with pytest.raises(CameraError, match=r"there is no file .*absent\.pem; name the PEM file of this client"):
        cameras(uri.format("absent")).connect(within_s=None)


def test_no_driver_is_imported_on_this_side():
    code = "import sys; import eventveil.io.camera.live; sys.exit('dv_processing' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
