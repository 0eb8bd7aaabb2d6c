"""Passes on what several pipelines publish, at one address: subscribers need one key and one connection for a fleet.

    python proxy.py fleet.yaml

    # fleet.yaml
    bind: tcp://0.0.0.0:5560
    keys: keys                              # of this proxy (`eventveil keys new keys`), with its list of subscribers
    lines:
      - {endpoint: "tcp://door.lan:5556", server_key: door.pub, key: keys/secret.key}
      - {endpoint: "tcp://hall.lan:5556", server_key: hall.pub, key: keys/secret.key}

Messages pass unchanged, so subscribers can still check book and certificate. Each pipeline must give its stream
another name (`sources: [{stream: door}]`). The end of a single pipeline is not passed on, since it would end the
subscriptions to all others; Prometheus tells which pipelines are up. ZeroMQ's own proxy would pass subscriptions on,
and with them a subscriber's abuse: the pipelines would expel the proxy. Here the endpoint of `eventveil run` admits and
expels subscribers.
"""

import signal
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import yaml
import zmq

from eventveil.errors import WireError
from eventveil.stream.protocol.keys import read_public, read_secret
from eventveil.stream.protocol.wire import HEADERS, STATE, decode
from eventveil.stream.publisher.listener import listening
from eventveil.stream.publisher.public_endpoint import PublicEndpoint
from eventveil.stream.publisher.subscriptions import SubscriptionTracker
from eventveil.stream.settings.pipeline import PublishSettings
from eventveil.stream.subscriber.subscriber_socket import connect, subscriber_socket

POLL_MS, BATCH = 50, 100
TOPICS = tuple(HEADERS)  # `state` comes last: pipelines count a subscriber when its first subscription arrives


def run(fleet, stop, ready=print):
    """Pass messages on until `stop` is set; call `ready` with the address once subscribers can connect."""
    settings = PublishSettings(bind=fleet["bind"], keys=fleet.get("keys"))
    with (
        listening(settings.bind, keyed=settings.keys is not None) as listener,
        zmq.Context() as context,
        ExitStack() as opened,
    ):
        pipelines = [opened.enter_context(subscription(one, context)) for one in fleet["lines"]]
        public = PublicEndpoint(listener, settings, context)
        opened.callback(public.close)
        subscriptions, poller = SubscriptionTracker(public.socket, public.connections), zmq.Poller()
        for pipeline in pipelines:
            poller.register(pipeline, zmq.POLLIN)
        ready(listener.endpoint)
        while not stop.is_set():
            for pipeline, _ in poller.poll(0 if subscriptions.unread else POLL_MS):
                pass_on(pipeline, public.socket)
            subscriptions.count()
            public.service(subscriptions.take_abusive())


def subscription(pipeline, context):
    keyed = "server_key" in pipeline
    identity = (read_public(Path(pipeline["server_key"])).key, read_secret(Path(pipeline["key"]))) if keyed else None
    socket = subscriber_socket(TOPICS, 1000, context, identity)
    connect(socket, pipeline["endpoint"])
    return socket


def pass_on(pipeline, public):
    """Pass on what has arrived from a pipeline, at most a batch: then it is the turn of the others."""
    for _ in range(BATCH):
        try:
            frames = pipeline.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return
        try:
            message = decode([frame.buffer for frame in frames])
        except WireError as error:
            print(f"a message was not passed on: {error}", file=sys.stderr)
            continue
        if not (message.topic == STATE and message.header.state in ("ended", "failed") and not message.header.stream):
            public.send_multipart(frames, copy=False)


if __name__ == "__main__":
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    run(yaml.safe_load(Path(sys.argv[1]).read_text()), ended)
