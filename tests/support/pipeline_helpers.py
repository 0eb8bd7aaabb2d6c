"""Small parts of a pipeline for its tests: windows, messages, and real sockets that the test owns and closes."""

from __future__ import annotations

import itertools
import socket
import threading
from collections import Counter
from contextlib import contextmanager

import numpy as np
import pytest
import zmq

from eventveil import Sensor
from eventveil.stream.protocol.wire import EventsHeader, Geometry, GestureHeader, StateHeader, WindowHeader, encode
from eventveil.stream.publisher.contents import Provenance
from eventveil.stream.runtime.accounting import PipelineCounters
from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.signals import Signals
from eventveil.stream.runtime.windows import Origin, RawWindow, Seal

SENSOR = Sensor(4, 3)
DIGEST, OTHER_DIGEST = "ab" * 32, "cd" * 32
LABELS = ("clap", "wave", "roll")
SCORES = np.array([0.25, 0.5, 0.25], np.float32)
PROVENANCE = Provenance(DIGEST, trained=False, classifier=OTHER_DIGEST, classifier_trained=True, labels=LABELS)
SEAL = Seal(b"k" * 32)
STREAMS = ("0", "1", "a", "b", "c", "cam")
RUN = "12ab" * 4
PATIENCE_MS = 60_000  # for messages that must come, on the busiest machine

_names = itertools.count()


def _has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no ::1")


def origin(seq=0, stream="0", *, start_us=None, span_us=10, ended_ns=0, release_ns=None, incidents=()):
    """Where and when; windows are adjacent unless `start_us` says otherwise."""
    start_us = seq * 10 if start_us is None else start_us
    return Origin(stream, SENSOR, seq, start_us, start_us + span_us, ended_ns, release_ns, dict(incidents))


def values(seed=0):
    """Possible output of an anonymizer: float32 (C, H, W)."""
    return np.random.default_rng(seed).normal(0, 3, (2, 3, 4)).astype(np.float32)


def raw(seq=0, stream="0", **where):
    """A raw window with counts that no other window has."""
    return RawWindow(origin(seq, stream, **where), np.arange(seq, seq + 24, dtype=np.uint16).reshape(1, 2, 3, 4))


def raw_message(seq=0, stream="0", lost=None, **where):
    """A message with a raw window."""
    return StageMessage(stream, raw(seq, stream, **where), Counter(lost))


def sealed_message(seq=0, stream="0", *, scores=SCORES, lost=None, **where):
    """A message with an anonymized and classified window, for the publisher."""
    window = SEAL.set(origin(seq, stream, **where), values(seq))
    return StageMessage(stream, window if scores is None else window.with_scores(scores), Counter(lost))


def end(stream="0", lost=None, made=0, *, failed=False):
    """The end of a stream."""
    return StageMessage(stream, None, Counter(lost), made=made, failed=failed)


def window_header(**changed):
    """The header of a window, as a publisher writes it."""
    common = {"sensor": Geometry(width=4, height=3), "stream": "0", "seq": 0, "t_start_us": 0, "t_end_us": 10}
    origin = {"run": RUN, "life": 1, "age_ms": 250, "anonymizer": DIGEST, "trained": False}
    return WindowHeader.model_validate({"shape": (2, 3, 4)} | common | origin | changed)


WORD = {"book": OTHER_DIGEST, "word": 7, "bits_per_second": 6.92}
"""What the headers of a stand-in also hold."""


def events_header(**changed):
    """The header of a word's events, as a publisher writes it."""
    common = window_header().model_dump(exclude={"shape", "dtype", "sensor"}) | {"sensor": Geometry(width=4, height=3)}
    return EventsHeader.model_validate(common | WORD | {"shape": (2,)} | changed)


def word_gesture_header(**changed):
    """The header of the gesture of a word, as a publisher writes it."""
    of_word = {"probability": None, "presence": True, "classifier": None, "classifier_trained": None}
    return gesture_header(**(WORD | of_word | changed))


def gesture_header(**changed):
    """The header of a gesture, as a publisher writes it."""
    gesture = {"shape": (0,), "labels": LABELS, "label": "wave", "probability": 0.5}
    classifier = {"classifier": OTHER_DIGEST, "classifier_trained": True}
    common = window_header().model_dump(exclude={"shape", "sensor"}) | {"sensor": Geometry(width=4, height=3)}
    return GestureHeader.model_validate(common | gesture | classifier | changed)


def notice(kind, stream="0", lost=None):
    """A notice about the camera."""
    return StageMessage(stream, None, Counter(lost), kind)


def pipeline_ended(state="ended", **changed):
    """The message that ends a subscription."""
    return StateHeader.model_validate({"state": state} | changed)


@contextmanager
def link(hwm=1):
    """A connected PUSH/PULL pair in this process; nothing survives the test."""
    name = f"inproc://link-{next(_names)}"
    with zmq.Context() as context, context.socket(zmq.PULL) as pull, context.socket(zmq.PUSH) as push:
        pull.rcvhwm = push.sndhwm = hwm
        pull.linger = push.linger = 0
        pull.rcvtimeo = push.sndtimeo = PATIENCE_MS
        pull.bind(name)
        push.connect(name)
        yield push, pull


def received(pull):
    """All messages that have arrived, as lists of bytes."""
    messages = []
    while pull.poll(0):
        messages.append(pull.recv_multipart())
    return messages


def signals():
    """A supervisor's signals, none of them set."""
    return Signals.of(PipelineCounters((), ()))


def stage_counters(stage="anonymize"):
    """The counters of a new stage, for all streams that tests use."""
    counters = PipelineCounters((stage,), STREAMS)[stage]
    counters.life = 1
    return counters


@contextmanager
def publisher(*messages, topics=3):
    """A publisher on a free TCP port, in a thread: sends the messages once `topics` subscriptions have come.

    Yields the endpoint. A message is a list of frames.
    """
    with zmq.Context() as context, context.socket(zmq.XPUB) as public:
        public.linger, public.rcvtimeo = 0, PATIENCE_MS
        port = public.bind_to_random_port("tcp://127.0.0.1")

        def publish():
            for _ in range(topics):
                public.recv()
            for frames in messages:
                public.send_multipart(frames)

        thread = threading.Thread(target=publish)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{port}"
        finally:
            thread.join()


def window(seq=0, **changed):
    return [bytes(frame) for frame in encode(window_header(seq=seq, **changed), values(seq))]


def gesture(seq=0, **changed):
    return [bytes(frame) for frame in encode(gesture_header(seq=seq, **changed))]


def state(**changed):
    return [bytes(frame) for frame in encode(pipeline_ended(**changed))]
