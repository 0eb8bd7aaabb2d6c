from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import SENSOR, assert_same, make_events, read_all, read_with_faults

from eventveil import EventPacket, Sensor
from eventveil.errors import EventFileError
from eventveil.io.formats.text import BLOCK, TextReader

EVENTS = make_events(200)


def rows(separator=" ", events=EVENTS, order="txyp"):
    columns = {"t": events.t, "x": events.x, "y": events.y, "p": events.p.astype(int)}
    return [separator.join(map(str, row)) for row in zip(*(columns[name] for name in order), strict=True)]


def write(folder, lines, end="\n", name="a.csv"):
    path = folder / name
    path.write_bytes((end.join(lines) + end).encode("latin-1"))
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("separator", [" ", "  ", ",", ", ", "\t", ";"])
@pytest.mark.parametrize("header", ["# made by hand", "t{0}x{0}y{0}p", None])
def test_separators_headers_and_line_ends(tmp_path, separator, header, end):
    lines = [header.format(separator)] if header else []
    path = write(tmp_path, [*lines, *rows(separator)], end)
    assert TextReader.recognises(path.read_bytes()[:65_536])
    assert_same(read_all(TextReader(path)), EVENTS)


@pytest.mark.parametrize("header", [["index,Polarity,y,Time,X"], []])
def test_columns_in_another_order_with_others_between(tmp_path, header):
    lines = [*header, *(f"0,{row}" for row in rows(",", order="pytx"))]
    stated = {} if header else {"columns": "index,p,y,t,x"}
    assert_same(read_all(TextReader(write(tmp_path, lines), **stated)), EVENTS)


def test_comments_and_blank_lines_anywhere(tmp_path):
    lines = ["", "% geometry 346x260", *rows()[:100], "", "  # pause", *rows()[100:], " "]
    reader = TextReader(write(tmp_path, lines))
    assert reader.sensor == SENSOR
    assert_same(read_all(reader), EVENTS)


def test_names_with_sizes_as_faery_writes_them(tmp_path):
    reader = TextReader(write(tmp_path, ["t,x@346,y@260,on", *rows(",")]))
    assert reader.sensor == SENSOR
    assert_same(read_all(reader), EVENTS)


def test_the_last_line_needs_no_end(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n".join(rows()))
    assert_same(read_all(TextReader(path)), EVENTS)


@pytest.mark.parametrize("row", ["1 2 3 -1", "1.0 2.0 3.000 0", "1.000000000000000000e+00 2e0 3e0 0e0"])
def test_numbers_as_other_programs_print_them(tmp_path, row):
    got = read_all(TextReader(write(tmp_path, [row, "5 6 7 1"])))
    assert_same(got, EventPacket.of([1, 5], [2, 6], [3, 7], [False, True]))


def test_seconds_are_rounded_to_microseconds(tmp_path):
    path = write(tmp_path, ["0.003811000 96 133 0", "1600000000.000001 11 15 1"])
    assert read_all(TextReader(path, unit="s")).t.tolist() == [3_811, 1_600_000_000_000_001]


def test_fractions_without_a_unit_are_not_guessed_at(tmp_path):
    _, faults = read_with_faults(TextReader(write(tmp_path, ["0.003811000 96 133 0"])))
    assert "unit=ms" in str(faults[0])


def test_many_blocks(tmp_path):
    events = make_events(150_000)
    path = write(tmp_path, rows(events=events))
    assert path.stat().st_size > 2 * BLOCK
    assert_same(read_all(TextReader(path)), events)


@given(st.data())
def test_a_line_that_is_no_event_costs_itself_and_is_told_by_number(tmp_path_factory, data):
    bad = data.draw(st.sampled_from(["1 2 3", "a b c d", "1 2 3 7", "1 -2 3 0", "1 70000 3 0", "nan 1 1 1", "1,2,3,0"]))
    places = data.draw(st.sets(st.integers(1, 20), min_size=1, max_size=3))
    lines = rows(events=EVENTS[:20])
    for shift, place in enumerate(sorted(places)):
        lines.insert(place + shift, bad)
    reader = TextReader(write(tmp_path_factory.mktemp("text"), lines))
    got, faults = read_with_faults(reader)
    assert_same(got, EVENTS[:20])
    expected = [f"line {place + shift + 1}" for shift, place in enumerate(sorted(places))]
    assert [fault.where for fault in faults] == expected
    assert all(fault.recoverable for fault in faults)
    assert reader.skipped == {"line that is no event": len(places)}


def test_events_before_a_bad_line_come_first(tmp_path):
    reader = TextReader(write(tmp_path, [*rows()[:3], "?", *rows()[3:]]))
    assert_same(reader.read_packet(), EVENTS[:3])
    with pytest.raises(EventFileError, match="line 4"):
        reader.read_packet()
    assert_same(read_all(reader), EVENTS[3:])


def test_faults_do_not_print_what_the_line_holds(tmp_path):
    _, faults = read_with_faults(TextReader(write(tmp_path, [*rows(), "secret 12345 0 1"])))
    assert "secret" not in str(faults[0])
    assert "12345" not in str(faults[0])


def test_an_endless_line_is_told_behind_the_events_before_it(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("\n".join(rows()).encode() + b"\n" + b"1" * (2 * BLOCK))
    got, faults = read_with_faults(TextReader(path))
    assert_same(got, EVENTS)
    assert faults[0].where == "line 201"
    assert not faults[0].recoverable


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a,b,c,d", "1,2,3,4"], "no column for t"),
        (["1 2 3 4 5"], "5 columns of an unknown order"),
        (["1 2 3"], "3 columns"),
        (["# geometry 0x5", "1 2 3 1"], "a sensor is"),
    ],
)
def test_what_is_no_table_of_events_is_told_at_once(tmp_path, lines, message):
    with pytest.raises(EventFileError, match=message):
        TextReader(write(tmp_path, lines))


def test_a_stated_order_or_unit_that_does_not_fit(tmp_path):
    path = write(tmp_path, rows())
    for options in ({"columns": "x,y,p"}, {"unit": "h"}):
        with pytest.raises(EventFileError):
            TextReader(path, **options)


def test_names_without_events_are_an_empty_recording(tmp_path):
    reader = TextReader(write(tmp_path, ["# geometry 640x480", "t,x,y,p"]))
    assert reader.sensor == Sensor(640, 480)
    assert len(read_all(reader)) == 0


@pytest.mark.parametrize(
    "head", [b"", b"\x00\x01\x02\x03", b"hello world, what is this", b"# only a comment\n", b"% evt 3.0\n\x80\x00\x00"]
)
def test_what_is_not_recognised(head):
    assert not TextReader.recognises(head)


def test_event_reid_sample_in_tenths_of_milliseconds(real_data):
    path = real_data / "event_reid" / "test" / "001_c1_035.txt"
    got, expected = read_all(TextReader(path, unit="100us")), np.loadtxt(path)
    np.testing.assert_array_equal(got.t, np.rint(expected[:, 0] * 100))
    np.testing.assert_array_equal(got.x, expected[:, 1])
    np.testing.assert_array_equal(got.p, expected[:, 3] > 0)
