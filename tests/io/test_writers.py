from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import SENSOR, assert_same, cut, join, make_events

from eventveil import EventPacket, Sensor
from eventveil.errors import EventError, EventFileError
from eventveil.io import open_events
from eventveil.io.formats.csv_writer import CsvWriter
from eventveil.io.formats.writer import WRITERS, open_writer

EPOCH_US = 1_700_000_000_000_000
DAY_US = 86_400_000_000


def write(path, packets, sensor=SENSOR):
    with open_writer(path, sensor) as writer:
        for packet in packets:
            writer.write(packet)
    return writer


def read(path, sensor=SENSOR):
    with open_events(path, sensor=sensor) as source:
        assert source.sensor == sensor
        return join(source)


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("start_us", [0, 17, EPOCH_US])
def test_round_trip_is_exact(tmp_path, suffix, start_us):
    events = make_events(20_000, start_us=start_us)
    writer = write(tmp_path / f"a{suffix}", cut(events, 1, 1, 5_000))
    assert writer.events == 20_000
    assert_same(read(tmp_path / f"a{suffix}"), events)
    assert [path.name for path in tmp_path.iterdir()] == [f"a{suffix}"]


@pytest.mark.parametrize("suffix", WRITERS)
@given(data=st.data())
def test_round_trip_of_anything(tmp_path_factory, suffix, data):
    steps = data.draw(st.lists(st.sampled_from([0, 1, 3, 4095, 4096, 4097, 1 << 24, DAY_US]), max_size=20))
    sensor = Sensor(data.draw(st.integers(1, 1280)), data.draw(st.integers(1, 720)))
    pixels = st.tuples(st.integers(0, sensor.width - 1), st.integers(0, sensor.height - 1), st.booleans())
    xyp = data.draw(st.lists(pixels, min_size=len(steps), max_size=len(steps)))
    columns = np.array(xyp, dtype=int).reshape(-1, 3)
    events = EventPacket.of(np.cumsum(steps, dtype=np.int64), *columns.T)
    places = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=3)))
    path = tmp_path_factory.mktemp("writers") / f"a{suffix}"
    write(path, cut(events, *places), sensor)
    assert_same(read(path, sensor), events)


@pytest.mark.parametrize("suffix", WRITERS)
def test_strided_views_are_written_as_what_they_show(tmp_path, suffix):
    events = make_events(3_000)
    every_second = EventPacket(events.t[::2], events.x[::2], events.y[::2], events.p[::2])
    write(tmp_path / f"a{suffix}", [every_second])
    assert_same(read(tmp_path / f"a{suffix}"), join([every_second]))


@pytest.mark.parametrize("suffix", WRITERS)
def test_no_events_are_a_recording_too(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", [])
    assert len(read(tmp_path / f"a{suffix}")) == 0


@pytest.mark.parametrize("suffix", sorted(WRITERS.keys() - {".npy"}))
def test_geometry_is_kept(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", [make_events(5)])
    with open_events(tmp_path / f"a{suffix}") as source:
        assert source.sensor == SENSOR


def test_npy_is_what_numpy_loads(tmp_path):
    events = make_events(1_000)
    write(tmp_path / "a.npy", [events])
    array = np.load(tmp_path / "a.npy")
    assert array.dtype.itemsize == 16
    for field in "txyp":
        np.testing.assert_array_equal(array[field], getattr(events, field))
    with pytest.raises(EventFileError, match="--sensor WxH"):
        open_events(tmp_path / "a.npy")


def test_nothing_of_the_memory_gets_out_between_the_fields(tmp_path):
    write(tmp_path / "a.npy", [make_events(1_000)])
    records = np.fromfile(tmp_path / "a.npy", np.uint8)[-16_000:].reshape(-1, 16)
    assert not records[:, 13:].any()


@pytest.mark.parametrize("t", [-(2**53), 2**53])
def test_csv_refuses_times_that_would_not_come_back(tmp_path, t):
    events = EventPacket.of([t], [1], [2], [1])
    write(tmp_path / "a.csv", [events])
    assert_same(read(f"{tmp_path / 'a.csv'}?unit=us"), events)  # stated, as they lie beyond the year 2100
    further = t + np.sign(t)
    with pytest.raises(EventFileError, match="AEDAT4 or NPY"):
        write(tmp_path / "b.csv", [EventPacket.of([further], [1], [2], [1])])
    assert not (tmp_path / "b.csv").exists()


def test_csv_is_plain_text(tmp_path):
    write(tmp_path / "a.csv", [EventPacket.of([5, 7], [0, 345], [0, 259], [1, 0])])
    assert (tmp_path / "a.csv").read_text() == "# geometry 346x260\nt,x,y,p\n5,0,0,1\n7,345,259,0\n"


def interrupted():
    yield make_events(10)
    raise KeyboardInterrupt


@pytest.mark.parametrize("suffix", WRITERS)
def test_an_exception_leaves_the_target_as_it_was(tmp_path, suffix):
    target = tmp_path / f"a{suffix}"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write(target, interrupted())
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_target_appears_at_the_clean_end_only(tmp_path):
    target = tmp_path / "a.csv"
    with open_writer(target, SENSOR) as writer:
        writer.write(make_events(10))
        assert not target.exists()
    assert target.exists()


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    "packets",
    [
        [EventPacket.of([1], [346], [0], [1])],
        [EventPacket.of([1], [0], [260], [1])],
        [EventPacket.of([2, 1], [0, 0], [0, 0], [1, 1])],
        [EventPacket.of([2], [0], [0], [1]), EventPacket.of([1], [0], [0], [1])],
    ],
    ids=["x", "y", "order", "order between packets"],
)
def test_events_that_no_reader_would_take_are_refused(tmp_path, suffix, packets):
    with pytest.raises(EventError):
        write(tmp_path / f"a{suffix}", packets)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_extension_names_the_known_ones(tmp_path):
    for name in ("a.mp4", "a"):
        with pytest.raises(EventFileError, match=r"\.aedat4, \.raw, \.npy, \.csv"):
            open_writer(tmp_path / name, SENSOR)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "folder.csv", tmp_path / "missing" / "a.csv"):
        with pytest.raises(EventFileError, match="cannot be written") as error, open_writer(path, SENSOR):
            pass
        assert error.value.path == path


@pytest.mark.parametrize("moment", ["begin", "encode", "finish"])
def test_a_full_disk_is_reported_and_leaves_nothing(tmp_path, monkeypatch, moment):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(CsvWriter, moment, full)
    with pytest.raises(EventFileError, match=r"a\.csv.*No space left"):
        write(tmp_path / "a.csv", [make_events(10)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_at_the_last_flush(tmp_path, monkeypatch):
    writer = open_writer(tmp_path / "a.csv", SENSOR)
    full = os.open("/dev/full", os.O_RDWR)
    monkeypatch.setattr("eventveil.host.files.os.open", lambda *_: full)
    with pytest.raises(EventFileError, match="No space left"), writer:
        writer.write(make_events(10))
    assert list(tmp_path.iterdir()) == []
