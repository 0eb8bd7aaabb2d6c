from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference_evt import decode_in_pieces, encode_evt2, encode_ncaltech, read_all, read_columns

from eventveil import Sensor
from eventveil.errors import EventFileError
from eventveil.io import open_events
from eventveil.io.formats.ncaltech import NCaltechDecoder, NCaltechReader

events = st.tuples(st.integers(0, 2**23 - 1), st.integers(0, 255), st.integers(0, 239), st.booleans())


@given(st.lists(events, max_size=30), st.lists(st.integers(0, 200), max_size=4), st.integers(0, 4))
def test_events_come_back_wherever_the_bytes_are_cut(events, cuts, odd_bytes):
    decoder = NCaltechDecoder()
    assert decode_in_pieces(decoder, encode_ncaltech(events) + b"\x00" * odd_bytes, cuts) == events
    assert len(decoder.pending) == odd_bytes
    assert not decoder.skipped


@given(st.integers(0, 25))
def test_row_240_moves_the_clock_on_and_is_not_an_event(cut):
    overflow = (0, 0, 240, False)
    data = encode_ncaltech([(1, 2, 3, True), overflow, (4, 5, 6, True), overflow, (7, 8, 241, False)])
    decoder = NCaltechDecoder()
    assert decode_in_pieces(decoder, data, [cut]) == [
        (1, 2, 3, True),
        (4 + 8192, 5, 6, True),
        (7 + 16384, 8, 241, False),
    ]
    assert decoder.skipped == {"clock overflow": 2}


def test_a_truncated_file_gives_all_before_the_cut_then_its_place(tmp_path):
    events = [(t, t % 30, t % 20, t % 3 == 0) for t in range(100)]
    (tmp_path / "a.bin").write_bytes(encode_ncaltech(events) + b"\x00\x00")
    reader = NCaltechReader(tmp_path / "a.bin")
    assert reader.sensor is None
    assert len(reader.read_packet()) == 100
    with pytest.raises(EventFileError, match="truncated") as fault:
        reader.read_packet()
    assert fault.value.where == "byte 500"
    reader.close()


def prophesee(n):
    words = np.zeros((n, 2), "<u4")
    words[:, 0] = np.arange(n) * 31
    words[:, 1] = np.arange(n) % 640 | (np.arange(n) % 480) << 14 | (np.arange(n) % 2) << 28
    return words.tobytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (np.random.default_rng(0).bytes(5_000), "time goes back"),
        (np.random.default_rng(1).bytes(100), "time goes back"),
        (prophesee(2_000), "time goes back"),  # DAT without its header
        (encode_evt2([(31 * t, t % 640, t % 480, t % 2 == 0) for t in range(2_000)]), "time goes back"),
        (bytes(5_000), "the same polarity"),
        (bytes(17), "not a multiple of 5"),
    ],
    ids=["random", "few and random", "DAT", "EVT2", "zeros", "a length that does not fit"],
)
def test_what_only_the_extension_recognises_must_look_like_events(tmp_path, data, reason):
    (tmp_path / "a.bin").write_bytes(data)
    with pytest.raises(EventFileError, match=reason):
        open_events(tmp_path / "a.bin", sensor=Sensor(300, 300))


def test_a_little_disorder_is_not_another_format(tmp_path):
    events = [(100 + t - 50 * (t % 50 == 49), 1, 2, t % 2 == 0) for t in range(1_000)]
    (tmp_path / "a.bin").write_bytes(encode_ncaltech(events))
    with open_events(tmp_path / "a.bin", sensor=Sensor(300, 300), on_disorder="clip") as source:
        assert sum(map(len, source)) == 1_000


def test_an_empty_file_holds_no_events_and_nothing_is_recognised(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"")
    reader = NCaltechReader(tmp_path / "a.bin")
    assert read_all(reader) == []
    assert not NCaltechReader.recognises(encode_ncaltech([(1, 2, 3, True)]))
    reader.close()


def test_a_recording_of_a_face(real_data):
    reader = NCaltechReader(real_data / "recordings" / "evl_faces_easy_0001.bin")
    packet = read_columns(reader)
    reader.close()
    assert (len(packet), packet.t[0], packet.t[-1]) == (67_445, 6, 299_364)
    assert (np.diff(packet.t) >= 0).all()
    assert (packet.x.max(), packet.y.max()) == (150, 172)
