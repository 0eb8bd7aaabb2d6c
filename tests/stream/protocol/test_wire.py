"""The public wire format: encoded messages decode to the same, and invalid bytes raise a WireError."""

from __future__ import annotations

import contextlib
import json
import math
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import (
    DIGEST,
    LABELS,
    OTHER_DIGEST,
    RUN,
    WORD,
    events_header,
    gesture_header,
    pipeline_ended,
    values,
    window_header,
    word_gesture_header,
)

from eventveil.errors import WireError
from eventveil.events import EventPacket
from eventveil.stream.protocol.event_records import event_records
from eventveil.stream.protocol.wire import MAX_HEADER, MAX_VALUES, WindowHeader, decode, encode

TWO_EVENTS = event_records(EventPacket.of([-5, 2**62], [3, 65_535], [1, 2], [1, 0]))
ROUND_TRIPS = [
    (window_header(seq=7, t_start_us=-30, t_end_us=2**62, lost={"queue": 3, "age": 1}), values()),
    (window_header(trained=True, certificate=OTHER_DIGEST, stream="cam-1_a.b"), values(1)),
    (window_header(incidents={"overflow": 2, "backlog": 1, "away": 1, "clock": 3}), values()),
    (gesture_header(age_ms=0, probability=1, lost={"queue": 2**40}), None),
    (gesture_header(label=None, probability=None), None),
    (window_header(**WORD), values()),
    (word_gesture_header(presence=False), None),
    (events_header(), TWO_EVENTS),
    (events_header(shape=(0,)), TWO_EVENTS[:0]),
    (pipeline_ended(stream="0", lost={"overlap": 2}), None),
    (pipeline_ended("failed", reason="r" * 1024), None),
    (pipeline_ended("camera_lost", stream="cam"), None),
    (pipeline_ended("camera_back", stream="cam"), None),
]


def as_bytes(frames):
    assert all(memoryview(frame).c_contiguous for frame in frames)  # ZeroMQ requires it
    return [bytes(frame) for frame in frames]


@pytest.mark.parametrize(("header", "array"), ROUND_TRIPS)
def test_what_is_encoded_is_decoded(header, array):
    frames = as_bytes(encode(header, array))
    message = decode(frames)
    assert message.topic == frames[0].decode()
    assert message.header == header
    assert type(message.header) is type(header)
    np.testing.assert_array_equal(message.array, np.empty(0) if array is None else array)
    assert message.array.dtype == (np.float32 if header.dtype == "<f4" else TWO_EVENTS.dtype)
    assert not message.array.flags.writeable
    assert message.missing == {}


def test_the_bytes_are_as_documented():
    topic, header, payload = as_bytes(encode(gesture_header()))
    assert (topic, payload) == (b"gesture", b"")
    assert json.loads(header) == {
        "version": 3,
        "shape": [0],
        "dtype": "<f4",
        "stream": "0",
        "sensor": {"width": 4, "height": 3},
        "run": RUN,
        "life": 1,
        "seq": 0,
        "t_start_us": 0,
        "t_end_us": 10,
        "age_ms": 250,
        "lost": {},
        "incidents": {},
        "anonymizer": DIGEST,
        "trained": False,
        "certificate": None,
        "book": None,
        "word": None,
        "bits_per_second": None,
        "labels": list(LABELS),
        "label": "wave",
        "probability": 0.5,
        "presence": None,
        "classifier": OTHER_DIGEST,
        "classifier_trained": True,
    }


def test_an_array_in_any_layout_travels_in_the_order_of_its_axes():
    array = values().transpose(2, 0, 1)[::-1]
    message = decode(as_bytes(encode(window_header(shape=array.shape), array)))
    np.testing.assert_array_equal(message.array, array)


def refused(frames, *, because):
    """Return the message of the WireError that the frames cause, which must be short whatever they contain."""
    with pytest.raises(WireError, match=because) as caught:
        decode(frames)
    assert len(str(caught.value)) < 400
    return str(caught.value)


def with_header(topic="window", **changed):
    """Return a valid message with some header keys changed, or removed where the value is `...`."""
    headers = {"window": window_header, "gesture": gesture_header, "events": events_header, "state": pipeline_ended}
    header, array = headers[topic](), {"window": values(), "events": TWO_EVENTS}.get(topic)
    frames = as_bytes(encode(header, array))
    keys = json.loads(frames[1]) | changed
    return [frames[0], json.dumps({k: v for k, v in keys.items() if v is not ...}).encode(), frames[2]]


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_a_message_has_three_frames(count):
    refused([b"window"] * count, because=f"expected 3 frames.*got {count}")


@pytest.mark.parametrize("topic", [b"", b"windo", b"windows", b"WINDOW", b"\xff\xfe", b"raw", b"event", b"x" * 10_000])
def test_an_unknown_topic_is_refused(topic):
    refused([topic, *with_header()[1:]], because="unknown topic .*known: window, gesture, events, state")


@pytest.mark.parametrize(
    "header", [b"", b"\xff\xfe", b"{", b"[]", b"null", b"[" * 5_000, b'{"version": 1', b'"' + b"x" * 9_999 + b'"']
)
def test_a_header_that_is_not_a_json_object_is_refused(header):
    refused([b"window", header, b""], because="window header: 'header':")


@pytest.mark.parametrize("topic", ["window", "gesture", "events", "state"])
def test_a_header_key_that_is_not_known_is_refused(topic):
    decode(with_header(topic))
    assert "identity" in refused(with_header(topic, identity=3), because="not permitted")
    refused(with_header(topic, **{"k" * 100_000: 1}), because="not permitted")
    assert "\x1b" not in refused(with_header(topic, **{"\x1b[2J": 1}), because="not permitted")


@pytest.mark.parametrize(
    "key", ["shape", "stream", "sensor", "seq", "t_start_us", "t_end_us", "age_ms", "anonymizer", "trained"]
)
def test_a_header_key_that_is_missing_is_named(key):
    refused(with_header(**{key: ...}), because=f"header: '{key}': Field required")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("version", value) for value in (0, 1, 2, 4, "3", None, 3.5)],
        *[("dtype", value) for value in ("<u2", ">f4", "<f8", "O", "object", "", 4)],
        *[("seq", value) for value in (-1, 1.5, "5", True, 2**63, None)],
        *[("t_start_us", value) for value in (2**63, -(2**63) - 1, 0.5, "0")],
        *[("age_ms", value) for value in (-1, 1.5, math.nan, math.inf, "1", None)],
        *[("trained", value) for value in ("yes", 1, None)],
        *[("anonymizer", value) for value in ("", "ab", "AB" * 32, "zz" * 32, DIGEST + "\n", None)],
        *[("certificate", value) for value in ("", "none", 3)],
        *[("book", value) for value in ("", "none", 3)],
        *[("word", value) for value in (-1, 1.0, "1", True)],
        *[("bits_per_second", value) for value in (-0.1, "6", math.nan, math.inf, True)],
        *[("stream", value) for value in ("", "a/b", "../../etc/passwd", "a\n", "\x1b[31m", "n" * 65, 0)],
        *[("sensor", value) for value in ({}, {"width": 4}, {"width": 0, "height": 1}, {"width": 65537, "height": 1})],
        ("sensor", {"width": 4, "height": 3, "serial": "0001"}),
        *[("lost", value) for value in ({"queue": -1}, {"queue": 0.5}, {"q" * 257: 1}, [], None)],
    ],
)
def test_a_value_that_is_not_as_documented_is_refused(key, value):
    assert f"header: '{key}" in refused(with_header(**{key: value}), because=r"version 3 of the format|bytes")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *[("probability", value) for value in (1.01, -0.01, 0.123, 0.5000001, math.nan)],
        *[("labels", value) for value in ([1], ["\x1b[2J"])],
        *[("label", value) for value in ("wave\n", "\x9b2J", "w" * 257)],
        ("classifier", ""),
        *[("shape", value) for value in ([3], [], [0, 0])],
    ],
)
def test_a_gesture_that_is_not_as_documented_is_refused(key, value):
    refused(with_header("gesture", **{key: value}), because=f"gesture header: '{key}")


@pytest.mark.parametrize(
    ("topic", "changed"),
    [
        *[("window", {key: WORD[key]}) for key in WORD],
        *[("gesture", {key: WORD[key] for key in WORD if key != left_out}) for left_out in WORD],
        ("gesture", WORD),  # of a classifier
        ("gesture", {"presence": True}),
        ("gesture", {"classifier": None}),
        ("gesture", {"classifier_trained": None}),
        ("gesture", {"classifier": None, "classifier_trained": None, "presence": True}),
        ("gesture", {"label": None}),
        ("gesture", {"probability": None}),
        ("events", {"word": None}),
    ],
)
def test_what_belongs_together_comes_together(topic, changed):
    refused(with_header(topic, **changed), because=f"{topic} header: 'header': Value error")


@pytest.mark.parametrize(
    "changed", [{"shape": [3]}, {"shape": [1]}, {"shape": [2**70]}, {"shape": [2, 1]}, {"dtype": "<f4"}]
)
def test_events_of_another_number_or_type_are_refused(changed):
    refused(with_header("events", **changed), because="events|<i8")


def test_events_are_followed_by_zeros_only():
    frames = as_bytes(encode(events_header(), TWO_EVENTS, payload_size=1_000))
    assert len(frames[2]) == 1_000
    np.testing.assert_array_equal(decode(frames).array, TWO_EVENTS)
    refused([*frames[:2], frames[2][:-1] + b"\x01"], because="bytes other than zeros")
    refused([*frames[:2], frames[2][:25]], because="got 25 bytes")
    with pytest.raises(WireError, match="not sent"):
        encode(events_header(), TWO_EVENTS, payload_size=25)


def test_a_record_of_an_event_is_as_documented():
    payload = as_bytes(encode(events_header(), TWO_EVENTS))[2]
    assert payload == struct.pack("<qHHBqHHB", -5, 3, 1, 1, 2**62, 65_535, 2, 0)


@pytest.mark.parametrize(
    ("key", "value"),
    [("state", "running"), ("reason", "x" * 1025), ("reason", "\x1b[31m"), ("lost", {"window": {}}), ("shape", [1])],
)
def test_a_state_that_is_not_as_documented_is_refused(key, value):
    refused(with_header("state", **{key: value}), because=f"state header: '{key}")


@pytest.mark.parametrize(
    "shape",
    [
        [],
        [24],
        [6, 4],
        [1, 2, 3, 4],
        [2, 3, 0],
        [2, 3, -4],
        [-2, -3, 4],
        [2, 3, 4.5],
        [2**40, 2**40, 1],
        [0, 2**62, 2**62],
        [10**4000] * 3,
        [1] * 100_000,
        [MAX_VALUES + 1, 1, 1],
        None,
        "2,3,4",
    ],
)
def test_a_shape_that_no_window_has_is_refused(shape):
    refused(with_header(shape=shape), because="window header: 'shape")


@pytest.mark.parametrize("shape", [[2, 3, 5], [2, 3, 3], [1 << 26, 1 << 26, 1 << 26], [1 << 26, 1, 1], [1, 1, 1]])
def test_a_payload_of_another_size_is_refused(shape):
    refused(with_header(shape=shape), because="got 96 bytes")


@pytest.mark.parametrize("payload", [b"", b"\0" * 95, b"\0" * 97, b"\0" * 192])
def test_a_payload_that_was_cut_or_grew_is_refused(payload):
    refused([*with_header()[:2], payload], because=f"got {len(payload)} bytes")


@pytest.mark.parametrize("topic", ["gesture", "state"])
def test_a_gesture_and_a_state_have_no_payload(topic):
    refused([*with_header(topic)[:2], b"\0\0\0\0"], because="got 4 bytes")


def test_more_values_than_a_camera_has_are_refused_though_they_came():
    axes = [MAX_VALUES // 4 + 1, 2, 2]
    payload = np.empty(math.prod(axes), np.float32).data  # never accessed, so it takes no memory
    refused([*with_header(shape=axes)[:2], payload], because=f"at most {MAX_VALUES} values")


def test_a_header_that_eats_memory_is_refused_before_it_is_read():
    frames = with_header()
    padded = frames[1] + b" " * (MAX_HEADER - len(frames[1]))
    assert decode([frames[0], padded, frames[2]]).header == window_header()
    refused([frames[0], padded + b" ", frames[2]], because=f"at most {MAX_HEADER} bytes, got {MAX_HEADER + 1}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
TOPICS = st.sampled_from(["window", "gesture", "events", "state"])
KEYS = st.sampled_from(sorted(WindowHeader.model_fields)) | st.text(max_size=8)


@given(st.lists(st.binary(max_size=40) | TOPICS.map(str.encode), max_size=4))
def test_random_frames_give_a_wire_error(frames):
    with pytest.raises(WireError):
        decode(frames)


@given(TOPICS, st.dictionaries(KEYS, JSON, max_size=3), st.binary(max_size=8) | st.just(values().tobytes()))
def test_a_message_with_any_change_is_read_or_refused(topic, changed, payload):
    topic_frame, header, _ = with_header(topic, **changed)
    with contextlib.suppress(WireError):
        message = decode([topic_frame, header, payload])
        assert message.array.shape == message.header.shape
        assert message.array.nbytes == len(payload) or not payload[message.array.nbytes :].strip(b"\0")


def test_a_header_cannot_be_made_wrong_here_either():
    with pytest.raises(ValueError, match="extra_forbidden"):
        window_header(raw=1)
    with pytest.raises(ValueError, match="frozen"):
        window_header().seq = 3


def test_reading_messages_takes_neither_torch_nor_numba():
    code = "import sys, eventveil.stream.protocol.wire; sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_a_header_is_padded_with_spaces_and_one_that_is_longer_is_not_sent():
    length = len(encode(gesture_header())[1])
    for size in (length, length + 1, 5_000):
        frames = as_bytes(encode(gesture_header(), size=size))
        assert len(frames[1]) == size
        assert decode(frames).header == gesture_header()
    with pytest.raises(WireError, match="not sent"):
        encode(gesture_header(), size=length - 1)
