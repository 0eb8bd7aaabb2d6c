"""AEDAT 2.0: the address layouts of DVS128 and DAVIS, wraps of time, and words that are not events."""

from __future__ import annotations

import numpy as np
import pytest
import reference_io as reference
from hypothesis import given
from hypothesis import strategies as st

from eventveil.errors import EventFileError
from eventveil.events import Sensor
from eventveil.io import open_events
from eventveil.io.formats import aedat2

DVS128 = "ch.unizh.ini.jaer.chip.retina.DVS128"
DAVIS240 = "eu.seebetter.ini.chips.davis.DAVIS240C"
SENSOR240 = Sensor(240, 180)
WRAP = 1 << 32


def write(folder, data, name="a.aedat"):
    path = folder / name
    path.write_bytes(data)
    return path


def read(path, **options):
    with open_events(path, **options) as source:
        rows = [row for packet in source for row in reference.rows(packet)]
    return rows, source


def on_dvs128(events):
    return [(reference.dvs128_address(x, y, p), t) for t, x, y, p in events]


def on_davis(events, sensor=SENSOR240):
    return [(reference.davis_address(sensor, x, y, p), t) for t, x, y, p in events]


@pytest.mark.parametrize("x", [0, 1, 127])
@pytest.mark.parametrize("y", [0, 2, 127])
@pytest.mark.parametrize("p", [0, 1])
def test_dvs128_events_are_found_in_their_corner(tmp_path, x, y, p):
    rows, source = read(write(tmp_path, reference.aedat2(DVS128, on_dvs128([(7, x, y, p)]))))
    assert rows == [(7, x, y, p)]
    assert (source.format, source.sensor) == ("AEDAT2", Sensor(128, 128))


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 239), st.integers(0, 179), st.integers(0, 1))))
def test_davis_events_are_found_in_their_place(tmp_path_factory, events):
    events = [(10 * number + t, x, y, p) for number, (t, x, y, p) in enumerate(events)]
    folder = tmp_path_factory.mktemp("a")
    rows, source = read(write(folder, reference.aedat2(DAVIS240, on_davis(events))))
    assert rows == events
    assert source.sensor == SENSOR240


def test_samples_and_signals_are_counted_and_left_out(tmp_path):
    aps, imu, signal = 1 << 31 | 5 << 22, 1 << 31 | 3 << 10, 1 << 10
    words = [(aps, 1), *on_davis([(2, 3, 4, 1)]), (aps | 1 << 10, 2), (imu, 3), (signal, 3), *on_davis([(4, 5, 6, 0)])]
    rows, source = read(write(tmp_path, reference.aedat2(DAVIS240, words)))
    assert rows == [(2, 3, 4, 1), (4, 5, 6, 0)]
    assert source.skipped == {"APS sample": 2, "IMU sample": 1, "special event": 1}


def test_an_external_signal_of_a_dvs128_is_counted(tmp_path):
    rows, source = read(write(tmp_path, reference.aedat2(DVS128, [(1 << 15, 1), *on_dvs128([(2, 3, 4, 1)])])))
    assert rows == [(2, 3, 4, 1)]
    assert source.skipped == {"special event": 1}


@given(st.lists(st.integers(0, 59_000_000), min_size=1, max_size=100), st.integers(0, WRAP - 1), st.integers(1, 4))
def test_time_is_carried_on_where_it_wraps(tmp_path_factory, steps, start, packet_events):
    times = start + np.cumsum([0, *steps])
    data = reference.aedat2(DVS128, on_dvs128([(int(t), 1, 2, 1) for t in times]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aedat2, "PACKET_EVENTS", packet_events)
        rows, _ = read(write(tmp_path_factory.mktemp("a"), data))
    assert [row[0] for row in rows] == list(times)


@pytest.mark.parametrize("back", [1, 10, WRAP // 4 + 1, WRAP // 2])
def test_time_that_goes_back_by_less_than_half_its_range_is_not_a_wrap(tmp_path, back):
    start = WRAP - 1
    times = [*range(start - 9, start + 1), start - back, start - back + 1]
    path = write(tmp_path, reference.aedat2(DVS128, on_dvs128([(t, 1, 1, 1) for t in times])))
    with pytest.raises(EventFileError, match="time goes back"):
        read(path)
    rows, source = read(path, on_disorder="clip")
    assert [row[0] for row in rows] == [*times[:10], start, start]
    assert source.disorders == (1 if back == 1 else 2)


# The chip ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chip", "sensor"),
    [
        ("ch.unizh.ini.jaer.chip.retina.Tmpdiff128", Sensor(128, 128)),
        ("eu.seebetter.ini.chips.davis.Davis346red", Sensor(346, 260)),
        ("eu.seebetter.ini.chips.davis.DAVIS240B", SENSOR240),
        ("eu.seebetter.ini.chips.davis.Davis640", Sensor(640, 480)),
        ("eu.seebetter.ini.chips.davis.Davis208PixelParade", Sensor(208, 192)),
    ],
)
def test_the_geometry_is_that_of_the_chip(tmp_path, chip, sensor):
    assert read(write(tmp_path, reference.aedat2(chip, [])))[1].sensor == sensor


def test_without_a_chip_the_geometry_must_be_given_and_tells_the_layout(tmp_path):
    davis = write(tmp_path, reference.aedat2("", on_davis([(1, 2, 3, 1)])), "davis.aedat")
    dvs = write(tmp_path, reference.aedat2("", on_dvs128([(1, 2, 3, 1)])), "dvs.aedat")
    with pytest.raises(EventFileError, match="--sensor WxH"):
        read(davis)
    assert read(davis, sensor=SENSOR240)[0] == [(1, 2, 3, 1)]
    assert read(dvs, sensor=Sensor(128, 128))[0] == [(1, 2, 3, 1)]
    with pytest.raises(EventFileError, match="does not name its chip"):
        read(davis, sensor=Sensor(100, 100))


@pytest.mark.parametrize(("make", "wrong"), [(on_davis, Sensor(128, 128)), (on_dvs128, Sensor(346, 260))])
def test_a_stated_geometry_whose_layout_is_another_is_refused(tmp_path, make, wrong):
    random = np.random.default_rng(0)
    events = [(t, int(random.integers(128)), int(random.integers(128)), t % 2) for t in range(1_000)]
    path = write(tmp_path, reference.aedat2("", make(events)))
    with pytest.raises(EventFileError, match="addresses are not those of a"):
        read(path, sensor=wrong)
    assert read(path, sensor=Sensor(128, 128) if wrong != Sensor(128, 128) else SENSOR240)[0] == events


def test_another_chip_is_refused(tmp_path):
    with pytest.raises(EventFileError, match="Cochlea"):
        read(write(tmp_path, reference.aedat2("ch.unizh.ini.jaer.chip.cochlea.CochleaAMS1c", [])))


# Edges ---------------------------------------------------------------------------------------------------------------


def test_a_header_alone_holds_no_events(tmp_path):
    assert read(write(tmp_path, reference.aedat2(DVS128, [])))[0] == []


def test_an_event_may_look_like_a_comment(tmp_path):
    """An address may begin with the byte of `#`; its time is not text."""
    x, y = 17, 179 - (0x23 << 24 >> 22)
    words = on_davis([(1, x, y, 1)])
    assert words[0][0].to_bytes(4, "big").startswith(b"#")
    assert read(write(tmp_path, reference.aedat2(DAVIS240, words)))[0] == [(1, x, y, 1)]


def test_the_end_of_comments_may_be_marked(tmp_path):
    data = reference.aedat2(DVS128, []) + b"#End Of ASCII Header\r\n"
    words = reference.aedat2("", on_dvs128([(0x20202020, 1, 2, 0)]))
    events = words[len(reference.aedat2("", [])) :]
    assert read(write(tmp_path, data + events))[0] == [(0x20202020, 1, 2, 0)]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_truncated_event_is_reported_after_the_whole_ones(tmp_path, cut):
    data = reference.aedat2(DVS128, on_dvs128([(1, 2, 3, 1), (2, 2, 3, 1), (3, 4, 5, 0)]))[:-cut]
    with open_events(write(tmp_path, data)) as source:
        assert reference.rows(next(source)) == [(1, 2, 3, 1), (2, 2, 3, 1)]
        with pytest.raises(EventFileError, match=f"byte {len(data) - 8 + cut}: the file is truncated"):
            next(source)
        assert list(source) == []


def test_a_coordinate_off_the_chip_is_a_fault(tmp_path):
    words = [*on_davis([(1, 2, 3, 1)]), (1023 << 12, 2), (1022 << 12, 3)]  # two of three: not isolated
    with open_events(write(tmp_path, reference.aedat2(DAVIS240, words))) as source:
        assert len(next(source)) == 1
        with pytest.raises(EventFileError, match="outside the sensor of 240x180"):
            next(source)


# Real recordings -----------------------------------------------------------------------------------------------------


def test_a_real_dvs128_recording(real_data):
    path = real_data / "recordings" / "foam90.aedat"
    rows, source = read(path)
    assert (source.sensor, len(rows), source.skipped) == (Sensor(128, 128), 1_575, {})
    assert round((rows[-1][0] - rows[0][0]) / 1e6, 1) == 4.9


def test_a_real_header_without_events(real_data):
    rows, source = read(real_data / "recordings" / "tonic_sample_aedat_header.aedat")
    assert (rows, source.sensor) == ([], Sensor(346, 260))


def test_davis_events_are_those_of_tonic(tmp_path):
    tonic = pytest.importorskip("tonic.io")
    rng = np.random.default_rng(0)
    events = [(k, int(rng.integers(346)), int(rng.integers(260)), int(rng.integers(2))) for k in range(500)]
    words = on_davis(events, Sensor(346, 260))
    path = write(tmp_path, reference.aedat2("eu.seebetter.ini.chips.davis.Davis346red", words))
    theirs = tonic.read_davis_346(str(path))[2]
    assert [tuple(int(event[name]) for name in "txyp") for event in theirs] == read(path)[0]
