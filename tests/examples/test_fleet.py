"""The proxy of a fleet: real sockets, two pipelines, one subscriber."""

from __future__ import annotations

import importlib.util
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from page_helpers import PATIENCE_S, Publisher
from pipeline_helpers import pipeline_ended

from eventveil.errors import AccessError
from eventveil.stream import subscribe
from eventveil.stream.protocol.keys import AllowList, new_keys, read_public

PROXY = Path(__file__).parents[2] / "examples" / "fleet" / "proxy.py"
pytestmark = pytest.mark.skipif(not PROXY.is_file(), reason="only a checkout has the examples")


def wait_until(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def proxy(*endpoints, **fleet):
    """The proxy of these pipelines, in a thread; yields its address."""
    spec = importlib.util.spec_from_file_location("fleet_proxy", PROXY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stop, addresses = threading.Event(), []
    fleet = {"bind": "tcp://127.0.0.1:*", "lines": [{"endpoint": endpoint} for endpoint in endpoints]} | fleet
    thread = threading.Thread(target=module.run, args=(fleet, stop, addresses.append))
    thread.start()
    try:
        wait_until(lambda: addresses or not thread.is_alive())
        yield addresses[0]
    finally:
        stop.set()
        thread.join()


@contextmanager
def listener(endpoint, **options):
    """A subscriber in a thread; yields what it has received."""
    messages, done = Received(), threading.Event()
    thread = threading.Thread(target=lambda: messages.take(subscribe(endpoint, stop=done.is_set, **options)))
    thread.start()
    try:
        yield messages
    finally:
        done.set()
        thread.join()


class Received(list):
    """Messages, one after the other as they come."""

    def take(self, messages):
        for message in messages:
            self.append(message)

    def of(self, stream):
        return [message.header for message in self if message.header.stream == stream]


def test_a_subscriber_receives_all_pipelines_unchanged_and_outlives_the_end_of_one():
    with Publisher() as door, Publisher() as hall, proxy(door.endpoint, hall.endpoint) as endpoint:
        door.wait()
        hall.wait()
        with listener(endpoint) as received:
            seq = 0

            def until_both_have_come():
                nonlocal seq
                seq += 1
                door.window(seq, stream="door", run="1" * 16)
                hall.window(seq, stream="hall", run="2" * 16)
                return received.of("door") and received.of("hall")

            wait_until(until_both_have_come)
            door._socket.send_multipart([b"window", b"no header", b""])  # a broken pipeline harms no other
            door.send(pipeline_ended())
            hall.gesture(seq, stream="hall", run="2" * 16, label="wave")
            wait_until(lambda: any(getattr(header, "label", None) == "wave" for header in received.of("hall")))
            assert not received.of(None)  # the end of one pipeline is not that of the fleet
            assert {header.run for header in received.of("door")} == {"1" * 16}
            assert all(not message.missing for message in received)  # in their order, and none between them is missing


def test_only_subscribers_on_the_list_of_the_proxy_are_admitted(tmp_path):
    keys, guest, stranger = (new_keys(tmp_path / name) for name in ("keys", "guest", "stranger"))
    AllowList(tmp_path / "keys").allow(read_public(guest))
    with Publisher() as door, proxy(door.endpoint, keys=str(tmp_path / "keys")) as endpoint:
        door.wait()
        with listener(endpoint, server_key=keys, key=guest.with_name("secret.key")) as received:
            wait_until(lambda: door.window(len(received), stream="door") or received.of("door"))
        with pytest.raises(AccessError):
            next(subscribe(endpoint, server_key=keys, key=stranger.with_name("secret.key"), timeout_s=PATIENCE_S))
