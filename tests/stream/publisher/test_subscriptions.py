"""The subscriptions of the public socket: each subscriber counts once; abusive ones are found."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import time
from collections import Counter
from contextlib import contextmanager

import pytest
import zmq
from endpoint_helpers import PATIENCE_S, logged, no_descriptor_left, open_endpoint, publishing
from hostile_peers import HANDSHAKE, frame, receive_to_end
from pipeline_helpers import PATIENCE_MS, PROVENANCE, RUN, SEAL, sealed_message, stage_counters

from eventveil.stream import subscribe
from eventveil.stream.protocol.wire import GESTURE, STATE, WINDOW, decode
from eventveil.stream.publisher import connections as connections_module
from eventveil.stream.publisher.connections import (
    ENDLESS,
    HEARTBEATS,
    MAX_ADMITTED,
    MAX_ALL_UNREPORTED,
    MAX_UNREPORTED,
    MIN_UNREPORTED,
    Connection,
    Connections,
    FrameCount,
)
from eventveil.stream.publisher.listener import listening
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.publisher.subscriptions import (
    MAX_AT_ONCE,
    MAX_FRAMES,
    MAX_LEFT_AT_ONCE,
    MAX_UNKNOWN,
    TOO_MANY_FRAMES,
    SubscriptionTracker,
)

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much a connection has sent")


@contextmanager
def open_socket():
    """Yield the public socket, its tracker, and a function that connects sockets to it."""
    with zmq.Context() as context:
        opened = []

        def connect(kind, *topics):
            socket = context.socket(kind)
            opened.append(socket)
            socket.linger, socket.rcvtimeo = 0, PATIENCE_MS
            for topic in topics:
                socket.subscribe(topic)
            socket.connect(public.last_endpoint.decode())
            return socket

        with open_endpoint(context) as endpoint:
            public = endpoint.socket
            try:
                yield public, SubscriptionTracker(public, endpoint.connections), connect
            finally:
                for socket in opened:
                    socket.close()


def settled(public, tracker, count):
    """Wait until this many subscribers are counted; return the final count."""
    deadline = time.monotonic() + PATIENCE_S
    while tracker.count() != count and time.monotonic() < deadline:
        public.poll(PATIENCE_MS // 20)
    return tracker.count()


def test_each_subscriber_counts_once_however_many_topics_it_wants():
    with open_socket() as (public, tracker, connect):
        assert tracker.count() == 0
        connect(zmq.SUB, "window", "gesture", "state")
        assert settled(public, tracker, 1) == 1
        connect(zmq.SUB, "gesture")
        assert settled(public, tracker, 2) == 2
        everything = connect(zmq.SUB, "")
        assert settled(public, tracker, 3) == 3
        assert tracker.values() == {"subscribers": 3.0}
        everything.close()
        assert settled(public, tracker, 2) == 2


def test_who_is_counted_misses_nothing_of_any_topic():
    with open_socket() as (public, tracker, connect):
        subscriber = connect(zmq.SUB, "window", "gesture", "state")
        assert settled(public, tracker, 1) == 1
        publisher = Publisher(public, SEAL, PROVENANCE, stage_counters("publish"), run=RUN, max_age_ms=None)
        publisher.take(sealed_message())
        publisher.announce("ended")
        assert [decode(subscriber.recv_multipart()).topic for _ in range(3)] == [WINDOW, GESTURE, STATE]


def test_other_messages_are_not_subscriptions():
    with open_socket() as (public, tracker, connect):
        connect(zmq.SUB, "window")
        assert settled(public, tracker, 1) == 1
        stranger = connect(zmq.XSUB)
        stranger.send(b"\x02window")
        stranger.send(b"\x01gesture")
        stranger.send(b"\x01gesture-not")
        stranger.send(b"")
        stranger.send(b"\x01window")
        assert settled(public, tracker, 2) == 2


def test_a_client_with_many_unknown_topics_is_reported_and_the_others_are_not():
    with open_socket() as (public, tracker, connect):
        connect(zmq.SUB, "window", "gesture", "state", "win")
        stranger = connect(zmq.XSUB)
        for number in range(MAX_UNKNOWN):
            stranger.send(b"\x01no-topic-%d" % number)
        connect(zmq.SUB, "window")
        assert settled(public, tracker, 2) == 2
        assert not tracker.take_abusive()
        stranger.send(b"\x01windows")
        stranger.send(b"\x01gesture")
        stranger.send(b"\x01gesture")
        while not (reported := tracker.take_abusive()):
            assert public.poll(PATIENCE_MS)
            tracker.count()
        assert len(reported) == 1
        assert not tracker.take_abusive()  # reported once


def test_nothing_more_is_read_before_an_abusive_client_can_be_ended():
    """Meanwhile, libzmq would take in more of it."""
    with open_socket() as (public, tracker, connect):
        more = 700
        connect(zmq.XSUB).send_multipart([b"\x01no-topic-%d" % number for number in range(MAX_UNKNOWN + 1 + more)])
        assert public.poll(PATIENCE_MS)
        tracker.count()
        assert tracker.unread
        assert len(tracker.take_abusive()) == 1
        for _ in range(more):
            assert b"no-topic" in public.recv(zmq.NOBLOCK)
        assert not public.poll(0)


def test_a_client_that_unsubscribes_from_unknown_topics_is_not_abusive():
    with open_socket() as (public, tracker, connect):
        stranger = connect(zmq.XSUB)
        for number in range(2 * MAX_UNKNOWN):
            stranger.send(b"\x01no-topic-%d" % number)
            stranger.send(b"\x00no-topic-%d" % number)
        stranger.send(b"\x01window")
        while tracker.count() == 0:
            assert public.poll(PATIENCE_MS)
            assert not tracker.take_abusive()


@contextmanager
def raw_client(public):
    """Yield a client that can send what sockets of libzmq keep to themselves, after its handshake."""
    host, port = public.last_endpoint.decode().removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
        client.sendall(HANDSHAKE)
        answer = b""
        while b"READY" not in answer:
            answer += client.recv(4096)
        yield client


@contextmanager
def raw_clients(endpoint):
    """Yield a function that connects a client and begins its handshake."""
    host, port = endpoint.socket.last_endpoint.decode().removeprefix("tcp://").split(":")
    with contextlib.ExitStack() as opened:

        def connect():
            client = opened.enter_context(socket.create_connection((host, int(port)), timeout=PATIENCE_S))
            client.sendall(HANDSHAKE)
            return client

        yield connect


def wait_for(endpoint, reason, number):
    deadline = time.monotonic() + PATIENCE_S
    while endpoint.counts()[reason] < number:
        assert time.monotonic() < deadline, endpoint.counts()
        time.sleep(0.01)


def test_only_a_few_are_admitted_until_all_that_has_arrived_is_read():
    """What clients send waits in libzmq, and arrives faster than it can be read."""
    with zmq.Context() as context, open_endpoint(context) as endpoint, raw_clients(endpoint) as connect:
        tracker = SubscriptionTracker(endpoint.socket, endpoint.connections)
        for _ in range(3 * MAX_ADMITTED):
            connect()
        for expected in (MAX_ADMITTED, 2 * MAX_ADMITTED):
            wait_for(endpoint, "handshakes", expected)
            time.sleep(0.1)
            assert endpoint.counts()["handshakes"] == expected
            tracker.count()


def test_who_has_left_takes_no_place_of_others():
    with zmq.Context() as context, open_endpoint(context) as endpoint, raw_clients(endpoint) as connect:
        for _ in range(MAX_ADMITTED):
            connect()
        wait_for(endpoint, "handshakes", MAX_ADMITTED)
        for _ in range(2 * MAX_ADMITTED):
            with connect() as client:  # its handshake waits
                assert client.recv(1)
        wait_for(endpoint, "handshakes_left", 2 * MAX_ADMITTED)
        connect()
        SubscriptionTracker(endpoint.socket, endpoint.connections).count()
        wait_for(endpoint, "handshakes", MAX_ADMITTED + 1)


def test_a_client_that_ends_subscriptions_that_it_never_had_still_holds_its_others():
    with open_socket() as (public, tracker, _), raw_client(public) as abuser:
        for number in range(MAX_UNKNOWN + 1):
            abuser.sendall(frame(b"\x01no-topic-%d" % number) + frame(b"\x00none"))
        abuser.sendall(frame(b"\x01window"))
        while tracker.count() == 0:
            assert public.poll(PATIENCE_MS)
        assert tracker.take_abusive()


def test_a_client_that_repeats_a_subscription_to_an_unknown_topic_holds_one():
    with open_socket() as (public, tracker, _), raw_client(public) as client:
        client.sendall(frame(b"\x01no-topic") * (2 * MAX_UNKNOWN) + frame(b"\x01window"))
        while tracker.count() == 0:
            assert public.poll(PATIENCE_MS)
        assert not tracker.take_abusive()


def test_no_client_changes_how_many_others_are_counted():
    with open_socket() as (public, tracker, connect):
        connect(zmq.SUB, "window", "state")
        assert settled(public, tracker, 1) == 1
        with raw_client(public) as stranger:
            stranger.sendall(frame(b"\x00window") * 5 + frame(b"\x01gesture") * 5 + frame(b"\x00state"))
            stranger.sendall(frame(b"\x01state") + frame(b"\x01state"))
            assert settled(public, tracker, 2) == 2  # both want `state`
        assert settled(public, tracker, 1) == 1


def test_nobody_has_to_listen():
    with open_socket() as (public, tracker, _):
        publisher = Publisher(public, SEAL, PROVENANCE, stage_counters("publish"), run=RUN, max_age_ms=None)
        for seq in range(50):
            publisher.take(sealed_message(seq))
        assert publisher.figures()["counts"]["windows"] == 50
        assert tracker.count() == 0


def test_without_keys_the_offender_alone_is_disconnected():
    with publishing() as pipeline, zmq.Context() as context, context.socket(zmq.XSUB) as abuser:
        calm = subscribe(pipeline.endpoint, ("window",), timeout_s=PATIENCE_S)
        next(calm)
        abuser.linger = 0
        abuser.connect(pipeline.endpoint)
        for number in range(MAX_UNKNOWN + 1):
            abuser.send(b"\x01no-topic-%d" % number)
        pipeline.wait_for("subscribers_expelled")
        pipeline.wait_for("handshakes", 3)  # it may come back
        for _ in range(50):
            assert next(calm).missing == {}
        calm.close()


@only_linux
@pytest.mark.parametrize("before", [b"", frame(b"\x01window")], ids=["at once", "after a subscription"])
@pytest.mark.parametrize("begin", [b"\x01", b"\x02"], ids=["subscription", "message"])
def test_a_client_whose_message_never_ends_is_disconnected(begin, before, caplog):
    with publishing() as pipeline, raw_client(pipeline.public_endpoint.socket) as abuser:
        calm = subscribe(pipeline.endpoint, ("window",), timeout_s=PATIENCE_S)
        next(calm)
        abuser.sendall(before)
        abuser.settimeout(0.1)
        parts, sent, deadline = frame(begin + bytes(900), flags=0x01) * 16, 0, time.monotonic() + PATIENCE_S
        while not pipeline.public_endpoint.counts()["subscribers_expelled"]:
            with contextlib.suppress(OSError):
                sent += abuser.send(parts[sent % len(parts) :])
            assert next(calm).missing == {}
            assert time.monotonic() < deadline
        abuser.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionError):
            receive_to_end(abuser)
        calm.close()
    (record,) = logged(caplog, "disconnecting a subscriber")
    assert f"that {ENDLESS}: one without a key" in record.getMessage()


@pytest.mark.parametrize(
    "message",
    [
        frame(b"\x02", flags=0x01) + frame(b"", flags=0x01) * 999 + frame(b""),
        frame(b"\x01", flags=0x01) * 999 + frame(b"\x01"),
    ],
    ids=["message", "subscriptions"],
)
def test_a_client_that_sends_messages_of_many_frames_is_disconnected(message, caplog):
    """Each frame of two bytes takes sixty of libzmq until it is read, and its limits count messages."""
    with publishing() as line, raw_client(line.public_endpoint.socket) as abuser:
        calm = subscribe(line.endpoint, ("window",), timeout_s=PATIENCE_S)
        next(calm)
        deadline = time.monotonic() + PATIENCE_S
        with contextlib.suppress(ConnectionError):
            while not line.public_endpoint.counts()["subscribers_expelled"]:
                abuser.sendall(message)  # slowly enough for libzmq to report all of it
                assert next(calm).missing == {}
                assert time.monotonic() < deadline
            receive_to_end(abuser)
        line.wait_for("subscribers_expelled")
        calm.close()
    (record,) = logged(caplog, "disconnecting a subscriber")
    assert f"that {TOO_MANY_FRAMES}: one without a key" in record.getMessage()


def test_a_client_may_change_its_subscriptions_as_long_as_it_wants():
    frames, day_s = FrameCount(), 86_400
    assert max(frames.add(0.0) for _ in range(MAX_FRAMES)) == MAX_FRAMES
    assert frames.add(0.0) > MAX_FRAMES
    assert max(frames.add(1_000 + number / 5) for number in range(5 * day_s)) < 10


def test_the_frames_of_all_connections_of_a_key_count_together(monkeypatch):
    """It would connect anew, and send as many again."""
    with open_socket() as (public, tracker, connect):
        whose, senders, arrived = "a" * 40, {}, Counter()

        def sender(frame):
            arrived[frame.bytes[:2]] += 1
            return senders[frame.bytes[:2]]

        monkeypatch.setattr(tracker._connections, "sender", sender)
        for number in range(3):
            head = b"\x02%d" % number
            senders[head] = Connection(number, number + 1, whose)
            stranger = connect(zmq.XSUB)
            for _ in range(MAX_FRAMES // 2):
                stranger.send(head)
            until_s = time.monotonic() + PATIENCE_S
            while arrived[head] < MAX_FRAMES // 2 and time.monotonic() < until_s:
                public.poll(100)
                tracker.count()
        assert tracker.take_abusive() == [senders[b"\x022"]]


def test_what_a_client_leaves_is_read_soon():
    """Faster than from those that are still there: nobody but us holds it."""
    with open_socket() as (public, tracker, connect):
        stranger = connect(zmq.XSUB)
        stranger.send_multipart([b"\x02", *[b""] * (MAX_FRAMES + 2 * MAX_LEFT_AT_ONCE)])
        assert public.poll(PATIENCE_MS)
        for _ in range(MAX_FRAMES // MAX_AT_ONCE + 3):
            tracker.count()
        assert not public.poll(0)
        assert len(tracker.take_abusive()) == 1


def test_what_many_clients_leave_is_read_before_the_next_wait():
    """Each leaves few frames, but as long as some are unread, nobody else is admitted."""
    frames, clients = MAX_FRAMES - 1, 12
    with open_socket() as (public, tracker, _), contextlib.ExitStack() as opened:
        for _ in range(clients):
            client = opened.enter_context(raw_client(public))
            client.sendall(frame(b"\x02", flags=0x01) * (frames - 1) + frame(b"\x02"))
        deadline = time.monotonic() + PATIENCE_S
        opened.close()
        while any(tracker._connections.is_open(Connection(descriptor, 1 << 30, "")) for descriptor in range(3, 200)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        counted = 0
        while not counted or tracker.unread:
            tracker.count()
            counted += 1
        assert not public.poll(0)
        assert counted <= clients * frames / MAX_LEFT_AT_ONCE + 2
        assert not tracker.take_abusive()


def test_what_is_unread_is_noted():
    with open_socket() as (public, tracker, connect):
        connect(zmq.XSUB).send_multipart([b"\x02"] * (MAX_AT_ONCE + 1))
        assert public.poll(PATIENCE_MS)
        tracker.count()
        assert tracker.unread
        tracker.count()  # it reads the rest, but somebody was admitted since the last time
        assert tracker.unread
        tracker.count()
        assert not tracker.unread


@only_linux
def test_who_sends_without_end_is_disconnected_while_the_socket_is_not_read():
    """libzmq may be busy with what one client sends, and then returns to no caller."""
    with zmq.Context() as context, open_endpoint(context) as endpoint, raw_client(endpoint.socket) as abuser:
        abuser.sendall(frame(b"\x01window"))
        assert endpoint.socket.poll(PATIENCE_MS)
        sender = endpoint.connections.sender(endpoint.socket.recv(copy=False))
        abuser.setblocking(False)
        parts, sent, answer = frame(b"\x01" + bytes(900), flags=0x01) * 16, 0, b"heartbeat"
        deadline = time.monotonic() + PATIENCE_S
        while answer:
            assert time.monotonic() < deadline
            with contextlib.suppress(OSError):
                sent += abuser.send(parts[sent % len(parts) :])
            try:
                answer = abuser.recv(1 << 16)
            except BlockingIOError:
                time.sleep(0.01)
            except ConnectionError:
                answer = b""
        found = []
        while not found:  # it is ended before it is reported
            assert time.monotonic() < deadline
            found = list(endpoint.connections.take_endless())
        assert found == [sender]


@only_linux
def test_many_whole_messages_are_not_without_end():
    with zmq.Context() as context, open_endpoint(context) as endpoint, raw_client(endpoint.socket) as client:
        for _ in range(5):  # each fewer bytes than a message without end, if libzmq reports them late
            messages = MAX_UNREPORTED // 17
            client.sendall(frame(b"\x01window" + b"\x00window") * messages)
            for _ in range(messages):
                assert endpoint.socket.poll(PATIENCE_MS)
                endpoint.connections.sender(endpoint.socket.recv(copy=False))
        assert not list(endpoint.connections.take_endless())


def connect_to(listener):
    """Return both ends of a new connection."""
    client = socket.create_connection(listener.bound.getsockname(), timeout=PATIENCE_S)
    assert select.select([listener.bound], [], [], PATIENCE_S)[0]
    return client, listener.bound.accept()[0]


@contextmanager
def connected():
    """Yield the connections of a listener, with both ends of one of them."""
    with listening("tcp://127.0.0.1:*", keyed=False) as listener, contextlib.ExitStack() as opened:
        connections = Connections(listener)
        opened.callback(connections.close)
        client, accepted = (opened.enter_context(end) for end in connect_to(listener))
        connections.accepted(accepted.fileno(), 0)
        connections.measure(0.0, 0)
        yield listener, connections, client, accepted


def exchange(client, accepted, size):
    client.sendall(bytes(size))
    while size:
        size -= len(accepted.recv(size))


@only_linux
def test_heartbeats_alone_are_not_without_end():
    """libzmq reports no heartbeats."""
    with connected() as (_, connections, client, accepted):
        for second in range(1, 4 * MAX_UNREPORTED // HEARTBEATS):
            exchange(client, accepted, HEARTBEATS)
            connections.measure(float(second), 0)
        assert not list(connections.take_endless())


@only_linux
def test_more_than_heartbeats_are_without_end():
    with connected() as (_, connections, client, accepted):
        for second in range(1, MAX_UNREPORTED // HEARTBEATS + 2):
            assert not list(connections.take_endless())
            exchange(client, accepted, 2 * HEARTBEATS)
            connections.measure(float(second), 0)
        assert len(list(connections.take_endless())) == 1
        assert client.recv(1) == b""


@only_linux
def test_few_reports_do_not_hide_how_much_is_unreported():
    with connected() as (_, connections, client, accepted):
        for exchanges in range(1, 12):
            connections.sender(Report(accepted.fileno(), 1))
            exchange(client, accepted, MAX_UNREPORTED // 10)
            connections.measure(exchanges / 100, 1)
            ended = list(connections.take_endless())
            assert bool(ended) == (exchanges == 11)
        assert client.recv(1) == b""


@only_linux
def test_reports_of_an_earlier_connection_hide_nothing():
    """What a client has left is reported late, with a descriptor that another client may have by now."""
    with connected() as (_, connections, client, accepted):
        connections.accepted(accepted.fileno(), 5)
        connections.measure(0.0, 5)
        for exchanges in range(1, 12):
            for _ in range(1_000):
                connections.sender(Report(accepted.fileno(), 5))
            exchange(client, accepted, MAX_UNREPORTED // 10)
            connections.measure(exchanges / 100, 6)
            assert bool(list(connections.take_endless())) == (exchanges == 11)


@only_linux
@pytest.mark.parametrize("key", ["", "a" * 40])
def test_small_messages_hide_little(key):
    """A message of one byte takes two bytes, or 36 encrypted; counted as the longest would be, it hides 16 or 17."""
    with connected() as (_, connections, client, accepted):
        for exchanges in range(1, MAX_UNREPORTED // 1_600 + 2):
            for _ in range(100):
                connections.sender(Report(accepted.fileno(), f"1 {key}", size=1))
            exchange(client, accepted, 100 * (36 if key else 2) + 3_300)
            connections.measure(exchanges / 1e6, 1)
            if list(connections.take_endless()):
                return
        pytest.fail("it was not found")


@only_linux
@pytest.mark.parametrize("others", [0, MAX_ALL_UNREPORTED // MIN_UNREPORTED])
def test_the_more_connections_there_are_the_less_each_may_send_without_end(others):
    with connected() as (_, connections, client, accepted):
        for descriptor in range(1 << 20, (1 << 20) + others):  # no descriptor of ours
            connections.accepted(descriptor, 0)
        exchange(client, accepted, MIN_UNREPORTED)
        connections.measure(0.0, 1)
        assert not list(connections.take_endless())
        exchange(client, accepted, MIN_UNREPORTED)
        connections.measure(0.0, 1)
        assert bool(list(connections.take_endless())) == bool(others)


class Report:
    """What libzmq says of the sender of a message."""

    def __init__(self, descriptor, user, size=10):
        self._values = {zmq.SRCFD: descriptor, "User-Id": f"{user}"}
        self._size = size

    def get(self, name):
        return self._values[name]

    def __len__(self):
        return self._size


def replaced_by_another(listener, connections, accepted):
    """Give the descriptor of a connection to another one, which says something; return its client, and who it is."""
    other_client, other = connect_to(listener)
    os.dup2(other.fileno(), accepted.fileno())
    other.close()
    connections.closed(accepted.fileno())
    connections.accepted(accepted.fileno(), 5)
    return other_client, connections.sender(Report(accepted.fileno(), 6))


@only_linux
@pytest.mark.parametrize("still_open", [True, False])
def test_who_gets_the_descriptor_of_an_endless_connection_stays(still_open):
    with connected() as (listener, connections, client, accepted):
        exchange(client, accepted, 2 * MAX_UNREPORTED)
        connections.measure(1.0, 3)
        other_client, newcomer = replaced_by_another(listener, connections, accepted)
        with other_client:
            if not still_open:  # it has left before the endless one is reported
                connections.closed(accepted.fileno())
            (endless,) = connections.take_endless()
            connections.end(endless)
            assert endless.key == ""
            assert endless is not newcomer
            assert not newcomer.ended
            accepted.send(b"hello")
            assert other_client.recv(5) == b"hello"


@only_linux
def test_nobody_is_ended_for_what_came_from_the_descriptor_before():
    with connected() as (listener, connections, client, accepted):
        exchange(client, accepted, 2 * MAX_UNREPORTED)
        other_client, other = connect_to(listener)  # libzmq has given it the descriptor, and reported neither
        with other_client:
            measured = connections_module._bytes_received

            def reuse(descriptor, done=[]):  # noqa: B006 - between the two looks at the descriptor
                total = measured(descriptor)
                if not done:
                    done.append(os.dup2(other.fileno(), accepted.fileno()))
                    other.close()
                return total

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(connections_module, "_bytes_received", reuse)
                connections.measure(1.0, 3)
            assert len(list(connections.take_endless())) == 1
            accepted.send(b"hello")
            assert other_client.recv(5) == b"hello"


@only_linux
@pytest.mark.parametrize("when", ["before", "after", "replaced"])
def test_the_key_of_an_endless_connection_is_known_whenever_its_messages_are_read(when):
    with connected() as (listener, connections, client, accepted):
        first = Report(accepted.fileno(), "2 mallory")
        exchange(client, accepted, 2 * MAX_UNREPORTED)
        if when == "before":
            connections.sender(first)
        connections.measure(1.0, 3)
        if when != "before":
            connections.sender(first)
        if when == "replaced":
            replaced_by_another(listener, connections, accepted)[0].close()
        assert [each.key for each in connections.take_endless()] == ["mallory"]


def test_many_connections_together_hold_no_more_than_one():
    with open_socket() as (public, tracker, connect):
        connect(zmq.SUB, "window")
        strangers = [connect(zmq.XSUB) for _ in range(3)]
        for number in range(MAX_UNKNOWN // 2):
            for stranger in strangers:
                stranger.send(b"\x01no-topic-%d" % number)
        for stranger in strangers:
            stranger.send(b"\x01window")
        assert settled(public, tracker, 4) == 4
        (reported,) = tracker.take_abusive()  # what the others hold is not too much
        assert len(reported.unknown) > 0


def test_a_connection_whose_descriptor_was_reused_is_not_ended():
    with zmq.Context() as context, open_endpoint(context) as endpoint:

        def connect(kind=zmq.SUB):
            client = context.socket(kind)
            client.linger, client.rcvtimeo = 0, PATIENCE_MS
            client.subscribe(b"window")
            client.connect(endpoint.socket.last_endpoint.decode())
            connection = endpoint.connections.sender(endpoint.socket.recv(copy=False))
            return client, connection

        endpoint.socket.rcvtimeo = PATIENCE_MS
        first, gone = connect()
        first.close()
        assert endpoint.connections.sender(endpoint.socket.recv(copy=False)) is None  # what libzmq says for it
        second, present = connect()
        endpoint.connections.end(Connection(present.descriptor, gone.serial, ""))
        endpoint.socket.send(b"window")
        assert second.recv() == b"window"
        endpoint.connections.end(present)
        assert endpoint.socket.recv() == b"\x00window"
        second.close()


def test_a_connection_is_ended_without_a_free_descriptor():
    with zmq.Context() as context, open_endpoint(context) as endpoint, context.socket(zmq.SUB) as client:
        endpoint.socket.rcvtimeo, client.linger = PATIENCE_MS, 0
        client.subscribe(b"window")
        client.connect(endpoint.socket.last_endpoint.decode())
        connection = endpoint.connections.sender(endpoint.socket.recv(copy=False))
        with no_descriptor_left():
            endpoint.connections.end(connection)
        assert endpoint.socket.recv() == b"\x00window"
