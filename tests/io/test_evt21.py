from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference_evt import decode_evt21, decode_in_pieces, decode_whole, encode_evt21, read_all, tuples

from eventveil.errors import EventFileError
from eventveil.events import Sensor
from eventveil.io.formats.evt21 import Evt21Decoder, Evt21Reader

WHAT = {
    "timeless": "event before the first time or row",
    "outlying": "event with an outlying time",
    10: "external trigger",
    14: "system event",
    15: "continuation word",
}
HIGH_0 = (8 << 28, 0)


def pack(legacy: bool, *words: tuple[int, int]) -> bytes:
    return b"".join(struct.pack("<II", *((head, mask) if legacy else (mask, head))) for head, mask in words)


words = st.tuples(
    st.builds(
        lambda kind, rest: kind << 28 | rest, st.sampled_from([0, 1, 8, 0, 1, *range(16)]), st.integers(0, 2**28 - 1)
    ),
    st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 1 << 31, 2**32 - 1])),
)


@pytest.mark.kernel
@given(
    st.booleans(),
    st.builds(lambda begun, more: [HIGH_0] * begun + more, st.booleans(), st.lists(words, max_size=30)),
    st.lists(st.integers(0, 200), max_size=4),
    st.integers(0, 7),
)
@example(True, [(8 << 28 | 2**27, 0), HIGH_0, (1 << 28, 2**32 - 1)], [5], 0)
@example(False, [HIGH_0, (1 << 28, 0b1111), (0, 0b11111), (0, 0b1)], [], 0)
def test_decodes_what_the_slow_twin_decodes_wherever_it_is_cut(legacy, words, cuts, odd_bytes):
    data = pack(legacy, *words)
    decoder = Evt21Decoder(legacy=legacy)
    expected, skipped = decode_evt21(data, legacy)
    assert decode_in_pieces(decoder, data + b"\x00" * odd_bytes, cuts) == expected
    assert len(decoder.pending) == odd_bytes
    named = dict.fromkeys(decoder.skipped, 0)
    for kind, count in skipped.items():
        named[WHAT.get(kind, "unknown word")] += count
    assert decoder.skipped == named


@pytest.mark.kernel
def test_a_whole_mask_is_left_out_after_an_outlying_time():
    decoder = Evt21Decoder()
    words = [HIGH_0, (0, 1), (8 << 28 | 1 << 20, 0), (0, 7), (8 << 28 | 1, 0), (0, 2)]
    assert tuples(decode_whole(decoder, pack(False, *words))) == [(0, 0, 0, False), (64, 1, 0, False)]
    assert decoder.skipped == {"event with an outlying time": 3}


@pytest.mark.kernel
def test_a_full_mask_is_32_neighbours():
    packet = decode_whole(Evt21Decoder(), pack(False, HIGH_0, (1 << 28 | 5 << 22 | 64 << 11 | 719, 2**32 - 1)))
    assert tuples(packet) == [(5, 64 + k, 719, True) for k in range(32)]


@pytest.mark.parametrize(
    ("header", "legacy"),
    [
        (b"% evt 2.1\n% format EVT21;height=720;width=1280\n% end\n", False),
        (b"% evt 2.1\n% format EVT21;endianness=legacy;height=720;width=1280\n% geometry 1280x720\n% end\n", True),
        (b"% geometry 1280x720\n% evt 2.1\n", False),
    ],
)
def test_reads_both_orders_of_the_halves(tmp_path, header, legacy):
    rng = np.random.default_rng(3)
    t = np.cumsum(rng.choice([0, 0, 0, 1, 200], 1500)).tolist()
    x = (rng.integers(0, 40, 1500) * 32 + np.sort(rng.integers(0, 32, 1500))).tolist()
    events = list(zip(t, x, [7] * 1500, (rng.random(1500) < 0.9).tolist(), strict=True))
    (tmp_path / "a.raw").write_bytes(header + encode_evt21(events, legacy=legacy))
    assert Evt21Reader.recognises(header)
    reader = Evt21Reader(tmp_path / "a.raw")
    assert reader.sensor == Sensor(1280, 720)
    assert read_all(reader) == events
    reader.close()


def test_halves_in_another_order_than_the_header_says_are_not_taken_for_events(tmp_path):
    events = [(t, t % 1280, t % 720, True) for t in range(0, 50_000, 100)]
    (tmp_path / "a.raw").write_bytes(b"% evt 2.1\n% end\n" + encode_evt21(events, legacy=True))
    reader = Evt21Reader(tmp_path / "a.raw")
    with pytest.raises(EventFileError, match=r"EVT2\.1 words"):
        read_all(reader)
    reader.close()


def test_a_truncated_file_gives_all_before_the_cut_then_its_place(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"% evt 2.1\n" + pack(False, HIGH_0, (0, 1)) + b"\x00" * 5)
    reader = Evt21Reader(tmp_path / "a.raw")
    assert len(reader.read_packet()) == 1
    with pytest.raises(EventFileError, match=r"byte 26: truncated: the file ends inside an event"):
        reader.read_packet()
    reader.close()
