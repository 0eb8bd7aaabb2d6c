"""`open_events`: what it opens, what it refuses, and the readers it uses."""

from __future__ import annotations

import gc
import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference_io as reference
from all_formats import FORMATS
from recordings import make_events

from eventveil.errors import EventError, EventFileError
from eventveil.events import Sensor
from eventveil.io import detect, open_events
from eventveil.io.formats.aedat4_writer import Aedat4Writer
from eventveil.io.formats.reader import Reader

SENSOR = Sensor(20, 10)
DVS128 = Sensor(128, 128)
EVENTS = [(1, 2, 3, 1), (1, 19, 9, 0), (7, 0, 0, 1)]


def aedat4(path, events=EVENTS, sensor=SENSOR):
    with Aedat4Writer(path, sensor) as writer:
        writer.write(reference.packet(events))
    return path


def read(path, **options):
    with open_events(path, **options) as source:
        return [row for part in source for row in reference.rows(part)]


# What is kept --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_of_a_recording_that_was_read_nothing_waits_for_the_garbage_collector(tmp_path, name):
    path = tmp_path / f"a{FORMATS[name].suffix}"
    FORMATS[name].write(path, make_events(500, sensor=DVS128), DVS128)
    read(path, sensor=DVS128)  # for late imports
    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        read(path, sensor=DVS128)
        gc.collect()
        kinds = {type(one).__module__ for one in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert kinds <= {"builtins"}  # numpy leaves a few small functions; a loop opens a recording thousands of times


def test_a_link_that_leads_to_no_file_is_called_one(tmp_path):
    for name, target in (("loop.raw", "loop.raw"), ("dangling.raw", "nothing")):
        (tmp_path / name).symlink_to(tmp_path / target)
        with pytest.raises(EventFileError, match="this symbolic link leads to no file; check where it points"):
            open_events(tmp_path / name)


def test_a_recording_copied_as_text_is_not_called_another_version(tmp_path):
    path = aedat4(tmp_path / "a.aedat4")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(EventFileError, match="its first line is damaged, perhaps by a transfer as text; copy it again"):
        open_events(path)


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
def test_options_follow_a_question_mark(text, path, options):
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
def test_what_is_not_a_file_is_refused(text, hint):
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
    with pytest.raises(EventFileError, match="unknown option unit; this format takes no options"):
        open_events(f"{aedat4(tmp_path / 'a.aedat4')}?unit=ms")
    np.save(tmp_path / "a.npy", np.zeros((1, 4), np.int64))
    with pytest.raises(EventFileError, match=r"unknown option until; known: .*unit"):
        open_events(f"{tmp_path / 'a.npy'}?until=ms")


def test_an_unknown_way_with_disorder_is_refused(tmp_path):
    with pytest.raises(EventError, match="raise, sort, clip"):
        open_events(aedat4(tmp_path / "a.aedat4"), on_disorder="ignore")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files are counted where Linux lists them")
def test_a_refusal_leaves_no_file_open(tmp_path):
    def left_open():
        names = map(os.path.realpath, Path("/proc/self/fd").iterdir())
        return [name for name in names if name.startswith(f"{tmp_path}/")]

    path = aedat4(tmp_path / "a.aedat4")
    (tmp_path / "b.aedat4").write_bytes(path.read_bytes()[:30])
    with path.open():
        assert left_open() == [str(path)]
    with pytest.raises(EventFileError, match="not 1x1") as refusals:
        open_events(path, sensor=Sensor(1, 1))
    with pytest.raises(EventFileError, match="header") as more:
        open_events(tmp_path / "b.aedat4")
    assert left_open() == []
    assert refusals.value.path == path
    assert more.value.format == "AEDAT4"


# Geometry -------------------------------------------------------------------------------------------------------------


def test_the_geometry_of_the_file_stands(tmp_path):
    path = aedat4(tmp_path / "a.aedat4")
    with open_events(path) as source:
        assert source.sensor == SENSOR
    assert read(path, sensor=SENSOR) == EVENTS
    with pytest.raises(EventFileError, match="20x10, not 21x10"):
        open_events(path, sensor=Sensor(21, 10))


def test_a_missing_geometry_is_required_and_taken(tmp_path):
    path = tmp_path / "a.aedat"
    path.write_bytes(reference.aedat2("", [(reference.dvs128_address(1, 2, 0), 5)]))
    with pytest.raises(EventFileError, match=r"sensor=Sensor\(W, H\), or --sensor WxH"):
        open_events(path)
    assert read(path, sensor=Sensor(128, 128)) == [(5, 1, 2, 0)]


# Readers --------------------------------------------------------------------------------------------------------------


def test_the_package_is_light_to_import():
    code = "import sys, eventveil.io; sys.exit(bool({'numba', 'h5py', 'torch', 'zmq', 'lz4'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize("reader", list(detect._readers()))
def test_every_reader_says_what_it_reads(reader):
    assert issubclass(reader, Reader)
    assert not inspect.isabstract(reader)
    assert reader.suffixes
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in reader.suffixes)
    assert not reader.recognises(b"")
    assert not reader.recognises(bytes(65_536))
    assert not reader.recognises(bytes(range(256)) * 256)
