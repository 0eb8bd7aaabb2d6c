"""What tests of the public socket need: keys, a door that publishes, and subscribers who may or may not."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest
import zmq
from pipeline_helpers import line_ended, needs_ipv6, values, window_header

from eventveil.errors import AccessError
from eventveil.stream import subscribe
from eventveil.stream.protocol.keys import AllowList, new_keys, read_public
from eventveil.stream.protocol.wire import encode
from eventveil.stream.publisher.public_endpoint import PublicEndpoint
from eventveil.stream.publisher.public_socket import endpoint_of
from eventveil.stream.publisher.subscriptions import SubscriptionTracker
from eventveil.stream.settings import PublishSettings

PATIENCE_S = 20
EVERYWHERE = ["tcp://127.0.0.1:*", pytest.param("tcp://[::1]:*", marks=needs_ipv6), "ipc"]


def make_keys(folder):
    """A publisher's keys, with alice on the list; bob has keys and is not."""
    for name in ("keys", "alice", "bob"):
        new_keys(folder / name)
    AllowList(folder / "keys").allow(read_public(folder / "alice" / "alice.pub"))
    return folder / "keys"


def who(keys, name, server="keys"):
    """What a subscriber says of keys."""
    folder = keys.parent
    return {"server_key": folder / server / f"{server}.pub", "key": folder / name / "secret.key"}


class Publishing:
    """A door in a thread of its own, as the publish stage has it; a window goes out every few milliseconds."""

    def __init__(self, bind, keys):
        self._done = threading.Event()
        self._opened = threading.Event()
        self.failure = None
        self._announce = True
        self._thread = threading.Thread(target=self._run, args=(bind, keys))
        self._thread.start()
        assert self._opened.wait(PATIENCE_S)
        if self.failure is not None:
            self._thread.join()
            raise self.failure

    def _run(self, bind, keys):
        with zmq.Context() as context:
            try:
                self.door = PublicEndpoint(PublishSettings(bind=bind, keys=keys), context)
            except Exception as error:
                self.failure = error
                self._opened.set()
                return
            audience = SubscriptionTracker(self.door.socket)
            self.endpoint = endpoint_of(self.door.socket)
            self._opened.set()
            try:
                seq = 0
                while not self._done.wait(0.01):
                    audience.count()
                    self.door.service(audience.abusive_client())
                    self.door.socket.send_multipart(encode(window_header(seq=seq), values(seq)))
                    seq += 1
                if self._announce:
                    self.door.socket.send_multipart(encode(line_ended()))
            except Exception as error:
                self.failure = error
            finally:
                self.door.close()

    def wait_for(self, reason, count=1):
        """Wait until so much of it was counted."""
        deadline = time.monotonic() + PATIENCE_S
        while self.door.counts()[reason] < count:
            assert time.monotonic() < deadline, self.door.counts()
            time.sleep(0.01)

    def end(self, *, announce=True):
        self._announce = announce
        self._done.set()
        self._thread.join()


@contextlib.contextmanager
def publishing(keys=None, bind="tcp://127.0.0.1:*"):
    line = Publishing(bind, keys)
    try:
        yield line
    finally:
        line.end()
    assert line.failure is None


def first(endpoint, **options):
    """The first message that a subscriber gets."""
    return next(subscribe(endpoint, ("window",), timeout_s=PATIENCE_S, **options))


def refusal(endpoint, seconds=3.0, **options):
    """What a subscriber is told that cannot connect, and that it is told soon enough."""
    began = time.monotonic()
    with pytest.raises(AccessError) as caught:
        first(endpoint, **options)
    assert time.monotonic() - began < seconds
    return str(caught.value)


def logged(caplog, words):
    return [record for record in caplog.records if words in record.getMessage()]
