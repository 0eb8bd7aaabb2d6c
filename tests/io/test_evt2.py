from __future__ import annotations

import struct

import faery
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference_evt import decode_evt2, decode_in_pieces, decode_whole, encode_evt2, read_all, read_columns

from eventveil.errors import EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io.formats.evt2 import Evt2Decoder, Evt2Reader

WHAT = {
    "timeless": "event before the first time or row",
    "outlying": "event with an outlying time",
    10: "external trigger",
    14: "system event",
    15: "continuation word",
}


def pack(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


def high(value: int) -> int:
    return 8 << 28 | value % 2**28


def event(x: int, y: int, p: int = 0, low: int = 0) -> int:
    return p << 28 | low << 22 | x << 11 | y


words = st.builds(
    lambda kind, payload: kind << 28 | payload,
    st.sampled_from([0, 1, 8, 0, 1, *range(16)]),
    st.one_of(st.integers(0, 2**28 - 1), st.sampled_from([0, 2**28 - 1])),
)
streams = st.builds(
    lambda begun, words: pack(*([high(0)] if begun else []), *words), st.booleans(), st.lists(words, max_size=40)
)


@pytest.mark.kernel
@given(streams, st.lists(st.integers(0, 200), max_size=4), st.integers(0, 3))
@example(pack(high(2**28 - 1), event(1, 2), high(0), event(1, 2), high(2**27), high(0), event(1, 2)), [3, 9], 0)
@example(pack(high(2**27 - 1), high(0), event(1, 2)), [], 0)
def test_decodes_what_the_slow_twin_decodes_wherever_it_is_cut(data, cuts, odd_bytes):
    decoder = Evt2Decoder()
    expected, skipped = decode_evt2(data)
    assert decode_in_pieces(decoder, data + b"\x00" * odd_bytes, cuts) == expected
    assert len(decoder.pending) == odd_bytes
    named = dict.fromkeys(decoder.skipped, 0)
    for kind, count in skipped.items():
        named[WHAT.get(kind, "unknown word")] += count
    assert decoder.skipped == named


@pytest.mark.kernel
def test_the_corners_of_a_word():
    decoder = Evt2Decoder(origin_us=1_000)
    packet = decode_whole(decoder, pack(high(2), event(2047, 0, 1, 63), event(0, 2047, 0, 0)))
    assert packet.t.tolist() == [1_000 + 128 + 63, 1_000 + 128]
    assert packet.x.tolist() == [2047, 0]
    assert packet.y.tolist() == [0, 2047]
    assert packet.p.tolist() == [True, False]


def test_reads_what_the_encoder_of_the_tests_and_what_faery_writes(tmp_path):
    rng = np.random.default_rng(3)
    t = np.cumsum(rng.choice([0, 0, 1, 70, 100_000], 2000))
    x, y, p = rng.integers(0, 640, 2000), rng.integers(0, 480, 2000), rng.integers(0, 2, 2000).astype(bool)
    events = list(zip(t.tolist(), x.tolist(), y.tolist(), p.tolist(), strict=True))
    ours, theirs = tmp_path / "ours.raw", tmp_path / "theirs.raw"
    ours.write_bytes(b"% evt 2.0\n% geometry 640x480\n% end\n" + encode_evt2(events))
    array = np.empty(2000, faery.EVENTS_DTYPE)
    array["t"], array["x"], array["y"], array["on"] = t + 1_600_000_000_000_000, x, y, p
    faery.events_stream_from_array(array, dimensions=(640, 480)).to_file(theirs, version="evt2")
    for path, start in ((ours, 0), (theirs, 1_600_000_000_000_000)):
        reader = Evt2Reader(path)
        assert reader.sensor == Sensor(640, 480)
        assert read_all(reader) == [(start + t, *rest) for t, *rest in events]
        reader.close()


@pytest.mark.parametrize("payload", [b"just some text, line after line\n" * 50, pack(high(0), *([0x90000000] * 40))])
def test_senseless_words_after_a_good_header_end_in_an_error(tmp_path, payload):
    (tmp_path / "a.raw").write_bytes(b"% evt 2.0\n% end\n" + payload)
    reader = Evt2Reader(tmp_path / "a.raw")
    with pytest.raises(EventFileError, match="of no known type"):
        read_all(reader)
    reader.close()


def test_events_without_any_time_end_in_an_error(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"% evt 2.0\n% end\n" + pack(event(1, 2), event(3, 4)))
    reader = Evt2Reader(tmp_path / "a.raw")
    with pytest.raises(EventFileError, match="none of 2 holds the time"):
        read_all(reader)
    assert reader.skipped == {"event before the first time or row": 2}
    reader.close()


def test_the_header_of_another_encoding_is_refused_and_not_recognised(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"% evt 3.0\n% end\n")
    assert not Evt2Reader.recognises(b"% evt 3.0\n% end\n")
    assert Evt2Reader.recognises(b"% evt 2.0\n% end\n")
    with pytest.raises(EventFileError, match="found EVT3"):
        Evt2Reader(tmp_path / "a.raw")


def test_a_truncated_file_gives_all_before_the_cut_then_its_place(tmp_path):
    (tmp_path / "a.raw").write_bytes(b"% evt 2.0\n" + pack(high(0), event(1, 2)) + b"\x00\x00\x00")
    reader = Evt2Reader(tmp_path / "a.raw")
    assert len(reader.read_packet()) == 1
    with pytest.raises(EventFileError, match=r"byte 18: truncated: the file ends inside an event"):
        reader.read_packet()
    reader.close()


def test_a_recording_of_a_gen3_camera(real_data):
    path = real_data / "recordings" / "faery_evt2.raw"
    reader = Evt2Reader(path)
    packet = read_columns(reader)
    reader.close()
    assert len(packet) == 521_252
    assert packet.t[-1] - packet.t[0] == 95_871
    assert (packet.x.max(), packet.y.max()) == (639, 479)
    array = np.concatenate(list(faery.events_stream_from_file(path, dimensions_fallback=(640, 480))))
    other = EventPacket.of(array["t"], array["x"], array["y"], array["on"])
    for name in "txyp":
        np.testing.assert_array_equal(getattr(packet, name), getattr(other, name))
