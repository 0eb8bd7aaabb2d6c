"""The public socket under keys: who gets in, who does not and learns why, and who has to leave."""

from __future__ import annotations

import contextlib
import logging
import socket as sockets
import threading
import time
from collections import deque

import pytest
import zmq
from line_parts import line_ended, needs_ipv6, values, window_header

from eventveil.errors import AccessError, ConfigError, LineError
from eventveil.stream import subscribe
from eventveil.stream.audience import MOST_STRANGE, Audience
from eventveil.stream.door import Door
from eventveil.stream.keys import AllowList, new_keys, read_folder, read_public
from eventveil.stream.settings import PublishSettings
from eventveil.stream.sockets import endpoint_of
from eventveil.stream.wire import encode

PATIENCE_S = 20


@pytest.fixture
def keys(tmp_path):
    """A publisher's keys, with alice on the list; bob has keys and is not."""
    for name in ("keys", "alice", "bob"):
        new_keys(tmp_path / name)
    AllowList(tmp_path / "keys").allow(read_public(tmp_path / "alice" / "alice.pub"))
    return tmp_path / "keys"


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
                self.door = Door(PublishSettings(bind=bind, keys=keys), context)
            except Exception as error:
                self.failure = error
                self._opened.set()
                return
            audience = Audience(self.door.socket)
            self.endpoint = endpoint_of(self.door.socket)
            self._opened.set()
            try:
                seq = 0
                while not self._done.wait(0.01):
                    audience.count()
                    self.door.tend(audience.unruly())
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


EVERYWHERE = ["tcp://127.0.0.1:*", pytest.param("tcp://[::1]:*", marks=needs_ipv6), "ipc"]


@pytest.mark.parametrize("where", EVERYWHERE)
def test_who_is_on_the_list_gets_in_encrypted_and_is_counted(keys, tmp_path, where):
    bind = f"ipc://{tmp_path}/public" if where == "ipc" else where
    with publishing(keys, bind) as line:
        assert first(line.endpoint, **who(keys, "alice")).topic == "window"
        counts = line.door.counts()
        assert (counts["connections"], counts["handshakes"]) == (1, 1)
        assert sum(counts.values()) == 2


@pytest.mark.parametrize(
    ("bind", "reached"),
    [
        ("tcp://127.0.0.1:*", ["127.0.0.1", "localhost"]),
        ("tcp://*:*", ["127.0.0.1"]),
        pytest.param("tcp://[::1]:*", ["[::1]", "::1"], marks=needs_ipv6),
        pytest.param("tcp://[::ffff:127.0.0.1]:*", ["127.0.0.1", "[::ffff:127.0.0.1]"], marks=needs_ipv6),
        pytest.param("tcp://[::]:*", ["[::1]", "127.0.0.1", "localhost"], marks=needs_ipv6),
    ],
)
def test_a_publisher_is_reached_by_the_addresses_that_it_is_bound_to(keys, bind, reached):
    with publishing(keys, bind) as line:
        port = line.endpoint.rpartition(":")[2]
        for host in reached:
            assert first(f"tcp://{host}:{port}", **who(keys, "alice")).topic == "window"


def test_nobody_is_served_unencrypted(keys):
    with publishing(keys) as line, zmq.Context() as context, context.socket(zmq.SUB) as listener:
        listener.linger = 0
        listener.subscribe(b"")
        listener.connect(line.endpoint)
        line.wait_for("connections")
        assert first(line.endpoint, **who(keys, "alice"))
        assert not listener.poll(200)


def refusal(endpoint, seconds=3.0, **options):
    """What a subscriber is told that cannot connect, and that it is told soon enough."""
    began = time.monotonic()
    with pytest.raises(AccessError) as caught:
        first(endpoint, **options)
    assert time.monotonic() - began < seconds
    return str(caught.value)


def logged(caplog, words):
    return [record for record in caplog.records if words in record.getMessage()]


def test_who_is_not_on_the_list_is_told_so_at_both_ends(keys, caplog):
    with publishing(keys) as line:
        told = refusal(line.endpoint, **who(keys, "bob"))
        assert "does not know this key" in told
        assert "eventveil keys allow" in told
        line.wait_for("handshakes_not_allowed")
        assert line.door.counts()["handshakes"] == 0
    (record,) = logged(caplog, "not on the list")
    bob = read_public(keys.parent / "bob" / "bob.pub").key.decode()
    assert f"{bob} from 127.0.0.1" in record.getMessage()


def test_who_takes_the_publisher_for_another_is_told_so_at_both_ends(keys, caplog):
    with publishing(keys) as line:
        assert "--server-key" in refusal(line.endpoint, **who(keys, "alice", server="bob"))
        line.wait_for("handshakes_wrong_key", 3)
    assert logged(caplog, "takes this publisher for one with another key")


def test_who_has_no_keys_is_told_so_at_both_ends(keys, caplog):
    with publishing(keys) as line:
        assert "give --server-key and --key" in refusal(line.endpoint)
        line.wait_for("connections")
        with zmq.Context() as context, context.socket(zmq.SUB) as plain:
            plain.linger, plain.plain_username, plain.plain_password = 0, b"alice", b"secret"
            plain.connect(line.endpoint)
            line.wait_for("connections", 2)
    assert logged(caplog, "could not connect")


def test_who_expects_keys_where_there_are_none_is_told_so(keys):
    with publishing(None) as line:
        told = refusal(line.endpoint, **who(keys, "alice"))
    # Whichever end notices first hangs up; where it is always the other one, only that much is known.
    assert (
        "uses no keys, so it is not the publisher" in told
        or "another key than the one of --server-key, or none" in told
    )


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9\r\n", b"\xff" * 300])
def test_what_is_no_publisher_at_all_is_told_so(keys, answer):
    with sockets.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection, contextlib.suppress(ConnectionError):
                connection.sendall(answer)
                connection.recv(1000)

        thread = threading.Thread(target=serve)
        thread.start()
        told = refusal(f"tcp://127.0.0.1:{server.getsockname()[1]}", **who(keys, "alice"))
        thread.join()
    assert "check host and port" in told


def test_nobody_there_is_waited_for(keys, tmp_path):
    bind, got = f"ipc://{tmp_path}/late", []
    thread = threading.Thread(target=lambda: got.append(first(bind, **who(keys, "alice"))))
    thread.start()
    time.sleep(0.2)
    with publishing(keys, bind):
        thread.join(PATIENCE_S)
    assert got[0].topic == "window"


def test_a_publisher_that_hangs_breaks_off_and_comes_back_is_waited_for(keys, caplog):
    """Silent connections are no broken ones: together they do not look like a publisher that refuses everybody."""
    with sockets.create_server(("127.0.0.1", 0)) as server:
        bind, got = f"tcp://127.0.0.1:{server.getsockname()[1]}", []
        thread = threading.Thread(target=lambda: got.append(first(bind, **who(keys, "alice"))))
        thread.start()
        for _ in range(2):
            with server.accept()[0] as hanging:
                while hanging.recv(100):
                    pass
        server.accept()[0].close()
    with publishing(keys, bind):
        thread.join(PATIENCE_S)
    assert got[0].topic == "window"
    assert logged(caplog, "somebody is there and does not answer as a publisher does")


def test_a_publisher_that_comes_back_is_found_again(keys, tmp_path, caplog):
    bind = f"ipc://{tmp_path}/public"
    with publishing(keys, bind) as line:
        messages = subscribe(bind, ("window",), timeout_s=PATIENCE_S, **who(keys, "alice"))
        assert next(messages).topic == "window"
        line.end(announce=False)
    with publishing(keys, bind) as again:
        assert all(next(messages).topic == "window" for _ in range(20))
        assert again.door.counts()["handshakes"] == 1
        messages.close()
    assert logged(caplog, "the connection to the publisher was lost; trying again")


def test_one_key_alone_is_a_mistake(keys):
    for option in ("server_key", "key"):
        with pytest.raises(ConfigError, match="give both"):
            first("tcp://127.0.0.1:1", **{option: who(keys, "alice")[option]})


def test_the_list_is_read_while_the_line_runs(keys):
    with publishing(keys) as line:
        refusal(line.endpoint, **who(keys, "bob"))
        AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
        assert eventually(lambda: first(line.endpoint, **who(keys, "bob"))).topic == "window"


def eventually(ask):
    """The answer, as soon as access is no longer denied."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except AccessError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("where", EVERYWHERE)
def test_who_is_revoked_has_to_leave_and_the_others_come_back(keys, tmp_path, where, caplog):
    AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
    bind = f"ipc://{tmp_path}/public" if where == "ipc" else where
    with publishing(keys, bind) as line:
        alice = subscribe(line.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "alice"))
        bob = subscribe(line.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "bob"))
        assert next(alice).topic == next(bob).topic == "window"
        AllowList(keys).revoke("bob")
        with pytest.raises(AccessError, match="does not know this key"):
            deque(zip(bob, alice, strict=False), maxlen=0)
        last = next(alice)
        deadline = time.monotonic() + PATIENCE_S
        while line.door.counts()["handshakes"] < 3:  # two that came, and one that came back
            assert time.monotonic() < deadline
            last = next(alice)
        assert next(alice).header.seq > last.header.seq
        alice.close()
    assert logged(caplog, "1 were taken off the list")


def test_who_was_never_there_is_revoked_without_disturbing_anybody(keys, caplog):
    AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
    caplog.set_level(logging.INFO, "eventveil.door")
    with publishing(keys) as line:
        alice = subscribe(line.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "alice"))
        next(alice)
        AllowList(keys).revoke("bob")
        deadline = time.monotonic() + PATIENCE_S
        while not logged(caplog, "read anew"):
            assert time.monotonic() < deadline
            assert next(alice).missing == {}
        assert line.door.counts()["handshakes"] == 1
        alice.close()


def test_who_makes_trouble_is_shut_out_and_the_others_are_not(keys, caplog):
    AllowList(keys).allow(read_public(keys.parent / "bob" / "bob.pub"))
    bob = read_folder(keys.parent / "bob")
    with publishing(keys) as line, zmq.Context() as context, context.socket(zmq.XSUB) as trouble:
        alice = subscribe(line.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "alice"))
        next(alice)
        trouble.linger, trouble.curve_serverkey = 0, read_folder(keys).public
        trouble.curve_publickey, trouble.curve_secretkey = bob.public, bob.secret
        trouble.connect(line.endpoint)
        for number in range(MOST_STRANGE + 1):
            trouble.send(b"\x01no-topic-%d" % number)
        line.wait_for("subscribers_expelled")
        assert "does not know this key" in refusal(line.endpoint, **who(keys, "bob"))
        line.wait_for("handshakes", 3)
        assert next(alice).topic == "window"
        alice.close()
    (record,) = logged(caplog, "is thrown out")
    assert bob.public.decode() in record.getMessage()


def test_a_list_that_can_no_longer_be_trusted_lets_nobody_new_in_until_it_is_mended(keys, caplog):
    with publishing(keys) as line:
        alice = subscribe(line.endpoint, ("window",), timeout_s=PATIENCE_S, **who(keys, "alice"))
        next(alice)
        (keys / "allowed").chmod(0o777)
        deadline = time.monotonic() + PATIENCE_S
        while not logged(caplog, "nobody new may subscribe until this is mended"):
            assert time.monotonic() < deadline
            next(alice)
        assert "does not know this key" in refusal(line.endpoint, **who(keys, "alice"))
        (keys / "allowed").chmod(0o700)
        assert eventually(lambda: first(line.endpoint, **who(keys, "alice"))).topic == "window"
        next(alice)
        alice.close()
        assert line.door.counts()["handshakes"] == 2


def test_a_publishers_keys_are_checked_before_anything_is_bound(keys):
    (keys / "secret.key").chmod(0o644)
    with pytest.raises(AccessError, match="chmod 600"), publishing(keys):
        pass
    (keys / "secret.key").chmod(0o600)
    with publishing(keys) as line, pytest.raises(LineError, match="cannot bind"), publishing(keys, line.endpoint):
        pass


def test_a_subscribers_secret_that_others_may_get_at_is_refused(keys):
    with publishing(keys) as line:
        (keys.parent / "alice" / "secret.key").chmod(0o640)
        with pytest.raises(AccessError, match="chmod 600"):
            first(line.endpoint, **who(keys, "alice"))
        assert line.door.counts()["connections"] == 0


def test_a_doorman_that_dies_ends_the_line(keys):
    with zmq.Context() as context:
        door = Door(PublishSettings(bind="tcp://127.0.0.1:*", keys=keys), context)
        try:
            door.tend()
            door._list.close()
            with pytest.raises(LineError, match="the doorman of the public socket died"):
                door.tend()
        finally:
            door.close()


def test_a_thousand_failures_are_counted_and_a_few_are_logged(keys, caplog):
    with publishing(keys) as line:
        where = line.endpoint.removeprefix("tcp://").split(":")
        began = time.monotonic()
        for _ in range(300):
            with sockets.create_connection((where[0], int(where[1]))) as stranger:
                stranger.sendall(b"\xff" * 64)
        line.wait_for("connections", 300)
        assert first(line.endpoint, **who(keys, "alice")).topic == "window"
        took = time.monotonic() - began
    assert 1 <= len(logged(caplog, "could not connect")) <= 6 * (took + 1)


def test_the_keys_stand_in_no_message_of_the_line(keys, caplog):
    caplog.set_level(logging.DEBUG)
    with publishing(keys) as line:
        first(line.endpoint, **who(keys, "alice"))
        refusal(line.endpoint, **who(keys, "bob"))
        told = refusal(line.endpoint, **who(keys, "alice", server="bob"))
    secrets = [read_folder(keys.parent / name).secret.decode() for name in ("keys", "alice", "bob")]
    assert not [secret for secret in secrets if secret in caplog.text + told]
