"""The last check before data leaves: what is published, what is withheld, and counts that explain every gap."""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import (
    DIGEST,
    LABELS,
    OTHER_DIGEST,
    PROVENANCE,
    RUN,
    SCORES,
    SEAL,
    end,
    link,
    notice,
    origin,
    raw,
    raw_message,
    received,
    sealed_message,
    stage_counters,
    values,
)

from eventveil.errors import BoundaryError
from eventveil.stream.protocol.wire import GESTURE, STATE, WINDOW, Geometry, decode
from eventveil.stream.publisher.contents import Provenance
from eventveil.stream.publisher.publisher import Publisher
from eventveil.stream.runtime.windows import AnonymizedWindow, Seal

NOW_NS = 1_000_000_000_000
AGE_NS = 100_000_000  # the greatest allowed age: 100 ms


@contextmanager
def publishing(*, max_age_ms=None, provenance=PROVENANCE, now_ns=NOW_NS, counters=None):
    """Yield a publisher and a function that returns the messages it has published since the last call."""
    with link(hwm=1000) as (push, pull):
        publisher = Publisher(
            push,
            SEAL,
            provenance,
            counters or stage_counters("publish"),
            run=RUN,
            max_age_ms=max_age_ms,
            clock_ns=lambda: now_ns,
        )
        yield publisher, lambda: [decode(frames) for frames in received(pull)]


def published(*inputs, **settings):
    """Return all messages published for these inputs."""
    with publishing(**settings) as (publisher, out):
        for message in inputs:
            publisher.take(message)
        return out()


def topics_and_numbers(messages):
    return [(message.topic, getattr(message.header, "seq", None)) for message in messages]


def test_a_window_goes_out_as_it_is_with_its_gesture():
    window, gesture = published(sealed_message(6, "cam", lost={"queue": 6}, ended_ns=NOW_NS - 1_234_567))
    assert (window.topic, gesture.topic) == (WINDOW, GESTURE)
    np.testing.assert_array_equal(window.array, values(6))
    assert gesture.array.shape == (0,)
    for header in (window.header, gesture.header):
        assert (header.stream, header.seq, header.t_start_us, header.t_end_us) == ("cam", 6, 60, 70)
        assert header.sensor == Geometry(width=4, height=3)
        assert header.age_ms == 1
        assert (header.anonymizer, header.trained, header.certificate) == (DIGEST, False, None)
        assert (header.lost, header.run, header.life) == ({"queue": 6}, RUN, 1)
    assert (gesture.header.labels, gesture.header.label, gesture.header.probability) == (LABELS, "wave", 0.5)
    assert (gesture.header.classifier, gesture.header.classifier_trained) == (OTHER_DIGEST, True)


def test_without_a_classifier_only_the_window_goes_out():
    provenance = Provenance(OTHER_DIGEST, trained=True)
    (window,) = published(sealed_message(scores=None), provenance=provenance)
    assert (window.topic, window.header.anonymizer, window.header.trained) == (WINDOW, OTHER_DIGEST, True)


FORGED = AnonymizedWindow(origin(), raw().counts.astype(np.float32), bytes(32))


@pytest.mark.parametrize(
    "window",
    [
        raw(),
        FORGED,
        FORGED.with_scores(SCORES),
        Seal(b"of another run").set(origin(), values()),
        replace(sealed_message().window, values=values(99)),
        replace(sealed_message().window, origin=origin(stream="1")),
        b"a window",
    ],
)
@pytest.mark.parametrize("max_age_ms", [None, 100])
def test_what_is_not_the_anonymizers_is_refused_and_nothing_comes_out(window, max_age_ms):
    with publishing(max_age_ms=max_age_ms) as (publisher, out):
        with pytest.raises(BoundaryError):
            publisher.take(replace_window(raw_message(), window))
        assert out() == []
        assert publisher.figures()["counts"]["windows"] == 0


def replace_window(message, window):
    message.window = window
    return message


@pytest.mark.parametrize(
    "scores",
    [
        np.float32([0.5, 0.5]),
        np.float32([0.25] * 4),
        np.float32([[0.2, 0.3, 0.5]]),
        np.float32([np.nan, 0.5, 0.5]),
        np.float32([0.5, np.inf, 0.5]),
        np.float32([17, 3, 250]),
        np.float32([0.5, -0.1, 0.6]),
    ],
)
def test_scores_that_are_not_probabilities_are_refused(scores):
    with publishing() as (publisher, out):
        with pytest.raises(BoundaryError, match="scores that are not 3 probabilities: refused") as caught:
            publisher.take(sealed_message(scores=scores))
        assert out() == []
    assert "250" not in str(caught.value)


def test_of_the_scores_only_the_label_and_whole_percents_leave():
    scores = np.float32([0.41234567, 0.45678912, 0.13086521])
    with link(hwm=1000) as (push, pull):
        publisher = Publisher(
            push, SEAL, PROVENANCE, stage_counters("publish"), run=RUN, max_age_ms=None, clock_ns=lambda: NOW_NS
        )
        publisher.take(sealed_message(scores=scores))
        frames = [frame for message in received(pull) for frame in message]
    gesture = decode(frames[3:])
    assert (gesture.header.label, gesture.header.probability) == ("wave", 0.46)
    for score in scores:
        assert not any(score.tobytes() in frame or str(score)[:6].encode() in frame for frame in frames)


def test_no_figure_counts_a_withheld_window_but_the_number_of_them():
    notes = []
    with link(hwm=1000) as (push, _):
        publisher = Publisher(
            push, SEAL, PROVENANCE, stage_counters("publish"),
            run=RUN, max_age_ms=None, note=notes.append, clock_ns=lambda: NOW_NS,
        )  # fmt: skip
        for message in overlapping(3, hop_us=4, ended_ns=NOW_NS - AGE_NS):
            publisher.take(message)
        figures = publisher.figures()
    assert [note.seq for note in notes] == [0]
    assert figures["counts"] == {"received": 3, "windows": 1, "gestures": 1}
    assert figures["dropped"] == {"overlap": 2}
    assert sum(figures["age"].counts) == 1


def test_scores_are_refused_where_there_is_no_classifier():
    with publishing(provenance=Provenance(DIGEST, trained=True)) as (publisher, _), pytest.raises(BoundaryError):
        publisher.take(sealed_message())


def test_a_window_too_old_is_withheld_in_live_delivery_and_counted():
    old, young = NOW_NS - AGE_NS - 1, NOW_NS - AGE_NS
    with publishing(max_age_ms=100) as (publisher, out):
        publisher.take(sealed_message(seq=0, ended_ns=old))
        publisher.take(sealed_message(seq=1, ended_ns=young))
        messages = out()
        assert topics_and_numbers(messages) == [(WINDOW, 1), (GESTURE, 1)]
        assert [message.header.lost for message in messages] == [{"age": 1}, {"age": 1}]
        figures = publisher.figures()
    assert figures["counts"] == {"received": 2, "windows": 1, "gestures": 1}
    assert figures["dropped"] == {"age": 1}
    assert sum(figures["age"].counts) == 1


def test_no_window_is_too_old_in_lossless_delivery():
    messages = published(sealed_message(ended_ns=NOW_NS - 3600 * 10**9), max_age_ms=None)
    assert topics_and_numbers(messages) == [(WINDOW, 0), (GESTURE, 0)]
    assert messages[0].header.age_ms == 3_600_000


def test_a_window_from_the_future_has_no_age():
    assert published(sealed_message(ended_ns=NOW_NS + 5))[0].header.age_ms == 0


def overlapping(count, hop_us, **where):
    return [sealed_message(seq, start_us=seq * hop_us, span_us=10, **where) for seq in range(count)]


def test_of_windows_that_overlap_one_is_published_and_nothing_of_the_others():
    messages = published(*overlapping(7, hop_us=4), end())
    assert topics_and_numbers(messages) == [
        *[(WINDOW, 0), (GESTURE, 0), (WINDOW, 3), (GESTURE, 3), (WINDOW, 6), (GESTURE, 6), (STATE, None)],
    ]
    for topic in (WINDOW, GESTURE):
        lost = [message.header.lost for message in messages if message.topic == topic]
        assert lost == [{}, {"overlap": 2}, {"overlap": 4}]
    assert messages[-1].header.lost == {"overlap": 4}


def test_windows_that_only_touch_are_all_published():
    assert topics_and_numbers(published(*overlapping(3, hop_us=10)))[::2] == [(WINDOW, 0), (WINDOW, 1), (WINDOW, 2)]


def test_windows_of_other_streams_do_not_overlap():
    messages = published(*overlapping(1, hop_us=1, stream="a"), *overlapping(1, hop_us=1, stream="b"))
    assert [message.header.stream for message in messages if message.topic == WINDOW] == ["a", "b"]


def test_a_window_before_the_published_one_is_withheld_too():
    messages = published(sealed_message(0, start_us=100), sealed_message(1, start_us=50))
    assert topics_and_numbers(messages) == [(WINDOW, 0), (GESTURE, 0)]


def test_a_withheld_window_does_not_withhold_the_ones_it_overlaps():
    """A window that was never published reveals nothing, so windows that share its bins may be published."""
    old = sealed_message(0, start_us=0, ended_ns=NOW_NS - 2 * AGE_NS)
    young = sealed_message(1, start_us=4, ended_ns=NOW_NS)
    assert topics_and_numbers(published(old, young, max_age_ms=100)) == [(WINDOW, 1), (GESTURE, 1)]


def test_what_happened_to_the_camera_is_reported():
    lost, back, window, _ = published(
        notice("camera_lost", "cam"), notice("camera_back", "cam"), sealed_message(stream="cam", incidents={"away": 1})
    )
    assert [(one.topic, one.header.state, one.header.stream) for one in (lost, back)] == [
        (STATE, "camera_lost", "cam"), (STATE, "camera_back", "cam"),
    ]  # fmt: skip
    assert window.header.incidents == {"away": 1}


def test_the_end_of_a_stream_tells_all_that_was_lost():
    (ended,) = published(end("cam", {"queue": 2}, made=2))
    assert (ended.topic, ended.header.state, ended.header.stream) == (STATE, "ended", "cam")
    assert ended.header.lost == {"queue": 2}
    assert ended.array.size == 0


def test_a_source_that_failed_is_announced_as_failed():
    (failed,) = published(end("cam", {"queue": 2}, made=2, failed=True))
    assert (failed.topic, failed.header.state, failed.header.stream) == (STATE, "failed", "cam")
    assert (
        failed.header.reason
        == "the source failed; all that it had read was published, and the pipeline's own log says why"
    )
    assert failed.header.lost == {"queue": 2}


@pytest.mark.parametrize(("state", "reason"), [("ended", ""), ("failed", "its own log says why")])
def test_the_end_of_the_pipeline_is_announced(state, reason):
    with publishing() as (publisher, out):
        publisher.announce(state)
        (message,) = out()
    assert (message.header.state, message.header.stream) == (state, None)
    assert message.header.reason.endswith(reason)
    assert bool(message.header.reason) == bool(reason)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 2), st.sampled_from([1, 3, 10, 25]), st.booleans()), max_size=30
    )
)
def test_every_gap_is_explained_and_no_bin_is_published_twice(steps):
    """Whether windows were lost before, overlap, or are too old: the counts of each topic explain its gaps."""
    made, lost, starts, inputs = Counter(), Counter(), Counter(), []
    for stream, lost_before, hop_us, old in steps:
        seq = made[stream] + lost_before
        lost[stream] += lost_before
        made[stream] = seq + 1
        starts[stream] += hop_us
        ended_ns = NOW_NS - 2 * AGE_NS if old else NOW_NS
        inputs.append(
            sealed_message(seq, stream, lost={"queue": lost[stream]}, start_us=starts[stream], ended_ns=ended_ns)
        )
    with publishing(max_age_ms=100) as (publisher, out):
        for message in [*inputs, *(end(stream, {"queue": lost[stream]}, made[stream]) for stream in "ab")]:
            publisher.take(message)
        messages, figures = out(), publisher.figures()
    last = defaultdict(lambda: (-1, 0))
    published_until = {}
    for message in messages:
        header = message.header
        assert message.topic in (WINDOW, GESTURE, STATE)
        if message.topic == STATE:
            for topic in (WINDOW, GESTURE):
                seq, lost = last[topic, header.stream]
                assert made[header.stream] - seq - 1 == sum(header.lost.values()) - lost
            continue
        seq, lost = last[message.topic, header.stream]
        assert header.seq - seq - 1 == sum(header.lost.values()) - lost
        last[message.topic, header.stream] = header.seq, sum(header.lost.values())
        if message.topic == WINDOW:
            assert header.t_start_us >= published_until.get(header.stream, header.t_start_us)
            published_until[header.stream] = header.t_end_us
    counts = Counter(message.topic for message in messages)
    assert figures["counts"] == {"received": len(steps), "windows": counts[WINDOW], "gestures": counts[GESTURE]}
    assert counts[WINDOW] + sum(figures["dropped"].values()) == len(steps)
    assert counts[GESTURE] == counts[WINDOW]


def test_the_delays_of_what_was_published_are_reported():
    with publishing(max_age_ms=100) as (publisher, _):
        assert publisher.values() == dict.fromkeys(["latency_p50_ms", "latency_p99_ms", "all_p50_ms", "all_p99_ms"])
        for seq, delay_ms in enumerate([10, 10, 50, 500]):
            publisher.take(sealed_message(seq, ended_ns=NOW_NS - delay_ms * 1_000_000))
        delays = publisher.values()
        assert (delays["latency_p50_ms"], delays["latency_p99_ms"]) == pytest.approx((10, 50), rel=0.02)
        delays = publisher.values()
        assert (delays["latency_p50_ms"], delays["all_p50_ms"]) == (None, pytest.approx(10, rel=0.02))
