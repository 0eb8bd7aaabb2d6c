"""The DV server: dv-processing and our cameras read every event, nobody delays others, only this machine connects."""

from __future__ import annotations

import socket
import threading

import pytest
from camera_helpers import live, read_events, wait_until
from dv_client import DvClient, join
from recordings import assert_same, cut, make_events

from eventveil import EventPacket, Sensor
from eventveil.errors import ConfigError
from eventveil.host.addresses import free_port
from eventveil.stream.clients.bridge import dv_server
from eventveil.stream.clients.bridge.dv_server import DvServer

SENSOR = Sensor(346, 260)
EVENTS = make_events(5_000, start_us=1_700_000_000_000_000)
PACKETS = cut(EVENTS, *range(250, 5_000, 250))


@pytest.fixture
def port():
    return free_port()


def uri(port, host="127.0.0.1"):
    return f"dv+tcp://{host}:{port}"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_camera_of_ours_reads_every_event(port, host):
    # It reads with the NetworkReader of dv-processing.
    pytest.importorskip("dv_processing")
    with DvServer(uri(port, host), SENSOR) as server:
        camera = live(uri(port))
        camera.connect(within_s=0)
        try:
            assert (camera.sensor, camera.info.model) == (SENSOR, "eventveil")
            wait_until(lambda: server.clients == 1)
            for packet in PACKETS:
                server.send(packet)
            assert_same(read_events(camera, len(EVENTS)), EVENTS)
        finally:
            camera.close()


def test_events_wait_for_slow_clients_until_the_server_has_closed(port, tmp_path):
    with DvServer(uri(port), SENSOR) as server:
        clients = [DvClient(port) for _ in range(2)]
        for client in clients:
            assert client.connected.wait(60)
        wait_until(lambda: server.clients == 2)
        for packet in PACKETS:
            server.send(packet)
        server.send(EventPacket.empty())
    for client in clients:
        assert client.events(tmp_path) == ("346x260", join([EVENTS]))
    assert (server.missed, server.clients) == (0, 0)


def test_a_client_that_reads_nothing_misses_packets_and_delays_nobody(port, tmp_path, monkeypatch):
    monkeypatch.setattr(dv_server, "SEND_S", 0.3)
    monkeypatch.setattr(dv_server, "QUEUE", 4)
    large = make_events(200_000)
    with DvServer(uri(port), SENSOR) as server, socket.create_connection(("127.0.0.1", port)) as idle:
        wait_until(lambda: server.clients == 1)
        for _ in range(8):
            server.send(large)  # 3 MB each, more than any buffer holds
        assert server.missed > 0
        wait_until(lambda: server.clients == 0)  # disconnected
        reader = DvClient(port)
        assert reader.connected.wait(60)
        server.send(PACKETS[0])
        assert idle
    assert reader.events(tmp_path) == ("346x260", join([PACKETS[0]]))


def test_clients_come_and_go_and_are_limited(port):
    with DvServer(uri(port), SENSOR) as server:
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(dv_server.MAX_CLIENTS)]
        wait_until(lambda: server.clients == dv_server.MAX_CLIENTS)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as one_more:
            assert one_more.recv(1) == b""
        for connection in crowd:
            connection.close()

        def have_left():
            server.send(PACKETS[0])
            return server.clients == 0

        wait_until(have_left)


def test_a_client_is_turned_away_while_the_machine_has_no_thread_for_it(port, monkeypatch):
    start, refused = threading.Thread.start, []

    def exhausted(thread):
        if thread.name == "dv client" and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", exhausted)
    with DvServer(uri(port), SENSOR) as server:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as first:
            assert first.recv(1) == b""
        assert server.clients == 0
        with socket.create_connection(("127.0.0.1", port), timeout=10) as second:
            assert second.recv(1)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("dv+tcp://0.0.0.0:7777", "other machines could reach 0.0.0.0, and a DV stream has no keys"),
        ("dv+tcp://10.0.0.7:7777", "other machines could reach 10.0.0.7"),
        ("dv+tcp://*:7777", "other machines"),
        ("dv+tcp://[::]:7777", "other machines"),
        ("dv+tcp://lo:7777", "other machines"),
        ("dv+tcp://127.0.0.1", "expected dv.tcp://HOST:PORT"),
        ("dv+tcp://127.0.0.1:0", "expected dv.tcp://HOST:PORT"),
        ("dv+tcp://127.0.0.1:70000", "expected dv.tcp://HOST:PORT"),
        ("tcp://127.0.0.1:7777", "expected dv.tcp://HOST:PORT"),
        ("dv+unix:///run/dv", "expected dv.tcp://HOST:PORT"),
    ],
)
def test_an_address_that_others_could_reach_is_refused(address, message):
    with pytest.raises(ConfigError, match=message):
        DvServer(address, SENSOR)


def test_an_address_in_use_is_refused(port):
    with DvServer(uri(port), SENSOR), pytest.raises(ConfigError, match=r"in use.*; choose another address"):
        DvServer(uri(port), SENSOR)
    DvServer(uri(port), SENSOR).close()  # free again
