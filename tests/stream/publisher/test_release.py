"""When messages are published: at a constant delay after the end of their window, whatever the camera saw."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import PROVENANCE, RUN, SEAL, end, link, notice, received, sealed_message, signals, stage_counters

from eventveil.stream.protocol.wire import GESTURE, STATE, WINDOW, decode
from eventveil.stream.publisher.loop import PublishLoop
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.publisher.release import ReleaseQueue

MS = 1_000_000
RELEASE_MS, WINDOW_MS, QUIET_MS = 250, 100, 100


def timed_message(seq, stream="0", *, ended_ms, release_ms=RELEASE_MS):
    """A message whose window ended at a time of the test's clock."""
    release_ns = None if release_ms is None else (ended_ms + release_ms) * MS
    return sealed_message(seq, stream, ended_ns=ended_ms * MS, release_ns=release_ns)


class Publishing:
    """A publisher under the test's clock, and what a watcher of its socket sees."""

    def __init__(self, push, pull, max_age_ms):
        self.now_ms = 0
        self._pull = pull
        self.counters = stage_counters("publish")
        self.publisher = Publisher(
            push, SEAL, PROVENANCE, self.counters, run=RUN, max_age_ms=max_age_ms, clock_ns=lambda: self.now_ms * MS
        )
        self.seen = []

    def play(self, arrivals):
        """Take each message at its time, given as {ms: [message]}, and publish what is due at any time."""
        while arrivals or self.publisher.holds_messages:
            left_s = self.publisher.until_release_s
            due = [] if left_s is None else [self.now_ms + round(left_s * 1000)]
            self.now_ms = min([*arrivals, *due])
            for message in arrivals.pop(self.now_ms, []):
                self.publisher.take(message)
            self.publisher.release()
            self.look()
        return self.seen

    def look(self):
        self.seen += [(self.now_ms, decode(frames)) for frames in received(self._pull)]

    def packets(self):
        return [(now_ms, message.topic, message.array.nbytes) for now_ms, message in self.seen]


@contextmanager
def publishing(max_age_ms=1000):
    with link(hwm=10_000) as (push, pull):
        yield Publishing(push, pull, max_age_ms)


def arrivals(pattern):
    """Windows as a camera makes them: complete with the next event, at the latest once the silence has lasted."""
    complete_ms, made = [], {}
    for seq, busy in reversed(list(enumerate([*pattern, False]))):  # a window is complete before the next one
        first_ms = seq * WINDOW_MS + (3 if busy else QUIET_MS)
        complete_ms.insert(0, min([first_ms, *complete_ms[:1]]))
    for seq in range(len(pattern)):
        message = timed_message(seq, ended_ms=(seq + 1) * WINDOW_MS)
        made.setdefault(max(complete_ms[seq + 1], (seq + 1) * WINDOW_MS), []).append(message)
    return made


@given(st.lists(st.booleans(), min_size=8, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_watcher_of_arrival_times_sees_the_same_whatever_moved(one, other):
    watched = []
    for pattern in (one, other):
        with publishing() as pipeline:
            pipeline.play(arrivals(pattern))
            watched.append(pipeline.packets())
    assert watched[0] == watched[1]
    assert [now_ms for now_ms, topic, _ in watched[0] if topic == WINDOW] == [
        (seq + 1) * WINDOW_MS + RELEASE_MS for seq in range(8)
    ]


def test_the_age_in_a_header_is_that_of_the_release_however_early_the_window_came():
    with publishing() as pipeline:
        pipeline.play(arrivals([True, False, True]))
        assert {message.header.age_ms for _, message in pipeline.seen} == {RELEASE_MS}


def test_in_live_delivery_a_window_too_late_for_its_release_is_withheld_and_counted():
    late, punctual = timed_message(0, ended_ms=0), timed_message(1, ended_ms=100)
    with publishing(max_age_ms=1000) as pipeline:
        seen = pipeline.play({251: [late], 350: [punctual]})
    assert [(now_ms, message.topic, message.header.seq) for now_ms, message in seen] == [
        (350, WINDOW, 1),
        (350, GESTURE, 1),
    ]
    assert [message.header.lost for _, message in seen] == [{"age": 1}] * 2


def test_in_lossless_delivery_a_late_window_is_published_late_and_its_age_says_so():
    with publishing(max_age_ms=None) as pipeline:
        seen = pipeline.play({251: [timed_message(0, ended_ms=0)], 300: [timed_message(1, ended_ms=100)]})
    assert [(now_ms, message.header.age_ms) for now_ms, message in seen if message.topic == WINDOW] == [
        (251, 251),
        (350, 250),
    ]


def test_a_window_of_a_source_without_a_clock_is_published_at_once():
    with publishing() as pipeline:
        seen = pipeline.play({7: [timed_message(0, ended_ms=4, release_ms=None)]})
    assert [now_ms for now_ms, _ in seen] == [7, 7]


def test_a_notice_and_an_end_do_not_overtake_the_windows_before_them():
    with publishing() as pipeline:
        messages = [timed_message(0, ended_ms=100), notice("camera_lost"), notice("camera_back"), end(made=1)]
        seen = pipeline.play({110: messages, 120: [timed_message(0, "1", ended_ms=90), end("1", made=1)]})
    assert [(now_ms, message.topic, message.header.stream) for now_ms, message in seen] == [
        *((340, topic, "1") for topic in (WINDOW, GESTURE, STATE)),
        *((350, topic, "0") for topic in (WINDOW, GESTURE, STATE, STATE, STATE)),
    ]


def test_what_is_lost_after_a_held_window_is_not_in_its_header():
    with publishing() as pipeline:
        seen = pipeline.play({10: [timed_message(0, ended_ms=0)], 400: [timed_message(1, ended_ms=100), end(made=2)]})
    assert [message.header.lost for _, message in seen] == [{}, {}, {"age": 1}]


def test_a_flush_publishes_all_that_is_held():
    with publishing() as pipeline:
        pipeline.now_ms = 110
        for message in (timed_message(0, ended_ms=100), timed_message(0, "1", ended_ms=5_000), end("1", made=1)):
            pipeline.publisher.take(message)
        assert pipeline.publisher.until_release_s == pytest.approx(0.24)
        assert pipeline.publisher.figures()["counts"]["windows"] == 0
        pipeline.publisher.flush()
        pipeline.look()
    assert [message.topic for _, message in pipeline.seen] == [WINDOW, GESTURE, WINDOW, GESTURE, STATE]
    assert not pipeline.publisher.holds_messages


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 30),  # ms after the message before it
        st.one_of(st.none(), st.integers(-20, 60)),  # release, from its arrival; None: a notice
    ),
    max_size=20,
)


@given(MESSAGES)
def test_messages_come_out_as_a_slow_twin_lets_them_out(steps):
    queue, waiting, now_ns, out, expected = ReleaseQueue(), [], 0, [], []
    for number, (stream, wait_ns, release) in enumerate(steps):
        now_ns += wait_ns
        made = notice("camera_lost", stream)
        if release is not None:
            made = sealed_message(number, stream, release_ns=now_ns + release)
        queue.put(made, now_ns)
        earlier = [due_ns for due_ns, _, other in waiting if other.stream == stream]
        waiting.append((max([now_ns, now_ns + (release or 0), *earlier]), number, made))
        out += [(due_ns, message) for message, due_ns in queue.take(now_ns)]
        expected = [(due_ns, each) for due_ns, _, each in sorted(waiting, key=lambda one: one[:2]) if due_ns <= now_ns]
        assert [id(message) for _, message in out] == [id(message) for _, message in expected]
        assert [due_ns for due_ns, _ in out] == [due_ns for due_ns, _ in expected]
    rest = [message for message, _ in queue.take(None)]
    assert len(out) + len(rest) == len(steps)
    assert queue.next_ns is None


class Endpoint:
    """A public endpoint without clients."""

    def __init__(self, socket):
        self.socket = socket
        self.connections = SimpleNamespace(sender=lambda _frame: None, all_read=lambda: False)

    def service(self, abusive=()):
        pass

    def counts(self):
        return {}


@pytest.mark.parametrize("unread", [False, True])
def test_the_loop_waits_for_no_message_while_subscriptions_are_unread(monkeypatch, unread):
    stage_signals, waits_ms = signals(), []
    publisher = SimpleNamespace(
        holds_messages=True, until_release_s=None, certify=lambda: None, announce=lambda _state: None
    )

    def poll(wait_ms):
        waits_ms.append(wait_ms)
        stage_signals.abort.set()
        return False

    loop = PublishLoop(publisher, Endpoint(SimpleNamespace()), SimpleNamespace(poll=poll), stage_counters("publish"))
    monkeypatch.setattr(loop._subscriptions, "count", lambda: 0)
    loop._subscriptions.unread = unread
    loop.run(stage_signals, SimpleNamespace(beat=lambda: None))
    assert bool(waits_ms[0]) is not unread


@pytest.mark.parametrize("stopped", [False, True])
def test_the_loop_publishes_what_is_held_before_it_ends(stopped):
    """Without a stop it waits for the release, here 0.05 s away; after a stop it waits for nothing."""
    import time

    import zmq

    from eventveil.stream.runtime.message import pack

    stage_signals, counters = signals(), stage_counters("publish")
    ended_ns = time.monotonic_ns()
    release_ns = ended_ns + (3_600_000 if stopped else 50) * MS
    with link(hwm=100) as (push, pull), zmq.Context() as context, context.socket(zmq.XPUB) as public:
        public.bind("inproc://public")
        subscriber = context.socket(zmq.SUB)
        subscriber.subscribe("")
        subscriber.connect("inproc://public")
        publisher = Publisher(public, SEAL, PROVENANCE, counters, run=RUN, max_age_ms=None)
        loop = PublishLoop(publisher, Endpoint(public), pull, counters)
        for stream in (name for name, _ in counters):
            push.send_multipart(pack(sealed_message(0, stream, ended_ns=ended_ns, release_ns=release_ns)))
            push.send_multipart(pack(end(stream, made=1)))
        if stopped:
            stage_signals.stop.set()
        loop.run(stage_signals, SimpleNamespace(beat=lambda: None))
        assert (time.monotonic_ns() >= release_ns) is not stopped
        messages = [decode(frames) for frames in received(subscriber)]
        subscriber.close()
    assert sum(message.topic == WINDOW for message in messages) == len(list(counters))
    assert [message.header.state for message in messages[-1:]] == ["ended"]
