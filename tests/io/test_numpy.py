from __future__ import annotations

import numpy as np
import pytest
from recordings import SENSOR, assert_same, make_events, read_all, read_with_faults

from eventveil.errors import EventFileError
from eventveil.io import open_events
from eventveil.io.formats.numpy import NpyReader, NpzReader

EVENTS = make_events(150_000)  # more than two packets
TABLE = np.stack([EVENTS.t, EVENTS.x, EVENTS.y, EVENTS.p], axis=1)


def structured(names="txyp", types=("i8", "u2", "u2", "?"), events=EVENTS, **options):
    array = np.zeros(len(events), np.dtype(list(zip(names, types, strict=True)), **options))
    for name, column in zip(names, (events.t, events.x, events.y, events.p), strict=True):
        array[name] = column
    return array


@pytest.mark.parametrize(
    "array",
    [
        structured(),
        structured(align=True),
        structured(("timestamp", "x", "y", "polarity"), ("i8", "i2", "i2", "i1"), align=True),
        structured(("ts", "xs", "ys", "pol"), ("u8", "u4", "i8", "u1")),
        structured(("Time", "X", "Y", "on"), (">i8", ">u2", "f4", "f8")),
    ],
    ids=["packed", "aligned", "dv", "wide", "foreign"],
)
def test_structured_arrays_in_any_usual_naming_and_type(tmp_path, array):
    np.save(tmp_path / "a.npy", array)
    assert_same(read_all(NpyReader(tmp_path / "a.npy")), EVENTS)


@pytest.mark.parametrize("signs", [{0: -1, 1: 1}, {0: 0, 1: 1}])
@pytest.mark.parametrize("kind", ["i1", "i4", "f4"])
def test_polarity_as_signs_or_as_bits(tmp_path, signs, kind):
    array = structured(types=("i8", "u2", "u2", kind))
    array["p"] = np.where(EVENTS.p, signs[1], signs[0])
    np.save(tmp_path / "a.npy", array)
    assert_same(read_all(NpyReader(tmp_path / "a.npy")), EVENTS)


def test_packets_are_views_of_records_where_types_allow(tmp_path):
    np.save(tmp_path / "a.npy", structured(align=True))
    reader = NpyReader(tmp_path / "a.npy")
    packet = reader.read_packet()
    reader.close()
    assert packet.t.strides == packet.x.strides == packet.p.strides == (16,)


def test_packets_outlive_the_reading(tmp_path):
    np.save(tmp_path / "a.npy", structured())
    reader = NpyReader(tmp_path / "a.npy")
    first = reader.read_packet()
    read_all(reader)
    assert_same(first, EVENTS[: len(first)])


@pytest.mark.parametrize("by_column", [False, True])
def test_a_table_takes_a_stated_order_and_unit(tmp_path, by_column):
    table = TABLE[:, [1, 2, 3, 0]].astype(np.float64)
    table[:, 3] /= 1000
    np.save(tmp_path / "a.npy", np.asfortranarray(table) if by_column else table)
    with open_events(f"{tmp_path / 'a.npy'}?columns=x,y,p,t&unit=ms", sensor=SENSOR) as source:
        assert source.format == "NPY"
        packets = list(source)
    assert sum(map(len, packets)) == len(EVENTS)
    np.testing.assert_array_equal(np.concatenate([packet.t for packet in packets]), EVENTS.t)
    np.testing.assert_array_equal(np.concatenate([packet.x for packet in packets]), EVENTS.x)


@pytest.mark.parametrize(
    ("unit", "times", "expected"),
    [
        ("us", [1, 2], [1, 2]),
        ("ms", [1, 2], [1000, 2000]),
        ("ms", [0.0014, 0.0016], [1, 2]),
        ("s", [1.6e9 + 1e-6, 1.6e9 + 3e-6], [1_600_000_000_000_001, 1_600_000_000_000_003]),
        ("ns", [1_499, 1_500], [1, 2]),
        ("ns", [1_499.0, 1_501.0], [1, 2]),
        ("100us", [3, 5], [300, 500]),
        ("100us", [0.25, 5], [25, 500]),
    ],
)
def test_units_of_time(tmp_path, unit, times, expected):
    kind = "f8" if any(isinstance(time, float) for time in times) else "i8"
    array = structured(types=(kind, "u2", "u2", "?"), events=make_events(2))
    array["t"] = times
    np.save(tmp_path / "a.npy", array)
    assert read_all(NpyReader(tmp_path / "a.npy", unit=unit)).t.tolist() == expected


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (TABLE, "columns="),
        (TABLE[:, 0], "no column"),
        (np.zeros((2, 3, 4)), "3 dimensions"),
        (np.array([{}], object), "never loaded"),
        (structured(("t", "x", "y", "z")), "no column for p"),
        (structured(("t", "ts", "y", "p")), "two columns for t"),
    ],
    ids=["order", "vector", "cube", "objects", "missing", "twice"],
)
def test_what_holds_no_events_is_reported_at_once(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(EventFileError, match=message):
        NpyReader(tmp_path / "a.npy")


@pytest.mark.parametrize("options", [{"columns": "x,y"}, {"columns": "x,y,p,q"}, {"unit": "min"}, {"unit": "0us"}])
def test_options_that_do_not_fit(tmp_path, options):
    np.save(tmp_path / "a.npy", TABLE)
    with pytest.raises(EventFileError):
        NpyReader(tmp_path / "a.npy", **{"columns": "t,x,y,p"} | options)


@pytest.mark.parametrize(
    ("field", "kind", "value", "message"),
    [
        ("t", "f8", 0.5, r"no unit.*\?unit=ms"),
        ("t", "f8", np.nan, "no unit|not numbers"),
        ("t", "f8", 2.0**54, "too large"),
        ("t", "u8", 2**63, "too large"),
        ("x", "i2", -1, "x outside"),
        ("y", "u4", 65_536, "y outside"),
        ("x", "f4", 1.5, "x with fractions"),
        ("x", "f4", np.nan, "x outside"),
        ("p", "i4", 2, "neither 0/1"),
        ("p", "i1", -2, "neither 0/1"),
    ],
)
def test_a_wrong_value_costs_its_packet_and_is_not_printed(tmp_path, field, kind, value, message):
    array = structured(
        types=[kind if name == field else of for name, of in zip("txyp", ("i8", "u2", "u2", "?"), strict=True)]
    )
    array[field][70_000] = value
    np.save(tmp_path / "a.npy", array)
    reader = NpyReader(tmp_path / "a.npy")
    got, faults = read_with_faults(reader)
    assert len(faults) == 1
    assert faults[0].recoverable
    assert faults[0].where == "events 65536 to 98303"
    with pytest.raises(EventFileError, match=message):
        raise faults[0]
    assert reader.skipped.total() == 32_768
    np.testing.assert_array_equal(got.t, np.concatenate([EVENTS.t[:65_536], EVENTS.t[98_304:]]))


def test_fields_of_several_values_are_reported(tmp_path):
    array = np.zeros(3, [("t", "i8"), ("x", "u2", (2,)), ("y", "u2"), ("p", "?")])
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(EventFileError, match="more than one value"):
        NpyReader(tmp_path / "a.npy")


@pytest.mark.parametrize("field", ["?", "u1"])
def test_a_polarity_byte_that_is_neither_is_refused(tmp_path, field):
    array = structured(types=("i8", "u2", "u2", field))
    array["p"].view(np.uint8)[3] = 7
    np.save(tmp_path / "a.npy", array)
    _, faults = read_with_faults(open_events(tmp_path / "a.npy", sensor=SENSOR))
    assert len(faults) == 1


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("lost", [1, 40_000, 2_000_000])
def test_a_file_cut_off_gives_its_whole_events_first(tmp_path, lost, by_column):
    table = np.asfortranarray(TABLE) if by_column else TABLE
    np.save(tmp_path / "a.npy", table)
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-lost])
    got, faults = read_with_faults(NpyReader(tmp_path / "a.npy", columns="t,x,y,p"))
    left = len(EVENTS) - (-(-lost // 8) if by_column else -(-lost // 32))
    if not by_column:
        assert len(got) == left
    assert_same(got, EVENTS[: len(got)])
    assert len(got) == max(left, 0)
    assert [fault.recoverable for fault in faults] == [False]
    assert f"event {len(got)}" in str(faults[0])
    assert "truncated" in str(faults[0])


def test_reading_on_after_the_end_gives_nothing(tmp_path):
    np.save(tmp_path / "a.npy", structured(events=make_events(3)))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    reader = NpyReader(tmp_path / "a.npy")
    assert len(reader.read_packet()) == 2
    with pytest.raises(EventFileError, match="truncated"):
        reader.read_packet()
    assert reader.read_packet() is None
    reader.close()
    reader.close()


@pytest.mark.parametrize("events", [0, 1, 32_768, 32_769])
def test_any_number_of_events(tmp_path, events):
    np.save(tmp_path / "a.npy", structured(events=EVENTS[:events]))
    assert_same(read_all(NpyReader(tmp_path / "a.npy")), EVENTS[:events])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_columns_or_of_one_array(tmp_path, save):
    save(tmp_path / "columns.npz", ts=EVENTS.t, x=EVENTS.x, y=EVENTS.y, pol=EVENTS.p, label=np.array(3))
    save(tmp_path / "one.npz", structured())
    for name in ("columns.npz", "one.npz"):
        with open_events(tmp_path / name, sensor=SENSOR) as source:
            assert source.format == "NPZ"
            assert sum(map(len, source)) == len(EVENTS)
        assert_same(read_all(NpzReader(tmp_path / name)), EVENTS)


def test_a_transposed_table_in_an_archive(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", np.asfortranarray(TABLE))
    assert_same(read_all(NpzReader(tmp_path / "a.npz", columns="t,x,y,p")), EVENTS)


def test_archives_that_hold_no_events(tmp_path):
    np.savez(tmp_path / "a.npz", t=EVENTS.t, x=EVENTS.x)
    with pytest.raises(EventFileError, match="2 arrays without one for each"):
        NpzReader(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", t=EVENTS.t, x=EVENTS.x, y=EVENTS.y, p=EVENTS.p[1:])
    with pytest.raises(EventFileError, match="different lengths"):
        NpzReader(tmp_path / "b.npz")


def test_a_damaged_archive_is_reported(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", structured())
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[len(whole) // 2] ^= 0x55
    (tmp_path / "a.npz").write_bytes(whole)
    got, faults = read_with_faults(NpzReader(tmp_path / "a.npz"))
    assert len(faults) >= 1
    assert len(got) <= len(EVENTS)


def test_real_trials_are_as_described(real_data):
    for name, events in (("class0", 63_471), ("class3", 151_879), ("class9", 85_936)):
        path = real_data / "recordings" / f"dvs_gesture_{name}_us.npy"
        got, expected = read_all(NpyReader(path)), np.load(path)
        assert len(got) == events
        for field in "txyp":
            np.testing.assert_array_equal(getattr(got, field), expected[field])


def test_real_table_in_milliseconds(real_data):
    path = real_data / "dvs_gesture" / "ibmGestureTest" / "user00_unknown" / "0.npy"
    got, expected = read_all(NpyReader(path, columns="x,y,p,t", unit="ms")), np.load(path)
    np.testing.assert_array_equal(got.t, expected[:, 3] * 1000)
    np.testing.assert_array_equal(got.p, expected[:, 2] == 1)
