"""Events whose time is far from all others, in formats that store each time in full: they alone are left out."""

from __future__ import annotations

import aedat4_files
import numpy as np
import pytest
from all_formats import FORMATS, SENSOR, Format, never
from recordings import assert_same, join
from reference_evt import tuples

from eventveil import EventPacket
from eventveil.errors import EventFileError
from eventveil.io import open_events

N = 600  # in packets of 100, where the format has packets
START_US = 3_000_000
FAR_US = 2_000_000  # N-Caltech101 holds times up to 8.4 s
PLACES = (0, 1, 7, 99, 100, 350, N - 2, N - 1)  # at both ends, and on both sides of where two packets meet


def uncompressed(path, events, _):
    parts = [tuples(events[start : start + 100]) for start in range(0, len(events), 100)]
    path.write_bytes(aedat4_files.build(*((2, aedat4_files.event_payload(part)) for part in parts)))


ALL = {
    "AEDAT4": FORMATS["AEDAT4"],
    "AEDAT4 NONE": Format(".aedat4", uncompressed, never),
    **{name: FORMATS[name] for name in ("AEDAT3.1", "N-Caltech101", "NPY", "NPZ", "HDF5", "CSV")},
}


def recording(moved=()):
    """Return events every 100 us; those at some places are moved in time."""
    random = np.random.default_rng(1)
    t = START_US + 100 * np.arange(N)
    for place, by_us in dict(moved).items():
        t[place] += by_us
    x, y = random.integers(0, 10, (2, N))  # within the sensor of `aedat4_files`
    return EventPacket.of(t, x, y, random.integers(0, 2, N))


def read(name, path, events, **options):
    ALL[name].write(path, events, SENSOR)
    stated = name in ("AEDAT4 NONE", "AEDAT4", "AEDAT3.1", "HDF5", "CSV")
    with open_events(path, sensor=None if stated else SENSOR, **options) as source:
        return join(source), dict(source.skipped), source.disorders


def without(events, *places):
    kept = np.delete(np.arange(len(events)), places)
    return EventPacket(events.t[kept], events.x[kept], events.y[kept], events.p[kept])


@pytest.mark.parametrize("name", ALL)
def test_an_outlier_anywhere_is_left_out_alone_and_counted(tmp_path, name):
    path = tmp_path / f"a{ALL[name].suffix}"
    for place in PLACES if name != "HDF5" else (350,):  # each file takes a process
        for by_us in (FAR_US, -FAR_US):
            events = recording({place: by_us})
            if (place, by_us) in ((0, -FAR_US), (N - 1, FAR_US)):
                continue  # a single event two seconds apart may begin or end a recording
            got, skipped, disorders = read(name, path, events)
            assert_same(got, without(events, place))
            assert (skipped, disorders) == ({"event with an outlying time": 1}, 0)


@pytest.mark.parametrize("on_disorder", ["raise", "clip", "sort"])
def test_several_outliers_in_different_packets_are_left_out_under_every_policy(tmp_path, on_disorder):
    moved = {50: FAR_US, 199: -FAR_US, 200: 10**12, 401: -(10**12)}
    events = recording(moved)
    got, skipped, disorders = read("AEDAT4 NONE", tmp_path / "a.aedat4", events, on_disorder=on_disorder)
    assert_same(got, without(events, *moved))
    assert (skipped, disorders) == ({"event with an outlying time": 4}, 0)


@pytest.mark.parametrize("t", [2**63 - 1, -(2**63)])
def test_the_largest_times_are_outliers_like_others(tmp_path, t):
    events = recording()
    events.t[300] = t
    got, skipped, _ = read("NPY", tmp_path / "a.npy", events)
    assert_same(got, without(events, 300))
    assert skipped == {"event with an outlying time": 1}


def test_a_first_event_long_before_all_others_and_a_last_one_long_after_them_are_kept(tmp_path):
    """Nothing contradicts them: a recorder may have been left on."""
    events = recording({0: -START_US})
    later = EventPacket(events.t + 10**9 * (events.t > 0), events.x, events.y, events.p)
    later.t[-1] += 10**12
    got, skipped, _ = read("NPY", tmp_path / "a.npy", later)
    assert_same(got, later)
    assert skipped == {}


def test_a_silence_that_later_events_confirm_is_kept(tmp_path):
    events = recording()
    t = events.t + 10**10 * (np.arange(N) >= 300)
    events = EventPacket(t, events.x, events.y, events.p)
    got, skipped, _ = read("NPY", tmp_path / "a.npy", events)
    assert_same(got, events)
    assert skipped == {}


def test_many_far_times_are_disorder_and_no_outliers(tmp_path):
    random = np.random.default_rng(2)
    events = recording()
    t = random.permutation(100_000 * np.arange(N))
    shuffled = EventPacket(t, events.x, events.y, events.p)
    got, skipped, disorders = read("NPY", tmp_path / "a.npy", shuffled, on_disorder="sort")
    assert len(got) == N
    assert (skipped, disorders > 0) == ({}, True)
    with pytest.raises(EventFileError, match="time goes back"):
        read("NPY", tmp_path / "a.npy", shuffled)


def test_a_clock_that_is_set_back_is_disorder(tmp_path):
    events = recording()
    t = events.t - FAR_US * (np.arange(N) >= 300)
    with pytest.raises(EventFileError, match="time goes back"):
        read("NPY", tmp_path / "a.npy", EventPacket(t, events.x, events.y, events.p))


def test_what_waits_at_the_end_is_checked_as_well(tmp_path):
    events = recording({N - 3: FAR_US, N - 2: FAR_US, N - 1: FAR_US})
    events.x[N - 2] = 128
    ALL["AEDAT3.1"].write(tmp_path / "a.aedat", events, SENSOR)
    with open_events(tmp_path / "a.aedat") as source:
        got = join(source)
    assert_same(got, without(events, N - 2))
    assert source.skipped == {"event off the sensor": 1}


@pytest.mark.parametrize("name", ["DAT", "AEDAT2", "N-Caltech101", "NPY"])
def test_zeros_at_the_end_cost_no_event_before_them(tmp_path, name):
    """A disk that lost power, or a recorder that reserves space, leaves them. One event of zeros is a wrong time."""
    form = FORMATS[name]
    events = recording()
    zeros = EventPacket(*(np.concatenate((column, np.zeros(50, column.dtype))) for column in columns(events)))
    path = tmp_path / f"a{form.suffix}"
    form.write(path, zeros, SENSOR)
    got = []
    with open_events(path, sensor=SENSOR) as source, pytest.raises(EventFileError, match="time goes back"):
        got.extend(source)
    assert_same(join(got), events)


def columns(events):
    return events.t, events.x, events.y, events.p
