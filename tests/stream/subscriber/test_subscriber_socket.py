"""The subscriber's socket against a real public one."""

from __future__ import annotations

import zmq
from endpoint_helpers import open_endpoint
from pipeline_helpers import PATIENCE_MS

from eventveil.stream.subscriber.subscriber_socket import connect, subscriber_socket


def test_a_subscriber_with_a_full_queue_misses_messages_and_delays_no_one(context):
    with open_endpoint(context, 3) as endpoint:
        public = endpoint.socket
        public.rcvtimeo = PATIENCE_MS
        assert public.sndhwm == 3
        with subscriber_socket(("window",), 2, context) as subscriber:
            connect(subscriber, public.last_endpoint.decode())
            assert subscriber.rcvhwm == 2
            assert public.recv() == b"\x01window"
            for _ in range(2000):
                public.send_multipart([b"window", bytes(20_000)], zmq.NOBLOCK)
        assert public.recv() == b"\x00window"
