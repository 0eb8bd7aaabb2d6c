"""Times that a file cannot hold exactly, or whose unit it does not state, are refused, whatever the format."""

from __future__ import annotations

from fractions import Fraction

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import join, read_with_faults

from eventveil import EventPacket, Sensor
from eventveil.errors import EventFileError
from eventveil.io import open_events
from eventveil.io.formats.columns import ColumnError, find_fields, find_unit, to_microseconds

N = 1_000
T = 1_234_000_000 + np.arange(N)  # one event each microsecond, after twenty minutes
YEAR_2024_NS = 1_700_000_000_000_000_000
NAMES = ("t", "x", "y", "p")


def npy(path, t):
    array = np.zeros(len(t), [("t", t.dtype), ("x", "u2"), ("y", "u2"), ("p", "?")])
    array["t"] = t
    np.save(path / "a.npy", array)
    return path / "a.npy"


def table(path, t):
    np.save(path / "a.npy", np.stack([t, *np.zeros((3, len(t)), t.dtype)], axis=1))
    return f"{path / 'a.npy'}?columns=t,x,y,p"


def npz(path, t):
    np.savez(path / "a.npz", t=t, x=np.zeros(len(t), "u2"), y=np.zeros(len(t), "u2"), p=np.zeros(len(t), "?"))
    return path / "a.npz"


def hdf5(path, t):
    with h5py.File(path / "a.h5", "w") as file:
        for name in NAMES:
            file[f"events/{name}"] = t if name == "t" else np.zeros(len(t), "u2")
    return path / "a.h5"


FORMATS = {function.__name__: function for function in (npy, table, npz, hdf5)}


def read(source, **options):
    query = "&".join(f"{key}={value}" for key, value in options.items())
    separator = "&" if "?" in str(source) else "?"
    try:
        with open_events(f"{source}{separator}{query}" if query else source, sensor=Sensor(9, 9)) as events:
            return read_with_faults(events)
    except EventFileError as fault:  # the whole file is refused
        return EventPacket.empty(), [fault]


@pytest.mark.parametrize("name", FORMATS)
def test_float32_times_are_refused_where_they_cannot_hold_a_microsecond(tmp_path, name):
    coarse = T.astype(np.float32)
    assert len(np.unique(coarse)) < 20
    got, faults = read(FORMATS[name](tmp_path, coarse))
    assert len(got) == 0
    assert "too large to be exact in float32" in str(faults[0])
    fine = np.arange(2**24 - N, 2**24).astype(np.float32)
    assert read(FORMATS[name](tmp_path, fine))[0].t.tolist() == fine.tolist()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_seconds_rounded_to_float32_are_refused_even_if_stored_as_float64(tmp_path, name, kind):
    t = T[0] + np.cumsum(np.random.default_rng(0).integers(1, 500, N))
    coarse = (t / 1e6).astype(np.float32).astype(kind)
    got, faults = read(FORMATS[name](tmp_path, coarse), unit="s")
    assert len(got) == 0
    assert "float32" in str(faults[0])
    assert read(FORMATS[name](tmp_path, t / 1e6), unit="s")[0].t.tolist() == t.tolist()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.float64])
def test_nanoseconds_since_1970_need_a_unit(tmp_path, name, kind):
    if name == "table" and kind == np.uint64:
        kind = np.int64
    t = (YEAR_2024_NS + 1024_000 * np.arange(N)).astype(kind)
    got, faults = read(FORMATS[name](tmp_path, t))
    assert len(got) == 0
    assert kind == np.float64 or "beyond the year 2100" in str(faults[0])
    if kind != np.float64:
        assert read(FORMATS[name](tmp_path, t), unit="ns")[0].t.tolist() == (t // 1000).tolist()
        assert len(read(FORMATS[name](tmp_path, t), unit="us")[0]) == N  # the user knows best


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_wrong_with_a_whole_table_is_said_once_at_opening_with_one_remedy(tmp_path, name):
    """100,000 events are several packets; each would have the same fault."""
    seconds = np.arange(100_000) / 1e6 + 1e-7
    path = FORMATS[name](tmp_path, seconds)
    with pytest.raises(EventFileError, match="fractions, and no unit; state the unit") as refused:
        open_events(path, sensor=Sensor(9, 9))
    assert "check how" not in str(refused.value)
    assert "columns=x,y,p,t" not in str(refused.value)


@pytest.mark.parametrize("name", FORMATS)
def test_a_few_wrong_rows_at_the_start_cost_their_packet_alone(tmp_path, name):
    t = np.arange(100_000, dtype=np.float64)
    t[3] = np.nan
    got, faults = read(FORMATS[name](tmp_path, t))
    assert len(faults) == 1
    assert 0 < len(got) < len(t)
    assert got.t.tolist() == t[-len(got) :].tolist()


def test_microseconds_since_1970_need_none(tmp_path):
    t = YEAR_2024_NS // 1000 + np.arange(N)
    assert read(npy(tmp_path, t))[0].t.tolist() == t.tolist()


@pytest.mark.parametrize("step_us", [1_000, 500_000, 1_000_000])
def test_a_coarse_clock_is_not_taken_for_float32(step_us):
    t = step_us * np.arange(2_000, 4_000)
    assert to_microseconds(t / 1e6, Fraction(1_000_000)).tolist() == t.tolist()


@pytest.mark.parametrize("step_us", [8, 100, 128])
def test_a_clock_of_another_step_is_not_taken_for_float32_in_text(tmp_path, step_us):
    """From 2^25 us on, float32 has steps of 4 us: every multiple of more is one of these, too."""
    t = 40_000_000 + step_us * np.arange(1_000)
    (tmp_path / "a.csv").write_text("t,x,y,p\n" + "".join(f"{time},1,2,1\n" for time in t.tolist()))
    assert read(tmp_path / "a.csv")[0].t.tolist() == t.tolist()


@pytest.mark.parametrize("start_us", [17_000_000, 40_000_000])
def test_float32_is_recognised_from_its_first_lost_microsecond_on(tmp_path, start_us):
    t = start_us + np.cumsum(np.random.default_rng(0).integers(1, 500, N))
    seconds = (t / 1e6 + 16).astype(np.float32)  # steps of 1.9 us and 3.8 us
    (tmp_path / "a.txt").write_text("".join(f"{time:.6f} 1 2 1\n" for time in seconds.tolist()))
    for source in (tmp_path / "a.txt", table(tmp_path, seconds.astype(np.float64))):
        got, faults = read(source, unit="s")
        assert len(got) == 0
        assert "rounded to float32" in str(faults[0])


def test_float16_coordinates_are_refused_where_they_are_not_exact(tmp_path):
    array = np.zeros(2, [("t", "i8"), ("x", "f2"), ("y", "u2"), ("p", "?")])
    array["x"] = [5, 2050]
    np.save(tmp_path / "a.npy", array)
    with open_events(tmp_path / "a.npy", sensor=Sensor(3000, 9)) as events:
        assert "float16" in str(read_with_faults(events)[1][0])
    np.save(tmp_path / "a.npy", array[:1])
    with open_events(tmp_path / "a.npy", sensor=Sensor(3000, 9)) as events:
        assert join(events).x.tolist() == [5]


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=50), st.sampled_from(["f2", "f4", "f8", "i8", "u8"]))
def test_a_time_comes_back_exactly_or_not_at_all(times, kind):
    with np.errstate(over="ignore"):
        stored = np.array(times, kind)
    exact = [value for value, time in zip(stored.tolist(), times, strict=True) if value == time]
    try:
        got = to_microseconds(stored, Fraction(1))
    except ColumnError:
        assert kind.startswith("f")
    else:
        limit = 2 ** (np.finfo(kind).nmant + 1) if kind.startswith("f") else 2**63
        assert max(got.tolist()) <= limit
        assert len(exact) == len(times) or kind.startswith("f")


@pytest.mark.parametrize(
    ("names", "unit"),
    [
        (("time (us)", "x", "y", "p"), 1),
        (("Timestamp [ms]", "x", "y", "polarity"), 1_000),
        (("t_ns", "x", "y", "on"), Fraction(1, 1_000)),
        (("timestamps_s", "xs", "ys", "ps"), 1_000_000),
        (('"t"', "'X'", '" y "', '"P"'), None),
    ],
)
def test_names_and_units_as_others_write_them(names, unit):
    assert find_fields(names) == {"t": 0, "x": 1, "y": 2, "p": 3}
    assert find_unit(names, None) == unit


def test_a_unit_in_a_name_counts_in_arrays_too(tmp_path):
    array = np.zeros(3, [("t_ms", "i8"), ("x", "u2"), ("y", "u2"), ("p", "?")])
    array["t_ms"] = [1, 2, 3]
    np.save(tmp_path / "a.npy", array)
    with open_events(tmp_path / "a.npy", sensor=Sensor(9, 9)) as events:
        assert join(events).t.tolist() == [1_000, 2_000, 3_000]
    with pytest.raises(EventFileError, match="times in ms by the name of their column, but"):
        open_events(f"{tmp_path / 'a.npy'}?unit=s", sensor=Sensor(9, 9))
