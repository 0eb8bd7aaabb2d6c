"""The list of allowed subscribers while the pipeline runs: additions, removals, and the disconnections they cause."""

from __future__ import annotations

import errno
import logging
import resource
import threading
import time
from collections import deque

import pytest
import zmq
from endpoint_helpers import (
    EVERYWHERE,
    PATIENCE_S,
    first,
    logged,
    make_keys,
    no_descriptor_left,
    publishing,
    refusal,
    who,
)

from eventveil.errors import AccessError, LineError
from eventveil.stream import subscribe
from eventveil.stream.protocol.keys import AllowList, read_folder, read_public
from eventveil.stream.publisher.expelled import ExpelledKeys
from eventveil.stream.publisher.listener import listening
from eventveil.stream.publisher.public_endpoint import PublicEndpoint
from eventveil.stream.publisher.subscriptions import MAX_UNKNOWN, TOO_MANY_TOPICS
from eventveil.stream.settings.pipeline import PublishSettings


@pytest.fixture
def keys(tmp_path):
    return make_keys(tmp_path)


def test_the_list_is_read_while_the_pipeline_runs(keys):
    with publishing(keys) as pipeline:
        refusal(pipeline.endpoint, **who(keys, "bob"))
        AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
        assert eventually(lambda: first(pipeline.endpoint, **who(keys, "bob"))).topic == "window"


def eventually(subscribe_once):
    """Return the message as soon as access is no longer denied."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return subscribe_once()
        except AccessError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("where", EVERYWHERE)
def test_a_revoked_subscriber_is_disconnected_and_the_others_stay(keys, tmp_path, where, caplog):
    AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
    bind = f"ipc://{tmp_path}/public" if where == "ipc" else where
    with publishing(keys, bind) as pipeline:
        alice = subscribe(pipeline.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "alice"))
        bob = subscribe(pipeline.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "bob"))
        assert next(alice).topic == next(bob).topic == "window"
        AllowList(keys).revoke("bob")
        heard = []
        with pytest.raises(AccessError, match="does not know this key"):
            heard.extend(message for _, message in zip(bob, alice, strict=False))
        heard += [next(alice) for _ in range(20)]
        assert not any(message.missing for message in heard)
        assert pipeline.public_endpoint.counts()["handshakes"] == 2
        alice.close()
    assert logged(caplog, "1 subscribers were removed from the list")


def test_who_connected_before_the_revocation_and_subscribes_after_it_gets_nothing(keys, caplog):
    AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
    bob = read_folder(keys.parent / "bob")
    with publishing(keys) as pipeline, zmq.Context() as context, context.socket(zmq.SUB) as late:
        late.linger, late.curve_serverkey = 0, read_folder(keys).public
        late.curve_publickey, late.curve_secretkey = bob.public, bob.secret
        late.connect(pipeline.endpoint)
        pipeline.wait_for("handshakes")
        AllowList(keys).revoke("bob")
        deadline = time.monotonic() + PATIENCE_S
        while not logged(caplog, "removed from the list"):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        late.subscribe(b"")
        pipeline.wait_for("handshakes_not_allowed")  # its connection was ended, and it tried again
        assert pipeline.public_endpoint.counts()["handshakes"] == 1


def test_who_was_never_there_is_revoked_without_disturbing_anybody(keys, caplog):
    AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
    caplog.set_level(logging.INFO, "eventveil.door")
    with publishing(keys) as pipeline:
        alice = subscribe(pipeline.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "alice"))
        next(alice)
        AllowList(keys).revoke("bob")
        deadline = time.monotonic() + PATIENCE_S
        while not logged(caplog, "reloaded the list of allowed subscribers"):
            assert time.monotonic() < deadline
            assert next(alice).missing == {}
        assert pipeline.public_endpoint.counts()["handshakes"] == 1
        alice.close()


def test_who_makes_trouble_is_shut_out_and_the_others_are_not(keys, caplog):
    AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
    bob = read_folder(keys.parent / "bob")
    with publishing(keys) as pipeline, zmq.Context() as context, context.socket(zmq.XSUB) as abuser:
        alice = subscribe(pipeline.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "alice"))
        next(alice)
        abuser.linger, abuser.curve_serverkey = 0, read_folder(keys).public
        abuser.curve_publickey, abuser.curve_secretkey = bob.public, bob.secret
        abuser.connect(pipeline.endpoint)
        other = subscribe(pipeline.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "bob"))
        next(other)
        for number in range(MAX_UNKNOWN + 1):
            abuser.send(b"\x01no-topic-%d" % number)
        pipeline.wait_for("subscribers_expelled")
        assert "does not know this key" in refusal(pipeline.endpoint, **who(keys, "bob"))
        with pytest.raises(AccessError, match="does not know this key"):  # every connection of the key
            deque(other, maxlen=0)
        for _ in range(50):
            assert next(alice).missing == {}
        assert pipeline.public_endpoint.counts()["handshakes"] == 3
        alice.close()
    (record,) = logged(caplog, "disconnecting a subscriber")
    assert f"that {TOO_MANY_TOPICS}: {bob.public.decode()}" in record.getMessage()


def test_who_was_shut_out_stays_out_when_the_publisher_is_replaced(keys, tmp_path):
    """The file in the runtime folder, between two endpoints: `publish` and its successor."""
    AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
    expelled = tmp_path / "expelled"
    with publishing(keys, expelled=expelled) as pipeline:
        pipeline.expel(read_folder(keys.parent / "bob").public.decode())
    assert expelled.stat().st_mode & 0o777 == 0o600
    with publishing(keys, expelled=expelled) as pipeline:
        assert "does not know this key" in refusal(pipeline.endpoint, **who(keys, "bob"))
        assert first(pipeline.endpoint, **who(keys, "alice")).topic == "window"
    with publishing(keys) as pipeline:  # another pipeline
        assert first(pipeline.endpoint, **who(keys, "bob")).topic == "window"


def test_without_keys_no_file_of_expelled_keys_is_made(keys, tmp_path):
    with publishing(expelled=tmp_path / "open"), publishing(keys, expelled=tmp_path / "keyed"):
        pass
    assert not (tmp_path / "open").exists()
    assert (tmp_path / "keyed").exists()


@pytest.mark.parametrize("damage", [b"short\n", b"x" * 40, b"\n", b"x" * 41 + b"\n"])
def test_a_damaged_file_of_expelled_keys_stops_the_publisher(keys, tmp_path, damage):
    (tmp_path / "expelled").write_bytes(damage)
    with (
        pytest.raises(AccessError, match="expected one key of 40 characters"),
        publishing(keys, expelled=tmp_path / "expelled"),
    ):
        pass


@pytest.mark.parametrize("room", [0, 20], ids=["nothing", "half a key"])
def test_an_expelled_key_that_cannot_be_written_down_stops_the_publisher(tmp_path, room):
    known = ExpelledKeys(tmp_path / "expelled")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(LineError, match="an expelled key cannot be written"):
            known.add(b"x" * 40)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert b"x" * 40 in known
    known.close()


def test_a_file_of_expelled_keys_that_cannot_be_opened_stops_the_publisher(tmp_path):
    (tmp_path / "expelled").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LineError, match="an expelled key cannot be written"):
        ExpelledKeys(tmp_path / "expelled")
    assert not (tmp_path / "elsewhere").exists()


def test_a_key_is_expelled_for_good_while_others_hold_every_descriptor(tmp_path):
    known = ExpelledKeys(tmp_path / "expelled")
    with no_descriptor_left():
        known.add(b"x" * 40)
        known.add(b"x" * 40)
    known.add(b"y" * 40)
    known.close()
    again = ExpelledKeys(tmp_path / "expelled")
    assert b"x" * 40 in again
    assert b"y" * 40 in again
    again.close()
    assert (tmp_path / "expelled").stat().st_size == 2 * 41


def test_a_list_that_can_no_longer_be_trusted_lets_nobody_new_in_until_it_is_mended(keys, caplog):
    with publishing(keys) as pipeline:
        alice = subscribe(pipeline.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "alice"))
        next(alice)
        (keys / "allowed").chmod(0o777)
        deadline = time.monotonic() + PATIENCE_S
        while not logged(caplog, "no new subscriber is accepted until this is fixed"):
            assert time.monotonic() < deadline
            next(alice)
        assert "does not know this key" in refusal(pipeline.endpoint, **who(keys, "alice"))
        (keys / "allowed").chmod(0o700)
        assert eventually(lambda: first(pipeline.endpoint, **who(keys, "alice"))).topic == "window"
        next(alice)
        alice.close()
        assert pipeline.public_endpoint.counts()["handshakes"] == 2


def test_a_list_that_could_not_be_read_for_a_moment_is_read_again(keys, monkeypatch, caplog):
    failures, read = [], AllowList.read

    def read_later(self):
        if failures and threading.current_thread() is not threading.main_thread():
            raise failures.pop()
        return read(self)

    monkeypatch.setattr(AllowList, "read", read_later)
    with publishing(keys) as pipeline:
        failures += [OSError(errno.EMFILE, "Too many open files")] * 2
        AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
        assert eventually(lambda: first(pipeline.endpoint, **who(keys, "bob"))).topic == "window"
    assert not failures
    assert len(logged(caplog, "until this is fixed")) == 1


def test_an_authenticator_that_dies_ends_the_pipeline(keys):
    settings = PublishSettings(bind="tcp://127.0.0.1:*", keys=keys)
    with listening(settings.bind, keyed=True) as listener, zmq.Context() as context:
        endpoint = PublicEndpoint(listener, settings, context)
        try:
            endpoint.service()
            endpoint.socket.disable_monitor()
            endpoint._thread.join()
            with pytest.raises(LineError, match="the authenticator of the public socket died"):
                endpoint.service()
        finally:
            endpoint.close()
