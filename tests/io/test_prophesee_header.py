"""The text header of RAW and DAT files, with letters of any language."""

from __future__ import annotations

import pytest
from reference_evt import encode_dat, encode_evt2, tuples

from eventveil import Sensor
from eventveil.io import open_events
from eventveil.io.formats.prophesee import parse_header

EVENTS = [(5, 639, 479, True), (6, 0, 0, False)]
BODIES = {
    "a.raw": (b"% evt 2.0\n", encode_evt2(EVENTS)),
    "a.dat": (b"% Data file containing CD events.\n% Version 2\n", b"\x0c\x08" + encode_dat(EVENTS)),
}


@pytest.mark.parametrize("end", [b"% end\n", b""])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("name", BODIES)
def test_letters_of_any_encoding_are_part_of_the_header(tmp_path, name, encoding, end):
    first, body = BODIES[name]
    operator = "% operator J\u00f6rg\r\n".encode(encoding)
    size = b"% geometry 640x480\n" if name == "a.raw" else b"% Width 640\n% Height 480\n"
    (tmp_path / name).write_bytes(first + operator + size + end + body)
    with open_events(tmp_path / name) as source:
        assert source.sensor == Sensor(640, 480)
        assert source.metadata["operator"] == "J\u00f6rg"
        assert [event for packet in source for event in tuples(packet)] == EVENTS


def test_words_after_a_header_without_an_end_are_not_lines_of_it():
    head = b"% evt 2.0\n"
    for word in (b"%\x00\x00\n", b"%\xe9\xe9\n", b"% 12\n", b"%\x07abc\n"):
        assert parse_header(head + word).size == len(head)


@pytest.mark.parametrize(
    "line",
    ["% ------", "% 3D camera", "% (c) Prophesee", "%  operator   me", "% \u64cd\u4f5c\u8005 me", "%\u00e9t\u00e9"],
)
@pytest.mark.parametrize("name", BODIES)
def test_any_line_before_the_end_is_part_of_the_header(tmp_path, name, line):
    first, body = BODIES[name]
    size = b"%  geometry  640x480 \n" if name == "a.raw" else b"% Width 640\n%  Height  480\n"
    (tmp_path / name).write_bytes(first + line.encode() + b"\n" + size + b"% end\n" + body)
    with open_events(tmp_path / name) as source:
        assert source.sensor == Sensor(640, 480)
        assert [event for packet in source for event in tuples(packet)] == EVENTS
