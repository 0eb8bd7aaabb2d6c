"""The private wire format: messages survive it unchanged, and anything else is a WireError that quotes no data."""

from __future__ import annotations

import contextlib
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_helpers import SCORES, SEAL, end, link, notice, origin, raw_message, sealed_message, values

from eventveil.errors import WireError
from eventveil.stream.runtime.message import StageMessage, pack, unpack
from eventveil.stream.runtime.windows import AnonymizedWindow, ChosenWord, RawWindow

VOXELS = StageMessage("0", RawWindow(origin(), values()))
MESSAGES = [
    raw_message(seq=5, stream="cam", lost={"queue": 2}, start_us=-50),
    VOXELS,
    StageMessage("0", RawWindow(origin(), np.zeros((0, 2, 3, 4), np.uint16))),
    sealed_message(seq=9, lost={"queue": 1, "age": 3}, ended_ns=2**62),
    sealed_message(scores=None),
    raw_message(incidents={"overflow": 3, "away": 1}),
    end("cam", {"age": 7}, made=12),
    end(),
    end(made=3, failed=True),
    StageMessage("cam", SEAL.set_word(origin(4, "cam"), 12), Counter(age=2)),
    notice("camera_lost", "cam", {"queue": 1}),
    notice("camera_back"),
]


def over_the_wire(message):
    with link() as (push, pull):
        push.send_multipart(pack(message), copy=False)
        return unpack([frame.buffer for frame in pull.recv_multipart(copy=False)])


def same(one, other):
    if one is None or other is None:
        assert one is other
    else:
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
        assert one.shape == other.shape


@pytest.mark.parametrize("message", MESSAGES)
def test_what_is_packed_is_unpacked(message):
    got = over_the_wire(message)
    assert (got.stream, got.seq, got.lost, type(got.window)) == (
        message.stream, message.seq, message.lost, type(message.window)
    )  # fmt: skip
    assert (got.notice, got.failed) == (message.notice, message.failed)
    assert got.ends == (message.window is None and message.notice is None)
    if isinstance(message.window, RawWindow):
        same(got.window.counts, message.window.counts)
        assert got.window.origin == message.window.origin
    if isinstance(message.window, ChosenWord):
        assert got.window == message.window
    if isinstance(message.window, AnonymizedWindow):
        same(got.window.values, message.window.values)
        same(got.window.scores, message.window.scores)
        assert (got.window.origin, got.window.seal) == (message.window.origin, message.window.seal)


def test_the_counts_of_what_was_lost_can_be_added_to():
    got = over_the_wire(raw_message(lost={"queue": 2}))
    assert isinstance(got.lost, Counter)
    got.lost.update({"age": 1})
    assert got.lost == {"queue": 2, "age": 1}


def test_strided_arrays_travel_in_the_order_of_their_axes():
    counts = np.arange(96, dtype=np.uint16).reshape(2, 2, 4, 6)[:, :, ::-1, ::2]
    same(over_the_wire(StageMessage("0", RawWindow(origin(), counts))).window.counts, counts)
    window = sealed_message().window.with_scores(np.arange(6, dtype=np.float32)[::2])
    same(over_the_wire(StageMessage("0", window)).window.scores, window.scores)


def test_arrays_are_not_copied():
    message = raw_message()
    assert np.shares_memory(np.asarray(pack(message)[1]), message.window.counts)
    frames = [bytes(frame) for frame in pack(message)]
    assert np.shares_memory(unpack(frames).window.counts, np.frombuffer(frames[1], np.uint8))


def refused(frames):
    with pytest.raises(WireError, match=r"^a message inside the pipeline is malformed \(\w+\)$"):
        unpack(frames)


def changed(message=None, *, payload=None, scores=None, **header):
    frames = [bytes(frame) for frame in pack(message or raw_message())]
    keys = json.loads(frames[0]) | header
    payload = frames[1] if payload is None else payload
    return [json.dumps(keys).encode(), payload, frames[2] if scores is None else scores]


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_a_message_has_three_frames(count):
    refused([changed()[0]] * count)


@pytest.mark.parametrize("header", [b"", b"{}", b"\xff", b"[]", b'{"kind": "end"}', b"\x80\x04K\x01."])
def test_an_invalid_header_is_refused(header):
    refused([header, b"", b""])


@pytest.mark.parametrize(
    "header",
    [
        {"kind": "published"},
        {"seed": 1},
        {"lost": {"queue": -1}},
        {"lost": {"queue": 0.5}},
        {"origin": None},
        {"origin": {"stream": "0"}},
        {"dtype": "<u4"},
        {"dtype": "O"},
        {"shape": [24]} | {"dtype": "<f4"},
        {"shape": [1, 2, 3, 5]},
        {"shape": [-1]},
        {"shape": [-4, -6]},
        {"shape": [2**70]},
        {"shape": [2**40, 2**40]},
        {"shape": [1] * 100},
    ],
)
def test_a_header_that_does_not_describe_its_window_is_refused(header):
    unpack(changed())
    refused(changed(**header))


@pytest.mark.parametrize("word", [None, 1.0, "1", True, [1], 0.5])
def test_a_word_that_is_not_a_whole_number_is_refused(word):
    refused(changed(StageMessage("0", SEAL.set_word(origin(), 1)), word=word))


def test_an_impossible_sensor_is_refused():
    keys = json.loads(changed()[0])["origin"]
    refused(changed(origin=keys | {"sensor": {"width": 0, "height": 3}}))


@pytest.mark.parametrize("payload", [b"", b"\0" * 47, b"\0" * 49, b"\0" * 50])
def test_a_payload_of_another_size_is_refused(payload):
    refused(changed(payload=payload))


def test_an_invalid_seal_or_scores_are_refused():
    refused(changed(sealed_message(), seal="not hexadecimal"))
    refused(changed(sealed_message(), scores=SCORES.tobytes()[:-1]))


@given(st.lists(st.binary(max_size=30), max_size=4))
def test_random_frames_give_a_wire_error(frames):
    refused(frames)


@given(
    st.dictionaries(
        st.sampled_from(["kind", "stream", "lost", "origin", "shape", "dtype", "seal"]),
        st.sampled_from(["raw", "anonymized", "end", "<u2", "<f4", "", 0, 1, -1, None, [24], [6, 4], [12], {}]),
        max_size=3,
    ),
    st.sampled_from([None, b"", b"\0" * 96]),
    st.sampled_from(MESSAGES),
)
def test_a_message_with_any_change_is_read_or_refused(header, payload, message):
    with contextlib.suppress(WireError):
        got = unpack(changed(message, payload=payload, **header))
        assert got.window is None or isinstance(got.window, RawWindow | AnonymizedWindow | ChosenWord)
