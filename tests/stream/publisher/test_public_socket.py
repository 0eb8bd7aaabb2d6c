"""The public socket: what it accepts, and that no other file of the package opens one."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import zmq
from endpoint_helpers import open_endpoint
from pipeline_helpers import PATIENCE_MS
from zmq.utils.monitor import parse_monitor_message

from eventveil.stream.protocol.keys import KeyPair
from eventveil.stream.publisher.listener import listening
from eventveil.stream.publisher.public_socket import public_socket
from eventveil.stream.subscriber.subscriber_socket import connect, subscriber_socket


def test_with_keys_nobody_gets_in_while_nobody_answers_for_the_list(context):
    pair = KeyPair(*zmq.curve_keypair())
    with listening("tcp://127.0.0.1:*", keyed=True) as listener, public_socket(listener, 10, context, pair) as public:
        with subscriber_socket(("window",), 2, context, (pair.public, pair)) as subscriber:
            monitor = subscriber.get_monitor_socket(
                zmq.Event.HANDSHAKE_SUCCEEDED | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
            )
            connect(subscriber, public.last_endpoint.decode())
            for _ in range(3):
                assert monitor.poll(PATIENCE_MS)
                assert parse_monitor_message(monitor.recv_multipart())["event"] == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
            subscriber.disable_monitor()
            monitor.close()
        assert not public.poll(0)


def test_a_strangers_subscription_of_a_gigabyte_is_cut_off(context):
    with open_endpoint(context, 3) as endpoint, context.socket(zmq.XSUB) as stranger:
        public = endpoint.socket
        public.rcvtimeo, stranger.linger = PATIENCE_MS, 0
        stranger.connect(public.last_endpoint.decode())
        stranger.send(b"\x01" + bytes(100_000))
        with subscriber_socket(("window",), 2, context) as subscriber:
            connect(subscriber, public.last_endpoint.decode())
            assert public.recv() == b"\x01window"


ROOMS = ("", ".audit", ".configs", ".io", ".models", ".replay", ".stream", ".training")
PUBLIC = "eventveil/stream/publisher/public_socket.py"
AUTHENTICATOR = "eventveil/stream/publisher/authenticator.py"
LISTENER = "eventveil/stream/publisher/listener.py"
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
    """Few files make ZeroMQ sockets and bind them: the public one, and those of this process or its runtime folder.

    The listener binds a socket of the kernel, of which the public one uses a copy.
    """
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
    assert made == {PUBLIC: {"XPUB"}, AUTHENTICATOR: {"ROUTER"}, PRIVATE: {"PUSH", "PULL"}, SUBSCRIBER: {"SUB"}}
    assert bound == {PUBLIC, LISTENER, AUTHENTICATOR, PRIVATE}
    for path in (PRIVATE, AUTHENTICATOR):
        texts = [node.value for node in files_with_zeromq()[path] if isinstance(node, ast.Constant)]
        assert not [text for text in texts if "tcp://" in str(text)]
