from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import SENSOR, assert_same, make_events, read_all, read_with_faults

from eventveil import EventPacket, Sensor
from eventveil.errors import EventFileError
from eventveil.io.formats.columns import parse_unit
from eventveil.io.formats.text import BLOCK, TextReader

EVENTS = make_events(200)


def rows(separator=" ", events=EVENTS, order="txyp"):
    columns = {"t": events.t, "x": events.x, "y": events.y, "p": events.p.astype(int)}
    return [separator.join(map(str, row)) for row in zip(*(columns[name] for name in order), strict=True)]


def write(folder, lines, end="\n", name="a.csv"):
    path = folder / name
    path.write_bytes((end.join(lines) + end).encode("latin-1"))
    return path


@pytest.mark.kernel
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


@pytest.mark.kernel
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


@pytest.mark.kernel
@pytest.mark.parametrize("row", ["1 2 3 -1", "1.0 2.0 3.000 0", "1.000000000000000000e+00 2e0 3e0 0e0"])
def test_numbers_as_other_programs_print_them(tmp_path, row):
    got = read_all(TextReader(write(tmp_path, [row, "5 6 7 1"])))
    assert_same(got, EventPacket.of([1, 5], [2, 6], [3, 7], [False, True]))


def test_seconds_are_rounded_to_microseconds(tmp_path):
    path = write(tmp_path, ["0.003811000 96 133 0", "1600000000.000001 11 15 1"])
    assert read_all(TextReader(path, unit="s")).t.tolist() == [3_811, 1_600_000_000_000_001]


def test_fractions_without_a_unit_are_not_guessed_at(tmp_path):
    lines = ["# made by hand", *(f"{second}.003811000 96 133 0" for second in range(4_000))]
    with pytest.raises(EventFileError, match=r"times with fractions, and no unit; state the unit .*unit=ms"):
        TextReader(write(tmp_path, lines))


def test_many_blocks(tmp_path):
    events = make_events(150_000)
    path = write(tmp_path, rows(events=events))
    assert path.stat().st_size > 2 * BLOCK
    assert_same(read_all(TextReader(path)), events)


@pytest.mark.kernel
@given(st.data())
def test_a_line_that_is_not_an_event_costs_itself_and_is_reported_by_number(tmp_path_factory, data):
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
    assert reader.skipped == {"line that is not an event": len(places)}


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("line", "content"),
    [
        ("1 2 3", "another number of columns"),
        ("1 2 3 0 5", "another number of columns"),
        ("1 2 3 0 5 6 7 8", "another number of columns"),
        ("1,2,3,0", "another number of columns"),
        ("t 2 3 0", "t that is not a number"),
        ("1e 2 3 0", "t that is not a number"),
        ("- 2 3 0", "t that is not a number"),
        ("1e30 2 3 0", "too large"),
        ("9" * 19 + " 2 3 0", "too large"),
        ("1 -2 3 0", "x or y"),
        ("1 2 65536 0", "x or y"),
        ("1 2.5 3 0", "x or y"),
        ("1 2 3 2", "p that is not a polarity"),
        ("1 2 3 -2", "p that is not a polarity"),
        ("1 2 3 yes", "p that is not a polarity"),
    ],
)
def test_what_is_wrong_with_a_line_is_named(tmp_path, line, content):
    got, faults = read_with_faults(TextReader(write(tmp_path, [*rows(), line, "5 6 7 1  "])))
    assert len(got) == len(EVENTS) + 1
    assert [content in str(fault) for fault in faults] == [True]


@pytest.mark.kernel
def test_a_fraction_after_the_first_lines_costs_its_line(tmp_path):
    got, faults = read_with_faults(TextReader(write(tmp_path, [*rows(), "1000.5 2 3 0", "1001 2 3 0"])))
    assert len(got) == len(EVENTS) + 1
    assert ["times with fractions" in str(fault) for fault in faults] == [True]


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


def test_an_endless_line_is_reported_after_the_events_before_it(tmp_path):
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
        (["1 2 3 4 5"], "5 columns in an unknown order"),
        (["1 2 3"], "3 columns"),
        (["# geometry 0x5", "1 2 3 1"], "a sensor is"),
    ],
)
def test_what_is_not_a_table_of_events_is_reported_at_once(tmp_path, lines, message):
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


HEADERS = {
    "names with a unit and an extra column": (["time (us),x,y,polarity,label"], "{t},{x},{y},{p},hand", {}),
    "names with a unit that counts": (["t_ms,x,y,p"], "{ms},{x},{y},{p}", {}),
    "names in quotes": (['"Time","X","Y","Pol"'], '"{t}","{x}","{y}","{p}"', {}),
    "names in tabs, one of them with a blank": (["label\ttime (us)\tx\ty\tp"], "3\t{t}\t{x}\t{y}\t{p}", {}),
    "a comment with the order": (["# x,y,p,t"], "{x},{y},{p},{t}", {}),
    "a comment with the order after a colon": (["% columns: x y p t"], "{x} {y} {p} {t}", {}),
    "a byte order mark": (["\xef\xbb\xbft,x,y,p"], "{t},{x},{y},{p}", {}),
    "a byte order mark and no names": ([], "{t},{x},{y},{p}", {}),
    "Metavision": (["%geometry:346,260"], "{x},{y},{p},{t}", {}),
    "the Event-Camera Dataset": (["346 260"], "{s:.9f} {x} {y} {p}", {"unit": "s"}),
    "blanks before and after": (["t;x;y;p"], " {t} ; {x};  {y} ;{p} ", {}),
    "exponents": ([], "{t:e} {x:e} {y:e} {p:e}", {}),
}
CODINGS = {
    "True and False": ("False", "True"),
    "lower case": ("false", "true"),
    "on and off": ("OFF", "ON"),
    "signs": ("-1", "1"),
    "1 and 2": ("1", "2"),
    "as in MATLAB": ("1.0", "2.0"),
}


def lines_of(template, events=EVENTS, coding=("0", "1")):
    for t, x, y, p in zip(*(getattr(events, field).tolist() for field in "txyp"), strict=True):
        times = {"t": t, "ms": t / 1e3, "s": t / 1e6}
        yield template.format(**times, x=x, y=y, p=int(p) if coding == ("0", "1") else coding[p])


@pytest.mark.kernel
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("case", HEADERS)
def test_texts_as_others_write_them(tmp_path, case, end):
    header, template, options = HEADERS[case]
    lines = [*header, *lines_of(template)]
    if case == "a byte order mark and no names":
        lines[0] = "\xef\xbb\xbf" + lines[0]
    path = write(tmp_path, lines, end)
    assert TextReader.recognises(path.read_bytes()[:65_536])
    reader = TextReader(path, **options)
    assert reader.sensor == (SENSOR if case in ("Metavision", "the Event-Camera Dataset") else None)
    assert_same(read_all(reader), EVENTS)


def test_ends_of_lines_of_all_kinds_may_be_mixed_wherever_the_blocks_meet(tmp_path):
    """The quotes lead every third line through the general way of reading; a block may end within `\\r\\n`."""
    events = make_events(20_000, sensor=SENSOR)
    plain = lines_of("{t},{x},{y},{p}", events)
    lines = [line if k % 3 else f'"{line.replace(",", chr(34) + ",", 1)}' for k, line in enumerate(plain)]
    for first in range(3):
        ends = ["\r\n"] * first + [("\r\n", "\n", "\r\n")[k % 3] for k in range(len(lines) - first)]
        ends[15_000 + first] = "\r"
        path = tmp_path / f"{first}.csv"
        path.write_bytes(b" " * first + "".join(line + end for line, end in zip(lines, ends, strict=True)).encode())
        assert path.stat().st_size > BLOCK
        assert_same(read_all(TextReader(path)), events)


@pytest.mark.kernel
@pytest.mark.parametrize("case", CODINGS)
@pytest.mark.parametrize("template", ["{t} {x} {y} {p}", "{p},{t},{x},{y}"])
def test_polarities_as_others_write_them(tmp_path, case, template):
    options = {} if template.startswith("{t}") else {"columns": "p,t,x,y"}
    path = write(tmp_path, list(lines_of(template, coding=CODINGS[case])))
    assert_same(read_all(TextReader(path, **options)), EVENTS)


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (["t,x,y,p,label", "1,2,3,0"], {}, "4 columns, but the line of column names has 5"),
        (["t,x,y,p", "1,2,3,0,5"], {}, "5 columns, but the line of column names has 4"),
        (["1,2,3,0,5"], {"columns": "t,x,y,p"}, "5 columns, but .columns states 4"),
        (["# x y p t and a label", "1,2,3,0"], {}, "a comment that names t, x, y and p, but not as 4 columns"),
        (["96,133,0,3811", "96,130,1,3812"], {}, "polarities in the third column, and no stated order"),
        (["t_ms,x,y,p", "1,2,3,0"], {"unit": "us"}, "times in ms by the name of their column, but"),
        (["time (days),x,y,p", "1,2,3,0"], {}, "unknown unit"),
        (["1 2 3 7", "1 2 3 9", "1 2 3 8"], {}, "p that is not a polarity"),
        (["1600000000123456000 2 3 1", "1600000000123457000 2 3 1"], {}, "beyond the year 2100"),
    ],
)
def test_what_a_text_states_is_obeyed_or_refused(tmp_path, lines, options, message):
    with pytest.raises(EventFileError, match=message):
        TextReader(write(tmp_path, lines), **options)


def test_nanoseconds_since_1970_are_exact_with_their_unit(tmp_path):
    path = write(tmp_path, ["1600000000123456000 2 3 1", "1600000000123457499 2 3 1", "1600000000123457500 2 3 1"])
    assert read_all(TextReader(path, unit="ns")).t.tolist() == [1600000000123456, 1600000000123457, 1600000000123458]


@pytest.mark.parametrize("digits", [6, 9])
def test_seconds_that_were_float32_are_refused(tmp_path, digits):
    t = 1_234_000_000 + np.cumsum(np.random.default_rng(0).integers(1, 40, 1_000))
    exact = write(tmp_path, [f"{time / 1e6:.{digits}f} 2 3 1" for time in t])
    np.testing.assert_array_equal(read_all(TextReader(exact, unit="s")).t, t)
    with pytest.raises(EventFileError, match="rounded to float32"):
        TextReader(write(tmp_path, [f"{np.float32(time / 1e6):.{digits}f} 2 3 1" for time in t]), unit="s")


def test_a_utf16_text_is_named(tmp_path):
    (tmp_path / "a.csv").write_bytes("t,x,y,p\n1,2,3,0\n".encode("utf-16"))
    with pytest.raises(EventFileError, match="UTF-16; save it as UTF-8"):
        TextReader(tmp_path / "a.csv")


NUMBERS = st.one_of(
    st.integers(-(10**18), 10**18).map(str),
    st.decimals(-(10**9), 10**9, allow_nan=False, places=7).map(lambda number: f"{number:f}"),
    st.floats(-1e12, 1e12, allow_nan=False).map(lambda number: f"{number:.17e}"),
    st.sampled_from(["1e3", "1.", ".5", "+7", "-0", "1e-400", "0e999", "1.5E+2", "007", "1e18"]),
)


@pytest.mark.kernel
@given(NUMBERS, st.sampled_from(["us", "ms", "s", "ns", "100us"]), st.sampled_from([" ", ",", " , "]))
def test_times_are_those_of_exact_fractions(tmp_path_factory, number, unit, separator):
    exact = Fraction(number) * parse_unit(unit)
    path = write(tmp_path_factory.mktemp("text"), [separator.join([number, "2", "3", "1"])])
    if abs(exact) >= 2**62 - 2**32:
        with pytest.raises(EventFileError, match="too large"):
            TextReader(path, unit=unit)
        return
    expected = abs(exact)
    rounded = int(expected) + (expected - int(expected) >= Fraction(1, 2))
    got = read_all(TextReader(path, unit=unit)).t.tolist()[0]
    assert abs(got - (rounded if exact >= 0 else -rounded)) <= (1 if abs(expected % 1 - Fraction(1, 2)) < 1e-6 else 0)


def test_event_reid_sample_in_tenths_of_milliseconds(real_data):
    path = real_data / "event_reid" / "test" / "001_c1_035.txt"
    got, expected = read_all(TextReader(path, unit="100us")), np.loadtxt(path)
    np.testing.assert_array_equal(got.t, np.rint(expected[:, 0] * 100))
    np.testing.assert_array_equal(got.x, expected[:, 1])
    np.testing.assert_array_equal(got.p, expected[:, 3] > 0)
