"""AEDAT 3.1, built from the specification: packets of many kinds, long recordings, and damage."""

from __future__ import annotations

import numpy as np
import pytest
import reference_io as reference
from hypothesis import given
from hypothesis import strategies as st

from eventveil.errors import EventFileError
from eventveil.events import Sensor
from eventveil.io import open_events
from eventveil.io.formats import aedat3

HEAD = reference.aedat3_head()
SENSOR = Sensor(128, 128)


def write(folder, *parts, name="a.aedat"):
    path = folder / name
    path.write_bytes(b"".join(parts))
    return path


def events_of(*events, **fields):
    return reference.aedat3_packet([reference.polarity(*event) for event in events], **fields)


def read(path, **options):
    packets, faults = [], []
    with open_events(path, **options) as source:
        while True:
            try:
                packets.append(reference.rows(next(source)))
            except StopIteration:
                return packets, faults, source
            except EventFileError as fault:
                faults.append(fault)


event = st.tuples(st.integers(0, 9), st.integers(0, 127), st.integers(0, 127), st.integers(0, 1))


@given(st.lists(st.lists(event, max_size=6), max_size=5))
def test_events_come_back_as_they_were_recorded(tmp_path_factory, parts):
    parts = [[(10 * k + t, x, y, p) for t, x, y, p in sorted(part)] for k, part in enumerate(parts)]
    path = write(tmp_path_factory.mktemp("a"), HEAD, *(events_of(*part) for part in parts))
    packets, faults, source = read(path)
    assert packets == [part for part in parts if part]
    assert (faults, source.format, source.sensor, source.skipped) == ([], "AEDAT3.1", SENSOR, {})


def test_the_widest_address_is_read(tmp_path):
    path = write(tmp_path, reference.aedat3_head(()), events_of((1, 32_767, 32_767, 1), (2, 0, 0, 0)))
    assert read(path, sensor=Sensor(32_768, 32_768))[0] == [[(1, 32_767, 32_767, 1), (2, 0, 0, 0)]]


def test_time_is_carried_on_by_the_overflow_of_the_packet(tmp_path):
    last = 2**31 - 1
    path = write(
        tmp_path,
        HEAD,
        events_of((last, 1, 1, 1)),
        events_of((0, 1, 1, 1), overflow=1),
        events_of((5, 1, 1, 0), (5, 1, 1, 1), overflow=3),
    )
    assert [packet[0][0] for packet in read(path)[0]] == [last, last + 1, 3 * 2**31 + 5]


@pytest.mark.parametrize("order", ["raise", "sort", "clip"])
@pytest.mark.parametrize(("place", "bit"), [(0, 0), (0, 30), (2, 0), (2, 1), (2, 6), (2, 30)])
def test_a_packet_whose_overflow_is_damaged_is_an_outlier(tmp_path, place, bit, order):
    parts = [[(10 * k + n, k, n, n & 1) for n in range(9)] for k in range(5)]
    damaged = [1 ^ (k == place) << bit for k in range(5)]
    path = write(tmp_path, HEAD, *(events_of(*part, overflow=over) for part, over in zip(parts, damaged, strict=True)))
    packets, faults, source = read(path, on_disorder=order)
    expected = [(t + 2**31, x, y, p) for k, part in enumerate(parts) if k != place for t, x, y, p in part]
    if (place, bit) == (0, 0):  # a first packet before all others: nothing contradicts it
        expected = parts[0] + expected
    assert [row for packet in packets for row in packet] == expected
    assert not faults
    assert source.skipped == ({} if (place, bit) == (0, 0) else {"event with an outlying time": 9})
    assert source.disorders == 0


def test_a_clock_that_is_set_back_for_good_is_not_an_outlier(tmp_path):
    over = (3, 3, 0, 0)
    parts = [[(20 * k + n, 1, 1, 1) for n in range(20)] for k in range(4)]
    path = write(tmp_path, HEAD, *(events_of(*part, overflow=each) for part, each in zip(parts, over, strict=True)))
    packets, faults, source = read(path, on_disorder="clip")
    assert sum(map(len, packets)) == 80
    assert (faults, source.skipped, source.disorders) == ([], {}, 40)


def test_invalid_events_are_counted_and_left_out(tmp_path):
    path = write(tmp_path, HEAD, events_of((1, 2, 3, 1), (9, 2, 3, 1, 0), (4, 5, 6, 0)), events_of((4, 1, 1, 1, 0)))
    packets, faults, source = read(path)
    assert packets == [[(1, 2, 3, 1), (4, 5, 6, 0)]]
    assert (faults, source.skipped) == ([], {"invalid event": 2})


def test_events_of_other_kinds_and_sources_are_counted_and_left_out(tmp_path):
    path = write(
        tmp_path,
        HEAD,
        reference.aedat3_packet([bytes(8)] * 2, type=0),
        reference.aedat3_packet([bytes(100)], type=2),
        events_of((1, 2, 3, 1)),
        reference.aedat3_packet([bytes(36)] * 3, type=3),
        reference.aedat3_packet([bytes(44)], type=12),
        events_of((1, 2, 3, 0), (2, 2, 3, 0), source=2),
        events_of((2, 2, 3, 1)),
    )
    packets, faults, source = read(path)
    assert packets == [[(1, 2, 3, 1)], [(2, 2, 3, 1)]]
    assert faults == []
    assert source.skipped == {
        "special event": 2,
        "frame event": 1,
        "IMU event": 3,
        "other event": 1,
        "polarity event": 2,
    }


@pytest.mark.parametrize(
    ("lines", "sensor"),
    [
        (("#Source 1: DVS128",), SENSOR),
        (("#Source 1: DAVIS240C",), Sensor(240, 180)),
        (("#Source 0: DAVIS346B",), Sensor(346, 260)),
        (("#Source 1: Processor", "#-Source 0: DAVIS240A"), Sensor(240, 180)),
    ],
)
def test_the_geometry_is_that_of_the_chip(tmp_path, lines, sensor):
    assert read(write(tmp_path, reference.aedat3_head(lines)))[2].sensor == sensor


def test_an_unknown_source_asks_for_the_geometry(tmp_path):
    path = write(tmp_path, reference.aedat3_head(("#Source 1: File",)), events_of((1, 2, 3, 1)))
    with pytest.raises(EventFileError, match="--sensor WxH"):
        read(path)
    assert read(path, sensor=Sensor(4, 4))[0] == [[(1, 2, 3, 1)]]


@pytest.mark.parametrize("head", [reference.aedat3_head(layout="Serial-TS"), HEAD[:-6], HEAD[:40], HEAD[:12]])
def test_a_wrong_header_is_refused(tmp_path, head):
    with pytest.raises(EventFileError, match=r"AEDAT3\.1"):
        read(write(tmp_path, head))


def test_a_file_cut_anywhere_gives_its_whole_packets_and_says_so(tmp_path):
    parts = [[(k, k, 1, 1), (k, 2, k, 0)] for k in range(3)]
    coded = [events_of(*part) for part in parts]
    data = b"".join([HEAD, *coded])
    edges = list(len(HEAD) + np.cumsum([0, *(len(part) for part in coded)]))
    for length in range(len(HEAD), len(data) + 1):
        packets, faults, _ = read(write(tmp_path, data[:length]))
        whole = sum(edge <= length for edge in edges[1:])
        assert packets == parts[:whole]
        assert len(faults) == (length not in edges)
        assert all("truncated" in str(fault) and f"byte {edges[whole]}" in str(fault) for fault in faults)


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, -1), (4, 0), (4, 9), (4, -8), (8, 3), (12, -1), (16, 0), (20, -1), (20, 2**31 - 1), (24, 3)],
    ids=lambda value: str(value),
)
@pytest.mark.parametrize("block", [29, 40, 50])
def test_a_damaged_packet_header_costs_its_packet(tmp_path, monkeypatch, block, at, value):
    monkeypatch.setattr(aedat3, "BLOCK", block)  # so that packets lie across the blocks of the search
    damaged = bytearray(events_of((2, 1, 1, 1), (2, 1, 1, 1)))
    width = 2 if at == 0 else 4
    damaged[at : at + width] = value.to_bytes(width, "little", signed=True)
    before, behind = events_of((1, 1, 1, 1)), events_of((3, 1, 1, 1))
    packets, faults, _ = read(write(tmp_path, HEAD, before, damaged, behind))
    assert packets == [[(1, 1, 1, 1)], [(3, 1, 1, 1)]]
    assert [(fault.recoverable, fault.where) for fault in faults] == [(True, f"packet 1 at byte {len(HEAD) + 36}")]
    packets, faults, _ = read(write(tmp_path, HEAD, before, damaged))
    assert packets == [[(1, 1, 1, 1)]]
    assert [fault.recoverable for fault in faults] == [False]


def test_a_flipped_bit_costs_its_packet_only(tmp_path):
    parts = [[(10 * k + n, n, 5 + n, n % 2) for n in range(4)] for k in range(4)]
    coded = [events_of(*part) for part in parts]
    begin = len(HEAD) + len(coded[0])
    data = bytearray(HEAD + b"".join(coded))
    for place in range(begin, begin + len(coded[1]) - 4):  # except for the last time: far ahead, it is accepted
        bit = 1 << (place % 8)
        data[place] ^= bit
        packets, faults, source = read(write(tmp_path, data))
        data[place] ^= bit
        rows = [row for packet in packets for row in packet]
        assert rows[:4] == parts[0]
        assert rows[-8:] == parts[2] + parts[3], f"byte {place - begin} cost the packets behind it"
        assert all(fault.recoverable for fault in faults)
        assert faults or source.skipped or len(rows) == 16


@given(st.data())
def test_damage_never_does_worse_than_a_fault(tmp_path_factory, data):
    whole = bytearray(HEAD + b"".join(events_of((k, 1, 1, 1), (k, 2, 2, 0)) for k in range(4)))
    for at, value in data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4)):
        whole[at] = value
    try:
        packets, _, _ = read(write(tmp_path_factory.mktemp("a"), whole), sensor=SENSOR)
    except EventFileError:
        return
    t = [row[0] for packet in packets for row in packet]
    assert t == sorted(t)


def test_events_are_those_of_tonic(tmp_path, monkeypatch):
    tonic = pytest.importorskip("tonic.io")
    rng = np.random.default_rng(0)
    events = [(k, int(rng.integers(128)), int(rng.integers(128)), int(rng.integers(2))) for k in range(500)]
    path = write(tmp_path, HEAD, events_of(*events[:200]), events_of(*events[200:]))
    version, start, _ = tonic.read_aedat_header_from_file(str(path))
    monkeypatch.setattr(
        tonic, "read_aedat_header_from_file", lambda name: (version, start)
    )  # theirs gives one too many
    theirs = tonic.read_dvs_ibm(str(path))[1]
    ours = [row for packet in read(path)[0] for row in packet]
    assert [tuple(int(event[name]) for name in "txyp") for event in theirs] == ours == events
