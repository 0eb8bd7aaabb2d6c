from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from recordings import SENSOR, assert_same, cut, join, make_events
from typer.testing import CliRunner

from eventveil import EventPacket, Sensor
from eventveil.cli import convert as convert_command
from eventveil.cli import info as info_command
from eventveil.errors import EventError, EventFileError
from eventveil.io import open_events
from eventveil.io.formats.writer import WRITERS, open_writer
from eventveil.io.summary import PEAK_SPAN_US, Tally

KEYS = [
    "format", "width", "height", "events", "on_share", "t_first_us", "t_last_us", "duration_us", "mean_rate",
    "peak_rate",
]  # fmt: skip


@pytest.fixture
def eventveil():
    """Run a command as the program does; errors of eventveil are raised."""
    app = typer.Typer()
    info_command.register(app)
    convert_command.register(app)

    def run(*words, status=0):
        result = CliRunner().invoke(app, [str(word) for word in words])
        if isinstance(result.exception, (EventFileError, EventError)):
            raise result.exception
        assert result.exit_code == status, result.output
        return result

    return run


def write(path, events, sensor=SENSOR):
    with open_writer(path, sensor) as writer:
        writer.write(events)
    return path


def write_lines(path, *lines):
    path.write_text("\n".join(["# geometry 346x260", "t,x,y,p", *lines, ""]))
    return path


def test_info_prints_json_with_exactly_these_keys(tmp_path, eventveil):
    events = EventPacket.of([100, 200, 15_000, 1_000_100], [1, 2, 3, 4], [5, 6, 7, 8], [1, 1, 1, 0])
    result = eventveil("info", write(tmp_path / "a.csv", events), "--json")
    output = json.loads(result.stdout)
    assert list(output) == KEYS
    assert output == {
        "format": "CSV", "width": 346, "height": 260, "events": 4, "on_share": 0.75, "t_first_us": 100,
        "t_last_us": 1_000_100, "duration_us": 1_000_000, "mean_rate": 4.0, "peak_rate": 200.0,
    }  # fmt: skip
    assert result.stderr == ""


def test_info_for_people(tmp_path, eventveil):
    output = eventveil("info", write(tmp_path / "a.csv", make_events(12_345))).stdout
    for line in ("format", "CSV", "width", "346", "12,345", "on_share", "peak_rate"):
        assert line in output


def test_info_without_events_has_nulls(tmp_path, eventveil):
    output = json.loads(eventveil("info", write_lines(tmp_path / "a.csv"), "--json").stdout)
    assert output["events"] == 0
    assert [output[key] for key in KEYS[4:]] == [None] * 6
    assert "unknown" in eventveil("info", tmp_path / "a.csv").stdout


def test_info_of_a_single_moment_has_no_rates(tmp_path, eventveil):
    output = json.loads(eventveil("info", write_lines(tmp_path / "a.csv", "7,1,1,1", "7,2,2,1"), "--json").stdout)
    assert (output["duration_us"], output["mean_rate"], output["peak_rate"]) == (0, None, None)


def test_info_works_where_nobody_knows_the_geometry(tmp_path, eventveil):
    path = write(tmp_path / "a.npy", make_events(100))
    output = json.loads(eventveil("info", path, "--json").stdout)
    assert (output["width"], output["height"], output["events"]) == (None, None, 100)
    output = json.loads(eventveil("info", path, "--json", "--sensor", "346x260").stdout)
    assert (output["width"], output["height"]) == (346, 260)


def test_info_tells_of_time_that_goes_back(tmp_path, eventveil):
    path = write_lines(tmp_path / "a.csv", "5,1,1,1", "3,1,1,1", "4,1,1,1", "9,1,1,1")
    result = eventveil("info", path, "--json")
    assert json.loads(result.stdout)["t_last_us"] == 9
    assert "2 events were out of order" in result.stderr


def test_info_of_a_damaged_file_tells_what_could_be_read(tmp_path, eventveil):
    path = write_lines(tmp_path / "a.csv", "5,1,1,1", "?", "7,1,1,1", "8,999,1,1")
    result = eventveil("info", path, "--json", status=1)
    assert json.loads(result.stdout)["events"] == 2
    assert "line 4" in result.stderr
    assert "skipped: event off the sensor: 1" in result.stderr


def test_info_does_not_drown_in_faults(tmp_path, eventveil):
    path = write_lines(tmp_path / "a.csv", *["5,1,1,1", "6,1,1,1", "?"] * 50)
    output = eventveil("info", path, status=1).stderr
    assert output.count("correct or remove") == 10
    assert "40 more faults" in output


@pytest.mark.parametrize("name", ["missing.csv", ""])
def test_info_of_what_cannot_be_read_at_all(tmp_path, eventveil, name):
    with pytest.raises(EventFileError):
        eventveil("info", tmp_path / name)


def test_a_wrong_sensor_is_reported(tmp_path, eventveil):
    path = write(tmp_path / "a.csv", make_events(10))
    with pytest.raises(EventError, match="WIDTHxHEIGHT"):
        eventveil("info", path, "--sensor", "640")
    with pytest.raises(EventFileError, match="346x260"):
        eventveil("info", path, "--sensor", "640x480")


@given(
    st.lists(st.integers(0, 30_000), min_size=1, max_size=40), st.lists(st.integers(0, 40), max_size=3), st.integers()
)
def test_the_tally_does_not_depend_on_cuts(steps, places, seed):
    t = np.cumsum(steps)
    p = np.random.default_rng(seed % 1000).integers(0, 2, len(t))
    events = EventPacket.of(t, t * 0, t * 0, p)
    tally = Tally()
    for packet in cut(events, *sorted(min(place, len(t)) for place in places)):
        tally.add(packet)
    got = tally.summary("X", None)
    spans = [sum((t - t[0]) // PEAK_SPAN_US == span) for span in range(int(t[-1] - t[0]) // PEAK_SPAN_US + 1)]
    duration = int(t[-1] - t[0])
    mean = len(t) / duration * 1e6 if duration else None
    assert (got.events, got.t_first_us, got.t_last_us, got.duration_us) == (len(t), t[0], t[-1], duration)
    assert got.on_share == p.mean()
    assert got.mean_rate == mean
    assert got.peak_rate == (max(mean, max(spans) * 100.0) if duration else None)


@pytest.mark.parametrize("suffix", WRITERS)
def test_convert_there_and_back(tmp_path, eventveil, suffix):
    events = make_events(5_000, start_us=77)
    write(tmp_path / "in.csv", events)
    result = eventveil("convert", tmp_path / "in.csv", tmp_path / f"out{suffix}")
    assert "5,000 events" in result.stderr
    eventveil("convert", tmp_path / f"out{suffix}", tmp_path / "back.csv", "--sensor", SENSOR)
    assert (tmp_path / "back.csv").read_bytes() == (tmp_path / "in.csv").read_bytes()


def test_convert_overwrites_only_with_force(tmp_path, eventveil):
    write(tmp_path / "in.csv", make_events(10))
    (tmp_path / "out.npy").write_text("precious")
    with pytest.raises(EventFileError, match="--force"):
        eventveil("convert", tmp_path / "in.csv", tmp_path / "out.npy")
    assert (tmp_path / "out.npy").read_text() == "precious"
    eventveil("convert", tmp_path / "in.csv", tmp_path / "out.npy", "--force")
    assert len(np.load(tmp_path / "out.npy")) == 10


def test_convert_onto_itself(tmp_path, eventveil):
    events = make_events(100_000)
    path = write(tmp_path / "a.csv", events)
    eventveil("convert", path, path, "--force")
    with open_events(path) as source:
        assert_same(join(source), events)


def test_convert_repairs_time_only_on_request(tmp_path, eventveil):
    path = write_lines(tmp_path / "in.csv", "5,1,1,1", "3,2,1,1", "9,3,1,1")
    with pytest.raises(EventFileError, match="time goes back"):
        eventveil("convert", path, tmp_path / "out.npy")
    assert not (tmp_path / "out.npy").exists()
    result = eventveil("convert", path, tmp_path / "out.npy", "--on-disorder", "sort")
    assert np.load(tmp_path / "out.npy")["x"].tolist() == [2, 1, 3]
    assert "1 events were out of order" in result.stderr
    with pytest.raises(EventError, match="raise, sort, clip"):
        eventveil("convert", path, tmp_path / "out2.npy", "--on-disorder", "ignore")


def test_convert_of_a_damaged_file_leaves_nothing(tmp_path, eventveil):
    path = write_lines(tmp_path / "in.csv", "5,1,1,1", "?", "7,1,1,1")
    with pytest.raises(EventFileError, match="line 4"):
        eventveil("convert", path, tmp_path / "out.npy")
    assert list(tmp_path.iterdir()) == [path]


def test_convert_leaves_out_what_is_damaged_on_request(tmp_path, eventveil):
    source = write_lines(tmp_path / "a.csv", "1,0,0,0", "?", "3,0,0,0")
    result = eventveil("convert", source, tmp_path / "b.csv", "--on-damage", "skip")
    assert "line that is not an event: 1" in result.output
    with open_events(tmp_path / "b.csv") as events:
        assert join(events).t.tolist() == [1, 3]


def test_convert_of_a_sensor_larger_than_stated(tmp_path, eventveil):
    write(tmp_path / "in.npy", make_events(10, sensor=Sensor(640, 480)), Sensor(640, 480))
    with pytest.raises(EventFileError, match="outside the sensor of 346x260"):
        eventveil("convert", tmp_path / "in.npy", tmp_path / "out.csv", "--sensor", "346x260")


INTERRUPT = """
import signal, sys, time, typer
from eventveil.cli import convert
from eventveil.io.formats.csv_writer import CsvWriter
encode = CsvWriter.encode
def slowly(self, packet):
    encode(self, packet)
    print("writing", flush=True)
    time.sleep(600)  # until the test interrupts
CsvWriter.encode = slowly
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with SIGINT ignored
app = typer.Typer()
convert.register(app)
app(sys.argv[1:])
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_removes_the_part_and_says_so(tmp_path):
    path = write(tmp_path / "in.csv", make_events(100))
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPT, path, tmp_path / "out.csv"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            assert process.stdout.readline() == "writing\n"
            assert len(list(tmp_path.iterdir())) == 2
            process.send_signal(signal.SIGINT)
            _, output = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted" in output
    assert "removed" in output
    assert list(tmp_path.iterdir()) == [path]


def test_help_teaches(eventveil):
    assert "eventveil info trial.aedat4" in eventveil("info", "--help").stdout
    assert "eventveil convert trial.raw trial.aedat4" in eventveil("convert", "--help").stdout


def test_real_recordings_are_described_exactly(real_data, eventveil):
    facts = {
        "aestream_davis.aedat4": ("AEDAT4", 346, 260, 117_667),
        "tonic_sample.aedat4": ("AEDAT4", 320, 240, 111_954),
        "tonic_sample_none.aedat4": ("AEDAT4", 320, 240, 41_373),
        "tonic_sample_zstd.aedat4": ("AEDAT4", 320, 240, 41_373),
        "foam90.aedat": ("AEDAT2", 128, 128, 1_575),
        "tonic_sample_aedat_header.aedat": ("AEDAT2", None, None, 0),
        "faery_evt2.raw": ("EVT2", None, None, 521_252),
        "expelliarmus_evt3_sample.raw": ("EVT3", None, None, 219_596),
        "derived_test_data_evt3_trigger_0.raw": ("EVT3", 1280, 720, 82_469),
        "loris_NCARS_obj_004397_td.dat": ("DAT", None, None, 4_407),
        "faery_dvs.es": ("ES", 320, 240, 473_225),
        "evl_faces_easy_0001.bin": ("N-Caltech101", None, None, 67_445),
        "dvs_gesture_class0_us.npy": ("NPY", None, None, 63_471),
        "dvs_gesture_class3_us.npy": ("NPY", None, None, 151_879),
        "dvs_gesture_class9_us.npy": ("NPY", None, None, 85_936),
    }
    for name, (form, width, height, events) in facts.items():
        output = json.loads(eventveil("info", real_data / "recordings" / name, "--json").stdout)
        assert output["events"] == events, name
        assert output["format"] == form, name
        if width is not None:
            assert (output["width"], output["height"]) == (width, height), name


def test_time_passes_no_slower_than_two_seconds_before_a_bar(tmp_path, eventveil, monkeypatch):
    started = []
    monkeypatch.setattr("rich.progress.Progress.start", lambda self: started.append(True))
    path = write(tmp_path / "in.csv", make_events(10))
    eventveil("convert", path, tmp_path / "quick.npy")
    assert not started
    late = time.monotonic() + 10
    monkeypatch.setattr("eventveil.cli.progress.PATIENCE_S", time.monotonic() - late)
    eventveil("convert", path, tmp_path / "slow.npy")
    assert started
