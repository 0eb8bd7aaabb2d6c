"""Helpers for tests of the public endpoint: keys, an endpoint that publishes, allowed and refused subscribers."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import threading
import time

import pytest
import zmq
from pipeline_helpers import needs_ipv6, pipeline_ended, values, window_header

from eventveil.errors import AccessError
from eventveil.stream import subscribe
from eventveil.stream.protocol.keys import AllowList, new_keys, read_public
from eventveil.stream.protocol.wire import encode
from eventveil.stream.publisher.connections import Connection
from eventveil.stream.publisher.listener import listening
from eventveil.stream.publisher.public_endpoint import PublicEndpoint
from eventveil.stream.publisher.subscriptions import SubscriptionTracker
from eventveil.stream.settings.pipeline import PublishSettings

PATIENCE_S = 60
EVERYWHERE = ["tcp://127.0.0.1:*", pytest.param("tcp://[::1]:*", marks=needs_ipv6), "ipc"]


def make_keys(folder):
    """Create a publisher's keys, with alice on the list, and keys of bob, who is not on it."""
    for name in ("keys", "alice", "bob"):
        new_keys(folder / name)
    AllowList(folder / "keys").allow(read_public(folder / "alice" / "alice.pub"))
    return folder / "keys"


def who(keys, name, server="keys"):
    """The keys of a subscriber, as keyword arguments of `subscribe`."""
    folder = keys.parent
    return {"server_key": folder / server / f"{server}.pub", "key": folder / name / "secret.key"}


@contextlib.contextmanager
def open_endpoint(context, queue=10):
    """Yield a public endpoint without keys, and without a loop that serves it."""
    settings = PublishSettings(bind="tcp://127.0.0.1:*", queue=queue)
    with listening(settings.bind, keyed=False) as listener:
        endpoint = PublicEndpoint(listener, settings, context)
        try:
            yield endpoint
        finally:
            endpoint.close()


def publish_forever(listeners, life):
    """Publish windows to everyone who connects to the listening sockets: the target of a process, to be killed."""
    endpoints = [PublicEndpoint(each, PublishSettings(bind=each.endpoint), zmq.Context()) for each in listeners]
    for seq in itertools.count():
        for endpoint in endpoints:
            endpoint.socket.send_multipart(encode(window_header(seq=seq, life=life), values(seq)))
        time.sleep(0.01)


class Publishing:
    """Runs a public endpoint in its own thread, as the publish stage does; sends a window every few milliseconds."""

    def __init__(self, bind, keys, expelled):
        self._done = threading.Event()
        self._opened = threading.Event()
        self.failure = None
        self._expel = []
        self._announce = True
        self._thread = threading.Thread(target=self._run, args=(bind, keys, expelled))
        self._thread.start()
        assert self._opened.wait(PATIENCE_S)
        if self.failure is not None:
            self._thread.join()
            raise self.failure

    def _run(self, bind, keys, expelled):
        with contextlib.ExitStack() as opened:
            try:
                listener = opened.enter_context(listening(bind, keyed=keys is not None))
                context = opened.enter_context(zmq.Context())
                self.public_endpoint = PublicEndpoint(
                    listener, PublishSettings(bind=bind, keys=keys), context, expelled
                )
            except Exception as error:
                self.failure = error
                self._opened.set()
                return
            subscriptions = SubscriptionTracker(self.public_endpoint.socket, self.public_endpoint.connections)
            self.endpoint = listener.endpoint
            self._opened.set()
            try:
                seq = 0
                while not self._done.wait(0.01):
                    subscriptions.count()
                    expel, self._expel = self._expel, []
                    self.public_endpoint.service([*expel, *subscriptions.take_abusive()])
                    self.public_endpoint.socket.send_multipart(encode(window_header(seq=seq), values(seq)))
                    seq += 1
                if self._announce:
                    self.public_endpoint.socket.send_multipart(encode(pipeline_ended()))
            except Exception as error:
                self.failure = error
            finally:
                self.public_endpoint.close()

    def wait_for(self, reason, count=1):
        """Wait until the count for a reason is at least `count`."""
        deadline = time.monotonic() + PATIENCE_S
        while self.public_endpoint.counts()[reason] < count:
            assert time.monotonic() < deadline, self.public_endpoint.counts()
            time.sleep(0.01)

    def expel(self, key):
        """Expel a key, as if its owner had subscribed to too much."""
        self._expel.append(Connection(-1, 0, key))
        self.wait_for("subscribers_expelled")

    def end(self, *, announce=True):
        self._announce = announce
        self._done.set()
        self._thread.join()


@contextlib.contextmanager
def publishing(keys=None, bind="tcp://127.0.0.1:*", expelled=None):
    pipeline = Publishing(bind, keys, expelled)
    try:
        yield pipeline
    finally:
        pipeline.end()
    assert pipeline.failure is None


@contextlib.contextmanager
def no_descriptor_left():
    """Let this process open no more files and sockets while the block lasts, as a crowd of clients does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def first(endpoint, **options):
    """Return the first message that a subscriber receives."""
    return next(subscribe(endpoint, ("window",), timeout_s=PATIENCE_S, **options))


def refusal(endpoint, **options):
    """Return the error of a subscriber that cannot connect; one that only stops waiting raises none."""
    with pytest.raises(AccessError) as caught:
        first(endpoint, **options)
    return str(caught.value)


def logged(caplog, words):
    """Return the log records that contain these words."""
    return [record for record in caplog.records if words in record.getMessage()]
