"""The public socket: which addresses it binds, what it accepts, and that no other file of the package opens one."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest
import zmq
from pipeline_helpers import PATIENCE_MS
from zmq.utils.monitor import parse_monitor_message

from eventveil.errors import BoundaryError, LineError
from eventveil.stream.protocol.keys import KeyPair
from eventveil.stream.publisher.public_socket import endpoint_of, public_socket
from eventveil.stream.subscriber.subscriber_socket import connect, subscriber_socket


def test_a_port_in_use_is_told_with_its_remedy(context):
    with public_socket("tcp://127.0.0.1:*", 10, context) as first:
        taken = first.last_endpoint.decode()
        with pytest.raises(LineError, match=rf"publish\.bind: cannot bind {taken}: .*another eventveil running there"):
            public_socket(taken, 10, context)


@pytest.mark.parametrize("bind", ["tcp://192.0.2.1:5599", "tcp://nowhere", "udp://*:1"])
def test_an_address_that_is_not_this_machines_is_refused(context, bind):
    with pytest.raises(LineError, match=r"publish\.bind: cannot bind"):
        public_socket(bind, 10, context, KeyPair(*zmq.curve_keypair()))


REACHABLE = ["tcp://*:*", "tcp://0.0.0.0:*", "tcp://lo:*", "tcp://192.0.2.1:5599", "udp://*:1"]
REACHABLE_6 = ["tcp://[::]:*", "tcp://:::*", "tcp://[::ffff:0.0.0.0]:*", "tcp://[::ffff:192.0.2.1]:5599"]


@pytest.mark.parametrize("bind", REACHABLE + REACHABLE_6)
def test_without_keys_no_address_is_bound_that_others_can_reach(context, bind):
    with pytest.raises(BoundaryError, match="other machines can reach"):
        public_socket(bind, 10, context)


def test_with_keys_nobody_gets_in_while_nobody_answers_for_the_list(context):
    pair = KeyPair(*zmq.curve_keypair())
    with public_socket("tcp://127.0.0.1:*", 10, context, pair) as public:
        with subscriber_socket(("window",), 2, context, (pair.public, pair)) as subscriber:
            monitor = subscriber.get_monitor_socket(
                zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
            )
            connect(subscriber, endpoint_of(public))
            for _ in range(3):
                assert monitor.poll(PATIENCE_MS)
                assert parse_monitor_message(monitor.recv_multipart())["event"] == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
            subscriber.disable_monitor()
            monitor.close()
        assert not public.poll(0)


def test_a_strangers_subscription_of_a_gigabyte_is_cut_off(context):
    with public_socket("tcp://127.0.0.1:*", 3, context) as public, context.socket(zmq.XSUB) as stranger:
        public.rcvtimeo, stranger.linger = PATIENCE_MS, 0
        stranger.connect(public.last_endpoint.decode())
        stranger.send(b"\x01" + bytes(100_000))
        with subscriber_socket(("window",), 2, context) as subscriber:
            connect(subscriber, endpoint_of(public))
            assert public.recv() == b"\x01window"


ROOMS = ("", ".audit", ".configs", ".io", ".models", ".replay", ".stream", ".training")
PUBLIC = "eventveil/stream/publisher/public_socket.py"
PRIVATE = "eventveil/stream/runtime/sockets.py"
SUBSCRIBER = "eventveil/stream/subscriber/subscriber_socket.py"
SOCKET_TYPES = {kind.name for kind in zmq.SocketType}


def files_with_zeromq():
    """The syntax tree of each file of the package that uses ZeroMQ, by its path in the package."""
    trees = {}
    for room in ROOMS:
        name = f"eventveil{room}"
        folder = Path(importlib.import_module(name).__file__).parent
        for path in folder.rglob("*.py"):
            if "zmq" in (text := path.read_text()):
                trees[f"{name.replace('.', '/')}/{path.relative_to(folder)}"] = list(ast.walk(ast.parse(text)))
    return trees


def test_no_other_file_opens_a_public_socket():
    """Three files make ZeroMQ sockets and two bind them: the public one, and the private one, which has no tcp://."""
    made, bound = {}, set()
    for path, nodes in files_with_zeromq().items():
        # `zmq.PUB` is the only spelling there is: the name `zmq` is neither renamed nor left out.
        assert not [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module == "zmq"]
        assert not [node for node in nodes if isinstance(node, ast.alias) and node.name == "zmq" and node.asname]
        attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        if types := attributes & SOCKET_TYPES:
            made[path] = types
        calls = [node.func for node in nodes if isinstance(node, ast.Call)]
        if [call for call in calls if isinstance(call, ast.Attribute) and call.attr.startswith("bind")]:
            bound.add(path)
    assert made == {PUBLIC: {"XPUB"}, PRIVATE: {"PUSH", "PULL"}, SUBSCRIBER: {"SUB"}}
    assert bound == {PUBLIC, PRIVATE}
    texts = [node.value for node in files_with_zeromq()[PRIVATE] if isinstance(node, ast.Constant)]
    assert not [text for text in texts if "tcp://" in str(text)]
