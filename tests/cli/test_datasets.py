"""`eventveil datasets check`: the table, the JSON, and the report on a damaged dataset."""

from __future__ import annotations

import io
import json

import dataset_makers as make
import pytest
from rich.console import Console
from typer.testing import CliRunner

from eventveil.cli import app, progress
from eventveil.errors import DatasetError

PEOPLE = (("ibmGestureTrain", (1, 2)), ("ibmGestureTest", (24,)))


def check(*words):
    return CliRunner().invoke(app, ["datasets", "check", *map(str, words)])


@pytest.mark.parametrize("maker", ["tonic", "release", "see", "reid"])
def test_each_layout_is_recognised(tmp_path, maker):
    getattr(make, maker)(tmp_path)
    result = check(tmp_path, "--json")
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["rows"]
    parts = [row for name, row in rows.items() if name != "total"]
    for key in ("people", "trials", "events"):
        assert rows["total"][key] == sum(row[key] for row in parts) > 0


def test_what_json_holds(tmp_path):
    make.tonic(tmp_path, PEOPLE, classes=(0, 10))
    output = json.loads(check(tmp_path, "--json").stdout)
    assert (output["kind"], output["layout"]) == ("dvs-gesture", "DVS128 Gesture, as tonic stores it")
    assert output["classes"][10] == "other gestures"
    train = output["rows"]["train"]
    minutes = train.pop("minutes")
    assert train == {"people": 2, "classes": 2, "trials": 8, "events": 400}
    assert 0.12 < minutes < 8 / 60
    assert list(output["rows"]) == ["train", "test", "total"]


def test_the_table(tmp_path):
    make.tonic(tmp_path, PEOPLE, classes=(0, 10))
    result = check(tmp_path)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    assert [line[0] for line in lines] == ["train", "test", "total"]
    assert lines[2] == ["total", "3", "2", "12", "0.2", "600"]
    assert result.stderr == ""


def test_damaged_trials_are_reported_and_the_rest_is_counted(tmp_path):
    make.release(tmp_path)
    path = tmp_path / "user24_natural.aedat"
    path.write_bytes(path.read_bytes()[:-1_000])  # its last gesture is incomplete
    make.see(tmp_path / "see")
    frames = sorted((tmp_path / "see" / "event").rglob("00000.jpg"))
    (frames[0].parent / "00001.jpg").write_bytes(b"")
    for folder in (tmp_path, tmp_path / "see"):
        result = check(folder, "--json")
        assert result.exit_code == 1
        assert result.stderr.startswith("eventveil: ")
        assert json.loads(result.stdout)["rows"]["total"]["events"] > 0
    assert json.loads(result.stdout)["rows"]["total"]["events"] == 12 * 128  # only a grey frame was lost


def test_many_faults_are_summarised(tmp_path):
    make.see(tmp_path)
    for path in (tmp_path / "event").rglob("*.jpg"):
        path.write_bytes(b"")
    result = check(tmp_path)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert (len(lines), lines[-1]) == (11, "eventveil: and 2 more faults")


def test_a_folder_of_something_else(tmp_path):
    assert isinstance(check(tmp_path).exception, DatasetError)


def test_help_names_the_command():
    result = CliRunner().invoke(app, ["datasets", "--help"])
    assert "check" in result.stdout


@pytest.mark.parametrize(("patience_s", "shown"), [(-1.0, True), (60.0, False)])
def test_a_bar_is_shown_to_those_who_have_waited(tmp_path, monkeypatch, patience_s, shown):
    make.tonic(tmp_path, PEOPLE, classes=(0, 10))
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    monkeypatch.setattr(progress, "stderr", terminal)
    monkeypatch.setattr(progress, "PATIENCE_S", patience_s)
    assert check(tmp_path).exit_code == 0
    assert ("12/12" in terminal.file.getvalue()) is shown
