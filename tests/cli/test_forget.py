"""`eventveil forget` deletes what eventveil has stored by itself, all of it, and nothing else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from small_trainings import planted
from small_trainings import values as train_values
from typer.testing import CliRunner

from eventveil import Sensor
from eventveil.cli import app
from eventveil.cli.retention import windows_kept
from eventveil.errors import ConfigError, EventVeilError, TrainingError
from eventveil.host.files import lock_file
from eventveil.service import paths
from eventveil.stream.preprocess.hot_pixel_file import HotPixelFile

SENSOR = Sensor(40, 30)


def forget(*targets, status=0):
    done = CliRunner().invoke(app, ["forget", *map(str, targets), "--json"])
    if status:
        assert isinstance(done.exception, EventVeilError)
        return str(done.exception)
    assert done.exit_code == 0, done.output + repr(done.exception)
    return [(trace["what"], trace["path"]) for trace in json.loads(done.output.splitlines()[-1])["traces"]]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Folders of state and of temporary files that no other test uses."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return tmp_path


def stored(serial, folder=None):
    file = HotPixelFile(serial, SENSOR, folder)
    file.save(np.ones((30, 40), np.bool_))
    return file.path


def dead_pipeline(folder):
    """A runtime folder as two killed processes leave it: its lock is free."""
    folder.mkdir(parents=True)
    for name in ("lock", "counters", "expelled"):
        (folder / name).write_bytes(b"x")
    bind(folder / "anonymize.sock")
    return folder


def bind(path):
    with socket.socket(socket.AF_UNIX) as listener:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket must be short
        listener.bind(path.name)
        os.chdir(here)


def test_the_hot_pixels_of_one_camera_and_no_other_are_deleted(home):
    mine, alike, longer = stored("DXB00010"), stored("DXB0001"), stored("DXB00010-2")
    assert forget("dv://DXB00010") == [("hot pixels", str(mine))]
    assert not mine.exists()
    assert alike.exists()
    assert longer.exists()
    assert forget("dv://DXB00010") == []
    assert len(forget("dv://", "prophesee://")) == 2  # each file once
    assert not list(mine.parent.iterdir())


def test_a_preset_stands_for_its_cameras(home):
    path = stored("00000499")
    assert forget("kiosk", "desk") == [("hot pixels", str(path))]
    assert not path.exists()


def test_a_dry_run_lists_and_deletes_nothing(home):
    path = stored("DXB00010")
    part = path.with_name(f".{path.name}.0badcafe.part")
    part.write_text("of a killed process")
    assert forget("dv://", "--dry-run") == [("hot pixels", str(path))]
    assert path.exists()
    forget("dv://")
    assert not path.exists()
    assert not part.exists()


def test_the_folders_of_killed_pipelines_are_deleted_and_those_of_running_ones_stay(home):
    dead, running = (dead_pipeline(home / "tmp" / "pymp-a" / f"eventveil-{name}") for name in ("dead", "running"))
    other = home / "tmp" / "pymp-a" / "eventveil-no-lock"
    other.mkdir()
    lock = lock_file(running / "lock")
    try:
        assert forget("simulate:") == [("counters of events, and sockets", str(dead))]
    finally:
        os.close(lock)
    assert not dead.exists()
    assert running.exists()
    assert other.exists()


def test_a_link_among_temporary_files_leads_to_no_other_folder(home):
    """Other users can create it, and let it lead to a runtime folder that this user has chosen, with more in it."""
    chosen = dead_pipeline(home / "mine" / "eventveil-line")
    (home / "tmp" / "pymp-x").symlink_to(chosen.parent)
    assert forget("simulate:") == []
    assert chosen.exists()


def test_of_a_chosen_runtime_folder_only_what_a_pipeline_has_left_is_deleted(home):
    folder = dead_pipeline(home / "run")
    (folder / "mine.txt").write_text("not of a pipeline")
    bind(folder / "mine.sock")
    config = home / "line.yaml"
    config.write_text(yaml.safe_dump({"sources": [{"uri": "simulate:"}], "line": {"runtime_dir": str(folder)}}))
    lock = lock_file(folder / "lock")
    try:
        assert "a pipeline is running" in forget(config, status=2)
    finally:
        os.close(lock)
    assert len(forget(config)) == 4
    assert {path.name for path in folder.iterdir()} == {"mine.txt", "mine.sock"}


def test_of_a_run_an_audit_and_a_cache_the_raw_windows_are_deleted_and_the_results_stay(home):
    run, audit, cache = home / "run", home / "audit", home / "cache"
    cached = "0123456789abcdef" * 2 + ".npy"
    for path in (run / "split.json", run / "results.json", run / "windows" / cached, run / "adversarial/windows.png",
                 run / "weights" / "a.safetensors", audit / "report.json", audit / "work" / "audit.json",
                 audit / "work" / "windows" / cached, cache / cached, cache / "mine.npy"):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (audit / "work" / "audit.json").write_text('{"digest": "0", "look": "1"}')
    assert [path for _, path in forget(run)] == [str(run / "windows"), str(run / "adversarial" / "windows.png")]
    assert sorted(path.name for path in run.rglob("*") if path.is_file()) == [
        "a.safetensors", "results.json", "split.json"
    ]  # fmt: skip
    assert [path for _, path in forget(audit, cache)] == [str(audit / "work"), str(cache / cached)]
    assert [path.name for path in audit.iterdir()] == ["report.json"]
    assert [path.name for path in cache.iterdir()] == ["mine.npy"]


def test_a_folder_of_something_else_is_refused_before_anything_is_deleted(home):
    pixels = stored("DXB00010")
    (home / "photos" / "windows").mkdir(parents=True)
    assert "nothing was deleted" in forget("dv://", home / "photos", status=2)
    assert "no such file" in forget("dv://", home / "missing", status=2).lower()
    assert pixels.exists()
    assert (home / "photos" / "windows").exists()


def test_a_link_is_removed_and_not_followed(home):
    treasure = home / "treasure"
    treasure.mkdir()
    (treasure / "mine").write_text("x")
    (home / "run").mkdir()
    (home / "run" / "split.json").write_text("{}")
    (home / "run" / "windows").symlink_to(treasure)
    with pytest.raises(ConfigError, match="symbolic link"), windows_kept(home / "run", keep=False, cache=None):
        pass  # raw windows would stay where it leads
    assert forget(home / "run") == [(f"a link; raw windows stay in {treasure}", str(home / "run" / "windows"))]
    assert (treasure / "mine").exists()
    assert not (home / "run" / "windows").is_symlink()


def test_of_an_audit_a_link_is_not_said_to_be_what_it_leads_to(home):
    work = home / "disk" / "work"
    work.mkdir(parents=True)
    (work / "audit.json").write_text('{"digest": "0", "look": "1"}')
    (home / "audit").mkdir()
    (home / "audit" / "work").symlink_to(work)
    what = f"a link; raw windows, identities and attackers of an audit stay in {work}"
    assert forget(home / "audit") == [(what, str(home / "audit" / "work"))]
    assert (work / "audit.json").exists()
    assert not (home / "audit" / "work").is_symlink()


def test_of_an_installed_service_the_log_is_deleted_and_its_own_state(home, monkeypatch):
    program = home / "bin" / "journalctl"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {home}/called\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr(paths, "CONFIGS", home / "etc")
    monkeypatch.setattr(paths.ServicePaths, "state", home / "var")
    (home / "etc").mkdir()
    config = home / "etc" / "desk.yaml"
    config.write_text("sources: [{uri: 'dv://DXB00010'}]\n")
    of_service, of_user = stored("DXB00010", home / "var" / "eventveil" / "hot_pixels"), stored("DXB00010")
    assert forget(config) == [("hot pixels", str(of_service)), ("log of the service", "eventveil-desk")]
    assert of_user.exists()
    assert (home / "called").read_text().split() == ["--namespace=eventveil-desk", "--rotate", "--vacuum-time=1us"]
    program.write_text("#!/bin/sh\necho 'Permission denied' >&2; exit 1\n")
    assert "Permission denied; repeat this as root" in forget(config, status=2)


@pytest.mark.parametrize("link", ["eventveil", "eventveil/hot_pixels"])
def test_a_link_of_a_service_leads_root_to_no_file_of_another(home, monkeypatch, link):
    monkeypatch.setattr(paths, "CONFIGS", home / "etc")
    monkeypatch.setattr(paths.ServicePaths, "state", home / "var")
    (home / "etc").mkdir()
    config = home / "etc" / "desk.yaml"
    config.write_text("sources: [{uri: 'dv://'}]\n")
    of_another = stored("DXB00010", home / "another" / "hot_pixels")
    (home / "var" / link).parent.mkdir(parents=True)
    (home / "var" / link).symlink_to(of_another.parent if "/" in link else of_another.parent.parent)
    assert "symbolic link" in forget(config, status=2)
    assert of_another.exists()


def test_stored_hot_pixels_are_no_older_than_the_settings_say():
    path = stored("S")
    os.utime(path, (0, 0))
    assert HotPixelFile("S", SENSOR).load() is not None
    assert HotPixelFile("S", SENSOR, days=30).load() is None
    assert not path.exists()
    HotPixelFile("S", SENSOR, days=0).save(np.ones((30, 40), np.bool_))
    assert not path.exists()
    stored("S")
    assert HotPixelFile("S", SENSOR, days=1).load() is not None


def test_a_training_deletes_its_raw_windows_if_they_may_not_be_kept(home, monkeypatch):
    monkeypatch.chdir(home)
    root = planted(home / "planted", train=5, test=3)
    (home / "train.yaml").write_text(yaml.safe_dump(train_values(root, pretrain={"epochs": 1})))
    options = ["--out", "run", "--set", "run.keep_windows=false"]
    done = CliRunner().invoke(app, ["train", "pretrain", "train.yaml", *options])
    assert done.exit_code == 0, done.output + repr(done.exception)
    assert not (home / "run" / "windows").exists()
    assert (home / "run" / "pretrain").exists()


def test_windows_are_deleted_after_an_error_and_never_in_a_folder_that_no_run_made(home):
    for folder, name in ((home / "run", "split.json"), (home / "photos", "holiday")):
        (folder / "windows").mkdir(parents=True)
        (folder / name).write_text("{}")
        with pytest.raises(KeyboardInterrupt), windows_kept(folder, keep=False, cache=None):
            raise KeyboardInterrupt
    assert not (home / "run" / "windows").exists()
    assert (home / "photos" / "windows").exists()
    with pytest.raises(ConfigError, match="other runs may need"), windows_kept(home, keep=False, cache=home / "cache"):
        pass


def test_what_eventveil_has_not_made_stays_in_folders_with_its_names(home):
    """`split.json`, `windows/`, `windows.png` and `work/audit.json` are names that others use, too."""
    cached = "0123456789abcdef" * 2 + ".npy"
    mine = [home / "data" / name for name in ("windows/house.jpg", "windows/deep/x", "figures/windows.png")]
    mine += [home / "project" / "work" / name for name in ("audit.json", "thesis.tex")]
    for path in (home / "data" / "split.json", home / "data" / "windows" / cached, *mine):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('{"vulnerabilities": {}}')
    assert [path for _, path in forget(home / "data")] == [str(home / "data" / "windows" / cached)]
    assert "nothing was deleted" in forget(home / "project", status=2)
    with windows_kept(home / "data", keep=False, cache=None):
        (home / "data" / "windows" / cached).write_bytes(b"x")
    assert not (home / "data" / "windows" / cached).exists()
    assert all(path.exists() for path in mine)


def test_a_run_that_is_refused_deletes_no_windows_of_an_earlier_one(home):
    earlier, new = (home / "run" / "windows" / (digit * 32 + ".npy") for digit in "01")
    earlier.parent.mkdir(parents=True)
    earlier.write_bytes(b"x")
    (home / "run" / "split.json").write_text("{}")

    def refused():
        with windows_kept(home / "run", keep=False, cache=None):
            new.write_bytes(b"x")
            raise TrainingError("this stage was already started")

    with pytest.raises(TrainingError):
        refused()
    assert earlier.exists()
    assert not new.exists()


def test_only_processes_that_hold_the_lock_are_running(home):
    """The lock of a process that was killed is free at once: nothing of it keeps its files from being deleted."""
    folder = dead_pipeline(home / "tmp" / "pymp-b" / "eventveil-killed")
    hold = (
        f"import fcntl, os; f = open({str(folder / 'lock')!r}); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True); "
    )
    with subprocess.Popen(["python3", "-c", hold + "input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline()
        assert forget("simulate:") == []
        holder.kill()
    assert len(forget("simulate:")) == 1
