"""EVT3: words decoded like the slow twin, headers of all ages, and damage."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference_evt import decode_evt3, decode_in_pieces, decode_whole, read_all, tuples

from eventveil.errors import EventFileError
from eventveil.events import Sensor
from eventveil.io.formats.evt3 import Evt3Decoder, Evt3Reader

HEADER = b"% evt 3.0\n% format EVT3;height=720;width=1280\n% geometry 1280x720\n% end\n"
WHAT = {
    "timeless": "event before the first time or row",
    "outlying": "event with an outlying time",
    1: "address of another kind of event",
    7: "continuation word",
    9: "padding word",
    10: "external trigger",
    14: "system event",
    15: "continuation word",
}


def pack(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}H", *words)


def high(value: int) -> int:
    return 0x8000 | value % 4096


def low(value: int) -> int:
    return 0x6000 | value


def row(value: int) -> int:
    return value


def one(x: int, p: int = 0) -> int:
    return 0x2000 | p << 11 | x


def base(x: int, p: int = 0) -> int:
    return 0x3000 | p << 11 | x


# Every type, those with events more often; and streams with a proper start, so that most words count.
words = st.builds(
    lambda kind, payload: kind << 12 | payload,
    st.sampled_from([0, 2, 3, 4, 5, 6, 8, 2, 3, 4, 5, *range(16)]),
    st.one_of(st.integers(0, 4095), st.sampled_from([0, 1, 4095])),
)
streams = st.builds(
    lambda begun, words: pack(*([high(0), row(3), base(9)] if begun else []), *words),
    st.booleans(),
    st.lists(words, max_size=60),
)


@pytest.mark.kernel
@given(streams, st.lists(st.integers(0, 200), max_size=4), st.booleans())
@example(pack(high(4095), row(0), one(0), high(0), one(1), high(2048), high(0), one(2)), [3], False)
@example(pack(high(2047), row(0), high(0), one(1)), [], False)
@example(pack(row(3), high(0), one(1)), [], False)
@example(pack(high(0), row(3), 0x4FFF, base(5), 0x5FFF, 0x4FFF), [], False)
def test_decodes_what_the_slow_twin_decodes_wherever_it_is_cut(data, cuts, odd_byte):
    decoder = Evt3Decoder()
    expected, skipped = decode_evt3(data)
    assert decode_in_pieces(decoder, data + b"\x00" * odd_byte, cuts) == expected
    assert decoder.pending == b"\x00" * odd_byte
    named = dict.fromkeys(decoder.skipped, 0)
    for kind, count in skipped.items():
        named[WHAT.get(kind, "unknown word")] += count
    assert decoder.skipped == named


@pytest.mark.kernel
def test_a_mask_is_read_from_its_lowest_bit_and_moves_the_base_on():
    decoder = Evt3Decoder()
    packet = decode_whole(decoder, pack(high(1), low(5), row(7), base(100, 1), 0x4801, 0x50FF, 0x5001))
    assert packet.x.tolist() == [100, 111, *range(112, 120), 120]
    assert set(packet.t.tolist()) == {4096 + 5}
    assert packet.p.all()
    assert (packet.y == 7).all()


@pytest.mark.kernel
def test_the_lower_time_counts_as_zero_until_it_comes_but_a_repeated_upper_half_keeps_it():
    packet = decode_whole(
        Evt3Decoder(), pack(high(1), low(9), row(0), one(0), high(1), one(1), high(2), one(2), low(3), one(3))
    )
    assert packet.t.tolist() == [4105, 4105, 8192, 8195]


@pytest.mark.kernel
def test_the_clock_wraps_when_its_upper_half_falls_by_half_its_range_and_steps_back_when_by_less():
    wraps = decode_whole(Evt3Decoder(), pack(high(2048), row(0), one(0), high(0), one(0)))
    assert wraps.t.tolist() == [2048 << 12, 1 << 24]
    begun = [row(0), *(high(k) for k in range(2040, 2049)), one(0)]
    back = decode_whole(Evt3Decoder(), pack(*begun, high(1), one(0), high(2), one(0)))
    assert back.t.tolist() == [2048 << 12, 1 << 12, 2 << 12]


@pytest.mark.kernel
def test_events_after_an_outlying_time_are_left_out_and_the_next_time_counts():
    decoder = Evt3Decoder()
    outlying = [high(5 ^ 1 << 10), low(7), one(1), base(2), 0x4003]
    packet = decode_whole(decoder, pack(row(0), high(5), one(0), *outlying, high(5), one(4), high(6), one(5)))
    assert tuples(packet) == [((5 << 12), 0, 0, False), ((5 << 12) + 7, 4, 0, False), (6 << 12, 5, 0, False)]
    assert decoder.skipped == {"event with an outlying time": 3}


@pytest.mark.kernel
def test_columns_of_another_kind_of_event_are_not_pixels():
    decoder = Evt3Decoder()
    packet = decode_whole(decoder, pack(high(0), row(1), one(5), 0x1001, one(6), base(0), 0x4FFF, row(2), one(7)))
    assert tuples(packet) == [(0, 5, 1, False), (0, 7, 2, False)]
    assert decoder.skipped == {
        "address of another kind of event": 1,
        "event before the first time or row": 13,
    }


@pytest.mark.kernel
def test_a_flood_of_masks_leaves_the_sensor_and_does_not_come_back():
    packet = decode_whole(Evt3Decoder(), pack(high(0), row(0), base(0), *([0x4001] * 6000)))
    assert packet.x[0] == 0
    assert (np.diff(packet.x.astype(int)) >= 0).all()


@pytest.mark.kernel
def test_the_packet_owns_its_memory():
    decoder = Evt3Decoder()
    first = decode_whole(decoder, pack(high(0), row(0), one(1), one(2)))
    kept = tuples(first)
    decode_whole(decoder, pack(row(9), one(8), one(8), one(8)))
    assert tuples(first) == kept


def write(path, payload: bytes, header: bytes = HEADER):
    path.write_bytes(header + payload)
    return path


@pytest.mark.parametrize(
    ("header", "sensor", "first_us"),
    [
        (HEADER, Sensor(1280, 720), 0),
        (b"% evt 3.0\n", None, 0),
        (b"% Date 2020-09-25 07:48:29\r\n% evt 3.0\r\n% Geometry 640x480\r\n", Sensor(640, 480), 0),
        (
            b"% format EVT3;width=320;height=240\n% t0 1600000000000000\n% end\n",
            Sensor(320, 240),
            1_600_000_000_000_000,
        ),
    ],
)
def test_headers_of_all_ages(tmp_path, header, sensor, first_us):
    reader = Evt3Reader(write(tmp_path / "a.raw", pack(high(0), row(0), one(1, 1)), header))
    assert reader.sensor == sensor
    assert read_all(reader) == [(first_us, 1, 0, True)]
    assert Evt3Reader.recognises(header)
    reader.close()
    reader.close()


def test_a_payload_that_begins_like_a_comment_is_not_a_header(tmp_path):
    # 0x2025 = a column, "% " in bytes: without `% end` only the rest of the line decides.
    data = pack(0x2025, high(0), row(10), one(1))  # row 10 is "\n"
    reader = Evt3Reader(write(tmp_path / "a.raw", data, b"% evt 3.0\n"))
    assert read_all(reader) == [(0, 1, 10, False)]
    reader.close()


def test_what_follows_the_end_of_the_header_is_data(tmp_path):
    reader = Evt3Reader(write(tmp_path / "a.raw", b"% A\n" + pack(high(0), one(1))))
    assert read_all(reader) == [(0, 1, 0x241, False)]
    assert reader.skipped == {"event before the first time or row": 1}
    reader.close()


def test_what_others_count_beside_the_decoder_stays(tmp_path):
    reader = Evt3Reader(write(tmp_path / "a.raw", pack(high(0), row(0), one(1), 0xA000)))
    reader.skipped["event of a damaged packet"] += 3
    read_all(reader)
    assert reader.skipped == {"event of a damaged packet": 3, "external trigger": 1}
    reader.close()


def test_a_recording_without_events_is_not_an_error(tmp_path):
    reader = Evt3Reader(write(tmp_path / "a.raw", b""))
    assert reader.read_packet() is None
    reader.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names EVT2, EVT2.1 or EVT3, found none"),
        (b"t,x,y,p\n1,2,3,1\n" * 100, "found none"),
        (b"% evt 4.0\n% end\n", "found EVT 4.0"),
        (b"% evt 3.0\n% format EVT4;height=1;width=1\n", "found EVT4"),
        (b"% evt 3.0\n% geometry 0x720\n", "header is invalid"),
        (b"% evt 3.0\n% geometry big\n", "header is invalid"),
        (b"% evt 3.0\n% t0 soon\n", "header is invalid"),
    ],
)
def test_refuses_other_headers(tmp_path, content, message):
    (tmp_path / "a.raw").write_bytes(content)
    with pytest.raises(EventFileError, match=message):
        Evt3Reader(tmp_path / "a.raw")


def test_a_missing_file_and_a_folder_are_reported(tmp_path):
    for path in (tmp_path / "none.raw", tmp_path):
        with pytest.raises(EventFileError, match="cannot be read"):
            Evt3Reader(path)


def test_a_truncated_file_gives_all_before_the_cut_then_its_place(tmp_path):
    reader = Evt3Reader(write(tmp_path / "a.raw", pack(high(0), row(0), one(1)) + b"\x01"))
    assert len(reader.read_packet()) == 1
    with pytest.raises(EventFileError, match="truncated") as fault:
        reader.read_packet()
    assert fault.value.where == f"byte {len(HEADER) + 6}"
    assert reader.read_packet() is None
    reader.close()


@pytest.mark.parametrize(
    "payload", [b"just some text, line after line\n" * 50, pack(high(0), row(0), *([0xB000, 0xC000, 0xD000] * 50))]
)
def test_senseless_words_after_a_good_header_end_in_an_error(tmp_path, payload):
    reader = Evt3Reader(write(tmp_path / "a.raw", payload))
    with pytest.raises(EventFileError, match="expected EVT3 words"):
        read_all(reader)
    assert reader.read_packet() is None
    reader.close()


def test_a_few_unknown_words_and_much_padding_are_counted_not_fatal(tmp_path):
    reader = Evt3Reader(write(tmp_path / "a.raw", pack(high(0), row(0), 0xB001, one(1), *([0x9999] * 500))))
    assert read_all(reader) == [(0, 1, 0, False)]
    assert reader.skipped == {"unknown word": 1, "padding word": 500}
    reader.close()


@pytest.mark.kernel
def test_after_missing_words_nothing_is_an_event_until_time_and_row_have_come():
    decoder = Evt3Decoder()
    assert tuples(decode_whole(decoder, pack(high(1), low(5), row(3), base(40), one(7)))) == [(4101, 7, 3, False)]
    decode_whole(decoder, pack(high(1))[:1])  # half a word, whose other half is missing
    decoder.resume_after_gap()
    stray = pack(low(6), row(4), one(8), 0x4001)  # their time and column are unknown
    assert tuples(decode_whole(decoder, stray)) == []
    assert tuples(decode_whole(decoder, pack(one(9), high(1), low(9), one(10), 0x4001, row(5), one(11)))) == [
        (4105, 11, 5, False)
    ]
    assert decoder.skipped["event before the first time or row"] == 2
    assert tuples(decode_whole(decoder, pack(base(50, 1), 0x4001, one(12)))) == [
        (4105, 50, 5, True),
        (4105, 12, 5, False),
    ]


@pytest.mark.kernel
def test_the_clock_wraps_on_after_missing_words():
    decoder = Evt3Decoder()
    decode_whole(decoder, pack(high(4095), row(1), one(1)))
    decoder.resume_after_gap()
    assert tuples(decode_whole(decoder, pack(high(2), row(1), one(2)))) == [((1 << 24) + (2 << 12), 2, 1, False)]
