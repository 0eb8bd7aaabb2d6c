"""The front door: what it opens, what it refuses, and how a fault comes out behind all that is good."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import reference_io as reference
from hypothesis import given
from hypothesis import strategies as st

from eventveil.errors import EventError, EventFileError
from eventveil.events import EventPacket, Sensor
from eventveil.io import EventSource, detect, open_events
from eventveil.io.aedat4_writer import Aedat4Writer
from eventveil.io.gate import Gate
from eventveil.io.reader import Reader

SENSOR = Sensor(20, 10)
EVENTS = [(1, 2, 3, 1), (1, 19, 9, 0), (7, 0, 0, 1)]
DVS128 = "ch.unizh.ini.jaer.chip.retina.DVS128"


class Script(Reader):
    """Plays what it is given: packets, errors to raise, and the end."""

    format = "SCRIPT"
    suffixes: ClassVar[tuple[str, ...]] = (".script",)

    def __init__(self, *acts):
        super().__init__(Path("trial.script"))
        self.acts = list(acts)
        self.closed = 0

    @classmethod
    def recognises(cls, head):
        return False

    def read_packet(self):
        act = self.acts.pop(0) if self.acts else None
        if isinstance(act, Exception):
            raise act
        return act

    def close(self):
        self.closed += 1


def lost(*, recoverable):
    return Script().fault("a packet is damaged", "read on", recoverable=recoverable)


def packet(*times, x=0, until_us=None):
    made = EventPacket.of(times, [x] * len(times), [0] * len(times), [1] * len(times))
    return EventPacket(made.t, made.x, made.y, made.p, until_us)


def play(*acts, on_disorder="raise"):
    """What comes out: lists of times, and errors."""
    source = EventSource(Script(*acts), Gate(SENSOR, on_disorder))
    out = []
    while True:
        try:
            out.append(next(source).t.tolist())
        except EventFileError as error:
            out.append(error)
        except StopIteration:
            return out, source


def aedat4(path, events=EVENTS, sensor=SENSOR):
    with Aedat4Writer(path, sensor) as writer:
        writer.write(reference.packet(events))
    return path


def read(path, **options):
    with open_events(path, **options) as source:
        return [row for part in source for row in reference.rows(part)]


# What is opened ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [str, Path])
def test_a_path_is_opened(tmp_path, kind):
    assert read(kind(aedat4(tmp_path / "a.aedat4"))) == EVENTS


def test_a_uri_is_opened(tmp_path):
    path = aedat4(tmp_path / "a trial.aedat4")
    assert read(path.as_uri()) == EVENTS
    assert read(f"file://localhost{tmp_path}/a%20trial.aedat4") == EVENTS


def test_a_name_that_really_holds_a_question_mark_comes_first(tmp_path):
    assert read(aedat4(tmp_path / "a?b.aedat4")) == EVENTS
    assert read(str(aedat4(tmp_path / "what?.aedat4"))) == EVENTS


@pytest.mark.parametrize(
    ("text", "path", "options"),
    [
        ("a.npy", "a.npy", {}),
        ("a.npy?unit=ms", "a.npy", {"unit": "ms"}),
        ("b/a.npy?columns=x,y,p,t&unit=100us", "b/a.npy", {"columns": "x,y,p,t", "unit": "100us"}),
        ("file:///b/a%3F.npy?unit=ms", "/b/a?.npy", {"unit": "ms"}),
        ("C:/a.npy", "C:/a.npy", {}),
    ],
)
def test_options_stand_behind_a_question_mark(text, path, options):
    assert detect.locate(text) == (Path(path), options)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("davis://1", "unknown scheme 'davis'"),
        ("file://elsewhere/a.npy", "another machine"),
        ("a.npy?unit", "key=value"),
        ("a.npy?unit=ms&unit=us", "each key once"),
        ("no/such/file.aedat4", "no such file"),
        ("n" * 5_000, "cannot be opened"),
        ("a\0b", "no such file"),
        ("", "not a file"),
    ],
)
def test_what_is_no_file_is_refused(text, hint):
    with pytest.raises(EventFileError, match=hint):
        open_events(text)


def test_folders_pipes_and_empty_files_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.aedat4")
    (tmp_path / "empty.aedat4").touch()
    for name, hint in {"": "not a file", "pipe.aedat4": "not a file", "empty.aedat4": "empty"}.items():
        with pytest.raises(EventFileError, match=hint):
            open_events(tmp_path / name)


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = aedat4(tmp_path / "a.aedat4")

    def refuse(*args, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(EventFileError, match="Permission denied"):
        open_events(path)


@pytest.mark.parametrize("name", ["a.aedat4", "a.raw", "a.csv", "a.bin", "a"])
def test_content_comes_before_the_extension(tmp_path, name):
    path = aedat4(tmp_path / "original.aedat4").rename(tmp_path / name)
    with open_events(path) as source:
        assert source.format == "AEDAT4"


def test_an_extension_tells_where_content_does_not(tmp_path):
    (tmp_path / "a.bin").write_bytes(bytes([3, 4, 0x80, 0, 9]))
    with open_events(tmp_path / "a.bin", sensor=Sensor(304, 240)) as source:
        assert source.format == "N-Caltech101"
        assert [row for part in source for row in reference.rows(part)] == [(9, 3, 4, 1)]


@pytest.mark.parametrize("name", ["a.xyz", "a"])
def test_what_is_of_no_format_is_refused_with_those_that_are_known(tmp_path, name):
    (tmp_path / name).write_bytes(bytes(100))
    with pytest.raises(EventFileError, match=r"known: AEDAT4, .*EVT3.*N-Caltech101"):
        open_events(tmp_path / name)


def test_an_option_that_the_format_does_not_take_is_refused(tmp_path):
    with pytest.raises(EventFileError, match="unknown option unit; it takes none"):
        open_events(f"{aedat4(tmp_path / 'a.aedat4')}?unit=ms")
    np.save(tmp_path / "a.npy", np.zeros((1, 4), np.int64))
    with pytest.raises(EventFileError, match=r"unknown option until; known: .*unit"):
        open_events(f"{tmp_path / 'a.npy'}?until=ms")


def test_an_unknown_way_with_disorder_is_refused(tmp_path):
    with pytest.raises(EventError, match="raise, sort, clip"):
        open_events(aedat4(tmp_path / "a.aedat4"), on_disorder="ignore")


# Geometry ------------------------------------------------------------------------------------------------------------


def test_the_geometry_of_the_file_stands(tmp_path):
    path = aedat4(tmp_path / "a.aedat4")
    with open_events(path) as source:
        assert source.sensor == SENSOR
    assert read(path, sensor=SENSOR) == EVENTS
    with pytest.raises(EventFileError, match="20x10, not 21x10"):
        open_events(path, sensor=Sensor(21, 10))


def test_a_missing_geometry_is_asked_for_and_taken(tmp_path):
    path = tmp_path / "a.aedat"
    path.write_bytes(reference.aedat2("", [(reference.dvs128_address(1, 2, 0), 5)]))
    with pytest.raises(EventFileError, match=r"sensor=Sensor\(W, H\), or --sensor WxH"):
        open_events(path)
    assert read(path, sensor=Sensor(128, 128)) == [(5, 1, 2, 0)]


# Faults --------------------------------------------------------------------------------------------------------------


def test_packets_before_a_fault_come_first_and_reading_goes_on_behind_it():
    fault = lost(recoverable=True)
    assert play(packet(1), fault, packet(2, 3))[0] == [[1], fault, [2, 3]]


@pytest.mark.parametrize("on_disorder", ["raise", "clip", "sort"])
def test_what_sorting_holds_back_comes_before_the_fault(on_disorder):
    fault = lost(recoverable=True)
    assert play(packet(1), packet(2), fault, packet(3), on_disorder=on_disorder)[0] == [[1], [2], fault, [3]]


def test_a_fault_that_ends_the_recording_ends_it():
    fault = lost(recoverable=False)
    assert play(packet(1), fault)[0] == [[1], fault]


def test_an_error_of_the_medium_is_told_behind_what_was_read():
    out, _ = play(packet(1), OSError(5, "Input/output error"), packet(2), on_disorder="sort")
    assert out[0] == [1]
    assert "Input/output error" in str(out[1])
    assert len(out) == 2


@pytest.mark.parametrize("on_disorder", ["raise", "clip", "sort"])
def test_an_event_off_the_sensor_costs_the_rest_of_its_packet(on_disorder):
    bad = EventPacket.of([2, 3, 4], [0, 20, 0], [0, 0, 0], [1, 1, 1])
    out, source = play(packet(1), bad, packet(5), on_disorder=on_disorder)
    assert [item for item in out if isinstance(item, list)] == [[1], [2], [5]]
    assert isinstance(out[2], EventFileError)
    assert (out[2].recoverable, out[2].where) == (True, "packet 1, event 1 in it")
    assert source.skipped == {"event of a damaged packet": 2}


def test_time_that_goes_back_is_refused_between_packets_and_inside():
    out, source = play(packet(1, 5), packet(4, 9), packet(5, 6, 5, 7), packet(5), packet(6))
    assert [item if isinstance(item, list) else item.where for item in out] == [
        [1, 5],
        "packet 1, event 0 in it",
        [5],
        "packet 2, event 2 in it",
        [5],
        [6],
    ]
    assert source.skipped == {"event of a damaged packet": 5}
    assert source.disorders == 0


def test_disorder_is_repaired_and_counted_where_asked():
    acts = packet(1, 5), packet(4, 9), packet(3, 10)
    out, source = play(*acts, on_disorder="clip")
    assert (out, source.disorders) == ([[1, 5], [5, 9], [9, 10]], 2)
    out, source = play(*acts, on_disorder="sort")
    assert (out, source.disorders) == ([[1, 4], [4, 5], [9, 10]], 2)


def test_no_message_tells_what_an_event_holds():
    bad = EventPacket.of([123_456_789, 123_456_780], [31_337, 0], [0, 0], [1, 1])
    out, _ = play(bad)
    assert not any(secret in str(out[0]) for secret in ("31337", "31_337", "123456789", "123456780"))


def test_silence_passes_with_its_promise_and_nothing_else_that_is_empty():
    out, _ = play(EventPacket.empty(), EventPacket.empty(until_us=9), packet(9))
    assert out == [[], [9]]


@given(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=6), st.sampled_from(["raise", "clip", "sort"]))
def test_time_never_goes_back_and_every_event_is_accounted_for(parts, on_disorder):
    out, source = play(*(packet(*part) for part in parts), on_disorder=on_disorder)
    times = [t for item in out if isinstance(item, list) for t in item]
    assert times == sorted(times)
    assert len(times) + source.skipped.total() == sum(len(part) for part in parts)


# Closing -------------------------------------------------------------------------------------------------------------


def test_leaving_the_block_gives_the_file_back_and_ends_the_iteration():
    reader = Script(packet(1), packet(2))
    with EventSource(reader, Gate(SENSOR, "raise")) as source:
        next(source)
    assert reader.closed == 1
    assert list(source) == []


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted where Linux lists them")
def test_a_refusal_leaves_no_file_open(tmp_path):
    path = aedat4(tmp_path / "a.aedat4")
    (tmp_path / "b.aedat4").write_bytes(path.read_bytes()[:30])
    before = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(EventFileError, match="not 1x1") as refusals:
        open_events(path, sensor=Sensor(1, 1))
    with pytest.raises(EventFileError, match="header") as more:
        open_events(tmp_path / "b.aedat4")
    assert sorted(Path("/proc/self/fd").iterdir()) == before
    assert refusals.value.path == path
    assert more.value.format == "AEDAT4"


# Readers -------------------------------------------------------------------------------------------------------------


def test_the_door_is_light_to_import():
    code = "import sys, eventveil.io; sys.exit(bool({'numba', 'h5py', 'torch', 'zmq', 'lz4'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("module", detect.READERS)
def test_every_reader_says_what_it_reads(module):
    reader = detect._reader(module)
    assert issubclass(reader, Reader)
    assert not inspect.isabstract(reader)
    assert reader.suffixes
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in reader.suffixes)
    assert not reader.recognises(b"")
    assert not reader.recognises(bytes(65_536))
    assert not reader.recognises(bytes(range(256)) * 256)
