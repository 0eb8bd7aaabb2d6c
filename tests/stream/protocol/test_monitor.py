"""Messages of libzmq's monitor sockets."""

from __future__ import annotations

import struct

import pytest
import zmq
from zmq.utils.monitor import parse_monitor_message

from eventveil.stream.protocol.monitor import receive_event


@pytest.mark.parametrize("event", [zmq.Event.CONNECTED, zmq.Event.HANDSHAKE_FAILED_AUTH, zmq.Event.MONITOR_STOPPED])
@pytest.mark.parametrize("value", [0, 7, 400, 0x10000001, -1])
def test_an_event_and_its_value_are_those_that_pyzmq_finds(event, value):
    frames = [struct.pack("=hi", event, value), b"tcp://127.0.0.1:5556"]
    with zmq.Context() as context, context.socket(zmq.PAIR) as sender, context.socket(zmq.PAIR) as monitor:
        sender.bind("inproc://monitor")
        monitor.connect("inproc://monitor")
        sender.send_multipart(frames)
        received = receive_event(monitor)
    if value >= 0:  # pyzmq makes a flag of the value, which has no sign
        expected = parse_monitor_message(frames)
        assert received == (expected["event"], expected["value"])
    assert received == (event, value)


def test_the_connection_of_a_real_socket_is_an_event():
    with zmq.Context() as context, context.socket(zmq.PUB) as public, context.socket(zmq.SUB) as subscriber:
        port = public.bind_to_random_port("tcp://127.0.0.1")
        monitor = subscriber.get_monitor_socket(zmq.Event.HANDSHAKE_SUCCEEDED)
        subscriber.connect(f"tcp://127.0.0.1:{port}")
        assert monitor.poll(60_000)
        assert receive_event(monitor)[0] == zmq.Event.HANDSHAKE_SUCCEEDED
        subscriber.disable_monitor()
        monitor.close()
