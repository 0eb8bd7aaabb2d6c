from __future__ import annotations

import faery
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reference_evt import decode_in_pieces, encode_es, read_all, read_columns

from eventveil.errors import EventFileError
from eventveil.events import Sensor
from eventveil.io.formats.es import EsDecoder, EsReader

HEADER = b"Event Stream\x02\x00\x00\x01\x40\x01\xf0\x00"  # 320x240

steps = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 130), st.sampled_from([126, 127, 128, 254, 10_000])),
        st.integers(0, 319),
        st.integers(0, 239),
        st.booleans(),
    ),
    max_size=30,
)


@pytest.mark.kernel
@given(steps, st.lists(st.integers(0, 300), max_size=4), st.integers(1, 4))
@example([(126, 255, 239, True), (126, 319, 0, False)], [1, 6], 4)
def test_events_come_back_wherever_the_bytes_are_cut(steps, cuts, odd_bytes):
    t = np.cumsum([0, *(step for step, *_ in steps)])[1:].tolist()
    events = [(time, *pixel) for time, (_, *pixel) in zip(t, steps, strict=True)]
    decoder = EsDecoder(240)
    assert decode_in_pieces(decoder, encode_es(events, 240) + b"\x00" * odd_bytes, cuts) == events
    assert len(decoder.pending) == odd_bytes


@pytest.mark.kernel
@given(st.binary(max_size=200))
def test_any_bytes_are_safe_and_rows_outside_stay_outside(data):
    decoder = EsDecoder(240)
    packet = decoder.decode(data)
    assert 5 * len(packet) + len(decoder.pending) <= len(data)
    rows = [int.from_bytes(data[k : k + 2], "little") for k in range(len(data) - 1)]
    assert all(239 - y in rows or y >= 240 for y in packet.y.tolist())


@pytest.mark.kernel
def test_a_row_beyond_the_sensor_stays_beyond_it():
    packet = EsDecoder(240).decode(b"".join(b"\x01\x00\x00" + row.to_bytes(2, "little") for row in (239, 240, 65535)))
    assert packet.y[0] == 0
    assert (packet.y[1:] >= 240).all()


@pytest.mark.kernel
def test_resets_are_counted():
    decoder = EsDecoder(240)
    assert decoder.decode(b"\xfe\xfe\xff\x03\x01\x00\x02\x00").t.tolist() == [128]
    assert decoder.skipped == {"reset": 2}


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found less"),
        (b"Event Stream\x02\x00\x00\x01\x40", "found version 2, type 1"),
        (b"Event Stream\x01\x00\x00\x01\x40\x01\xf0\x00", "found version 1"),
        (b"Event Stream\x02\x00\x00\x02\x40\x01\xf0\x00", r"type 2 \(ATIS\)"),
        (b"Event Stream\x02\x00\x00\x09\x40\x01\xf0\x00", r"type 9 \(unknown\)"),
        (b"Event Stream\x02\x00\x00\x01\x00\x00\xf0\x00", "header is invalid"),
    ],
)
def test_refuses_what_it_does_not_know(tmp_path, content, message):
    (tmp_path / "a.es").write_bytes(content)
    with pytest.raises(EventFileError, match=message):
        EsReader(tmp_path / "a.es")


def test_recognises_the_words_at_the_start():
    assert EsReader.recognises(HEADER)
    assert not EsReader.recognises(b"event stream")


def test_a_truncated_file_gives_all_before_the_cut_then_its_place(tmp_path):
    (tmp_path / "a.es").write_bytes(HEADER + encode_es([(1, 2, 3, True)], 240) + b"\x00\x00")
    reader = EsReader(tmp_path / "a.es")
    assert reader.sensor == Sensor(320, 240)
    assert reader.read_packet().t.tolist() == [1]
    with pytest.raises(EventFileError, match="truncated") as fault:
        reader.read_packet()
    assert fault.value.where == "byte 25"
    reader.close()


def test_reads_what_faery_writes(tmp_path):
    events = [(0, 0, 0, True), (126, 319, 239, False), (253, 1, 2, True), (10_000, 3, 4, True)]
    array = np.array(events, faery.EVENTS_DTYPE)
    faery.events_stream_from_array(array, dimensions=(320, 240)).to_file(tmp_path / "a.es")
    reader = EsReader(tmp_path / "a.es")
    assert read_all(reader) == events
    reader.close()


def test_a_recording_of_an_event_stream(real_data):
    path = real_data / "recordings" / "faery_dvs.es"
    reader = EsReader(path)
    packet = read_columns(reader)
    reader.close()
    assert reader.sensor == Sensor(320, 240)
    assert (len(packet), packet.t[-1] - packet.t[0]) == (473_225, 999_000)
    other = np.concatenate(list(faery.events_stream_from_file(path)))
    for name, field in zip("txyp", ("t", "x", "y", "on"), strict=True):
        np.testing.assert_array_equal(getattr(packet, name), other[field])
