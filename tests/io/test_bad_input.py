"""Any bytes give an `EventFileError` or correct events, with all events before the fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from all_formats import EVENTS, FORMATS, SENSOR, aedat3, dat
from hypothesis import given
from hypothesis import strategies as st
from recordings import assert_same, make_events, read_with_faults

from eventveil import EventPacket, Sensor
from eventveil.errors import EventFileError
from eventveil.io import open_events
from eventveil.io.formats.aedat4_writer import Aedat4Writer

every_format = pytest.mark.parametrize("name", FORMATS)
# Each HDF5 file is read in its own process, so sixty take long. tests/system/test_fuzz.py damages HDF5 as well.
every_damaged_format = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.nightly] if name == "HDF5" else []) for name in FORMATS]
)


def make(folder, name, events=EVENTS, sensor=SENSOR):
    path = folder / f"recording{FORMATS[name].suffix}"
    FORMATS[name].write(path, events, sensor)
    return path


def read(path, sensor=SENSOR, on_disorder="raise"):
    """Return all events and faults; a single fault if the file cannot be opened."""
    try:
        source = open_events(path, sensor=sensor, on_disorder=on_disorder)
    except EventFileError as fault:
        return EventPacket.empty(), [fault]
    return read_with_faults(source)


def assert_well_formed(events, sensor=SENSOR):
    assert (events.t[1:] >= events.t[:-1]).all()
    assert (events.x < sensor.width).all()
    assert (events.y < sensor.height).all()
    assert (events.p.view(np.uint8) <= 1).all()


@every_format
def test_a_good_file_is_read_exactly(tmp_path, name):
    with open_events(make(tmp_path, name), sensor=SENSOR) as source:
        assert source.format == name
        got, faults = read_with_faults(source)
    assert not faults
    assert_same(got, EVENTS)


@every_format
@pytest.mark.parametrize("events", [0, 1])
def test_hardly_any_events(tmp_path, name, events):
    path = make(tmp_path, name, EVENTS[:events])
    if path.stat().st_size:
        got, faults = read(path)
        assert not faults
        assert_same(got, EVENTS[:events])


@every_format
def test_missing_folder_and_empty(tmp_path, name):
    path = tmp_path / f"recording{FORMATS[name].suffix}"
    with pytest.raises(EventFileError, match="no such file"):
        open_events(path, sensor=SENSOR)
    path.touch()
    with pytest.raises(EventFileError, match="empty"):
        open_events(path, sensor=SENSOR)
    path.unlink()
    path.mkdir()
    with pytest.raises(EventFileError, match="not a file"):
        open_events(path, sensor=SENSOR)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="may read everything")
@every_format
def test_a_file_that_may_not_be_read(tmp_path, name):
    path = make(tmp_path, name)
    path.chmod(0)
    with pytest.raises(EventFileError, match="Permission denied"):
        open_events(path, sensor=SENSOR)


@every_damaged_format
@given(data=st.data())
def test_cut_off_anywhere(tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("cut")
    header = make(folder, name, EVENTS[:0]).stat().st_size
    path = make(folder, name)
    whole = path.read_bytes()
    lost = data.draw(st.integers(1, len(whole) - 1))
    path.write_bytes(whole[:-lost])
    got, faults = read(path)
    assert_same(got, EVENTS[: len(got)])
    assert len(faults) <= 1
    if len(got) < len(EVENTS) and not faults and len(whole) - lost > header:
        assert FORMATS[name].may_end(whole[:-lost], lost, len(got)), "events were lost in silence"


@pytest.mark.kernel
@every_damaged_format
@given(data=st.data())
def test_flipped_bits(tmp_path_factory, name, data):
    path = make(tmp_path_factory.mktemp("flip"), name, EVENTS[:200])
    damaged = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(0, len(damaged) * 8 - 1), min_size=1, max_size=8)):
        damaged[place // 8] ^= 1 << place % 8
    path.write_bytes(damaged)
    got, _ = read(path, on_disorder=data.draw(st.sampled_from(["raise", "sort", "clip"])))
    assert_well_formed(got)


@pytest.mark.kernel
@every_damaged_format
@given(data=st.data())
def test_garbage_after_a_good_beginning(tmp_path_factory, name, data):
    path = make(tmp_path_factory.mktemp("garbage"), name)
    whole = path.read_bytes()
    kept = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:kept] + np.random.default_rng(kept).bytes(data.draw(st.sampled_from([7, 100, 20_000]))))
    got, _ = read(path)
    assert_well_formed(got)


@every_format
@pytest.mark.parametrize(
    "content",
    [
        np.random.default_rng(5).bytes(5_000),
        b"What is this? Certainly no recording.\n" * 50,
        bytes(3_000),
        b"\xff" * 3_000,
    ],
    ids=["noise", "prose", "zeros", "ones"],
)
def test_garbage_is_not_read_in_silence(tmp_path, name, content):
    path = tmp_path / f"recording{FORMATS[name].suffix}"
    path.write_bytes(content)
    got, faults = read(path)
    assert_well_formed(got)
    assert faults


@every_format
@pytest.mark.parametrize("suffix", [".aedat4", ".csv", ".raw", ".xyz", ""])
def test_content_comes_before_extension(tmp_path, name, suffix):
    path = make(tmp_path, name).rename(tmp_path / f"renamed{suffix}")
    got, faults = read(path)
    if FORMATS[name].signed:
        assert not faults
        assert_same(got, EVENTS)
    else:
        assert len(got) == 0
        assert faults


@every_format
def test_coordinates_outside_cost_no_more_than_their_packet(tmp_path, name):
    if name in ("AEDAT2", "AEDAT3.1"):
        pytest.skip("its address holds no pixel outside")
    small = Sensor(64, 64)
    events = make_events(600, sensor=small)
    events.x[250] = 64
    got, faults = read(make(tmp_path, name, events, small), small)
    assert_well_formed(got, small)
    assert_same(got[:250], events[:250])
    if name in ("EVT3", "EVT2", "EVT2.1", "DAT", "N-Caltech101", "CSV"):  # one word or line per event
        assert not faults
        assert_same(got[250:], events[251:])
        return
    assert len(faults) == 1
    assert faults[0].recoverable
    assert "outside" in str(faults[0])


@every_format
def test_time_that_goes_back(tmp_path, name):
    if name == "ES":
        pytest.skip("it holds steps forward only")
    events = make_events(600, sensor=SENSOR, start_us=10_000)
    events.t[250] -= 200
    path = make(tmp_path, name, events)
    got, faults = read(path)
    assert len(faults) == 1
    assert "time goes back" in str(faults[0])
    assert_well_formed(got)
    assert 0 < len(got) < 600
    assert_same(got[:100], events[:100])
    clipped, faults = read(path, on_disorder="clip")
    assert not faults
    np.testing.assert_array_equal(clipped.t, np.maximum.accumulate(events.t))
    np.testing.assert_array_equal(clipped.x, events.x)
    ordered, faults = read(path, on_disorder="sort")
    assert not faults
    np.testing.assert_array_equal(ordered.t, np.sort(events.t))
    np.testing.assert_array_equal(ordered.x, events.x[np.argsort(events.t, kind="stable")])


def test_faults_hold_no_events(tmp_path):
    events = make_events(600, sensor=SENSOR)
    events.t[300] = 0
    events.x[400] = 54_321
    for name in ("NPY", "CSV"):
        for fault in read(make(tmp_path, name, events))[1]:
            assert "54321" not in str(fault)


READ_AND_WEIGH = """
import json, re, sys
from pathlib import Path
from eventveil import Sensor
from eventveil.io import open_events
with open_events(sys.argv[1], sensor=Sensor(128, 128)) as source:
    events = sum(len(packet) for packet in source)
peak = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([events, peak]))
"""


def make_large_npy(path):
    FORMATS["NPY"].write(path, EVENTS[:0], SENSOR)
    events = (1_000_000_000 - 128) // 16
    head = path.read_bytes().replace(b"(0,), }" + b" " * 9, f"({events},), }}".encode().ljust(16))
    path.write_bytes(head)
    os.truncate(path, len(head) + 16 * events)
    return events


def make_large_dat(path):
    head = dat(EVENTS[:0], SENSOR)
    path.write_bytes(head)
    os.truncate(path, len(head) + 8 * 30_000_000)
    return 30_000_000


def make_large_aedat4(path):
    packet = make_events(65_536, sensor=SENSOR)
    packet.t[:] = 1
    with Aedat4Writer(path, SENSOR, "NONE") as writer:
        for _ in range(200):
            writer.write(packet)
    return 200 * 65_536


def make_large_aedat3(path):
    packet = make_events(100, sensor=SENSOR)
    packet.t[:] = 1
    whole = aedat3(packet, SENSOR)
    body = aedat3(EVENTS[:0], SENSOR)
    path.write_bytes(body + whole[len(body) :] * 30_000)
    return 3_000_000


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="memory is weighed on Linux")  # noqa: PTH110
@pytest.mark.parametrize(
    ("suffix", "make_large"),
    [(".npy", make_large_npy), (".dat", make_large_dat), (".aedat4", make_large_aedat4), (".aedat", make_large_aedat3)],
    ids=["1 GB of NPY", "240 MB of DAT", "200 MB of AEDAT4", "25 MB of AEDAT 3.1"],
)
def test_a_large_file_takes_little_memory(tmp_path, suffix, make_large):
    path = tmp_path / f"large{suffix}"
    events = make_large(path)
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_WEIGH, path], capture_output=True, text=True, timeout=100, check=True
    )
    path.unlink()
    read_events, peak = json.loads(done.stdout)
    assert read_events == events
    assert peak < 300
