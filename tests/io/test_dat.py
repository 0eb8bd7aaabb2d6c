from __future__ import annotations

import faery
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference_evt import decode_in_pieces, decode_whole, encode_dat, read_all, read_columns

from eventveil.errors import EventFileError
from eventveil.events import Sensor
from eventveil.io.formats.dat import DatDecoder, DatReader

HEADER = b"% Data file containing CD events.\n% Version 2\n% Width 640\n% Height 480\n"

rest = st.tuples(st.integers(0, 16383), st.integers(0, 16383), st.booleans())


@pytest.mark.kernel
@given(
    st.lists(st.tuples(st.integers(0, 59_000_000), rest), max_size=150),
    st.lists(st.integers(0, 1200), max_size=4),
    st.sampled_from([0, 2**31, 2**32 - 5]),
)
@example([(59_000_000, (0, 0, True))] * 150, [9], 0)
def test_events_come_back_wherever_the_bytes_are_cut_and_however_long_they_last(steps, cuts, start):
    steps = [(0, (5, 6, True)), *steps]
    t = np.cumsum([step for step, _ in steps]).tolist()
    events = [(time, *pixel) for time, (_, pixel) in zip(t, steps, strict=True)]
    raw = encode_dat([(start + time, *pixel) for time, *pixel in events])
    decoder = DatDecoder(origin_us=-(start % 2**32))
    assert decode_in_pieces(decoder, raw + b"\x00", cuts) == events
    assert decoder.pending == b"\x00"


@pytest.mark.kernel
def test_a_small_step_back_in_time_is_passed_on_as_it_is():
    packet = decode_whole(DatDecoder(), encode_dat([(t, 0, 0, True) for t in (2**31, 2**31 - 9, 2**31 + 9)]))
    assert packet.t.tolist() == [2**31, 2**31 - 9, 2**31 + 9]


@pytest.mark.parametrize(("kind", "name"), [(b"\x00", "2d"), (b"\x0c", "cd")])
@pytest.mark.parametrize("end", [b"", b"% end\n"])
def test_reads_both_types_of_events(tmp_path, kind, name, end):
    events = [(5, 639, 479, True), (6, 0, 0, False)]
    (tmp_path / "a.dat").write_bytes(HEADER + end + kind + b"\x08" + encode_dat(events))
    assert DatReader.recognises(HEADER + end + kind + b"\x08")
    reader = DatReader(tmp_path / "a.dat")
    assert reader.sensor == Sensor(640, 480)
    assert reader.metadata["event_type"] == name
    assert read_all(reader) == events
    reader.close()


def test_reads_what_faery_writes(tmp_path):
    array = np.empty(1000, faery.EVENTS_DTYPE)
    rng = np.random.default_rng(3)
    array["t"] = 1_600_000_000_000_000 + np.cumsum(rng.integers(0, 2_000, 1000))
    array["x"], array["y"] = rng.integers(0, 640, 1000), rng.integers(0, 480, 1000)
    array["on"] = rng.integers(0, 2, 1000)
    faery.events_stream_from_array(array, dimensions=(640, 480)).to_file(tmp_path / "a.dat")
    reader = DatReader(tmp_path / "a.dat")
    assert reader.sensor == Sensor(640, 480)
    assert read_all(reader) == array.tolist()
    reader.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header"),
        (b"\x00\x01\x02\x03" * 9, "no header"),
        (HEADER, "type None, size None"),
        (HEADER + b"\x01\x08", "type 1, size 8"),
        (HEADER + b"\x0c\x10", "type 12, size 16"),
        (b"% Version 1\n\x00\x08", "header of version 1"),
        (b"% Version 2\n% Width 0\n% Height 3\n\x00\x08", "header is invalid"),
        (b"% Version 2\n% T0 x\n\x00\x08", "header is invalid"),
    ],
)
def test_refuses_what_it_does_not_know(tmp_path, content, message):
    (tmp_path / "a.dat").write_bytes(content)
    with pytest.raises(EventFileError, match=message):
        DatReader(tmp_path / "a.dat")
    assert not DatReader.recognises(b"% evt 2.0\n\x00\x08")
    assert not DatReader.recognises(HEADER + b"\x01\x08")
    assert not DatReader.recognises(b"\x00\x08")


def test_a_truncated_file_gives_all_before_the_cut_then_its_place(tmp_path):
    (tmp_path / "a.dat").write_bytes(HEADER + b"\x0c\x08" + encode_dat([(1, 2, 3, True)]) + b"\x00\x00")
    reader = DatReader(tmp_path / "a.dat")
    assert len(reader.read_packet()) == 1
    with pytest.raises(EventFileError, match="truncated") as fault:
        reader.read_packet()
    assert fault.value.where == f"byte {len(HEADER) + 2 + 8}"
    assert reader.read_packet() is None
    reader.close()


def test_a_recording_of_n_cars(real_data):
    path = real_data / "recordings" / "loris_NCARS_obj_004397_td.dat"
    reader = DatReader(path)
    packet = read_columns(reader)
    reader.close()
    assert reader.sensor is None
    assert (len(packet), packet.t[0], packet.t[-1]) == (4_407, 0, 99_937)
    with faery.dat.Decoder(path=path, dimensions_fallback=(304, 240), version_fallback="dat2") as decoder:
        other = np.concatenate([np.array(chunk) for chunk in decoder])
    for name in "txy":
        np.testing.assert_array_equal(getattr(packet, name), other[name])
    np.testing.assert_array_equal(packet.p, other["payload"] == 1)
