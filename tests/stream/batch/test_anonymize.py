"""`eventveil anonymize`: what a pipeline would publish of a recording, as files; nothing else of it, and no name."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import stat
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import h5py
import numpy as np
import pytest
from canary import BINARY_SPELLINGS, canary_events, canary_in
from model_helpers import voxel_weights
from moving_disc import moving_disc
from pipeline_setup import LABELS, SENSOR, make_kit, write_recording
from reference_book import events_of as word_events
from reference_book import window_of
from stand_in_helpers import BOOK_SENSOR, STEP_US, STEPS, WORDS, make_stand_in_kit, stand_in_book
from typer.testing import CliRunner

from eventveil import EventPacket
from eventveil.cli import app
from eventveil.errors import AnonymizerError, BoundaryError, ConfigError
from eventveil.io.source import open_events
from eventveil.models.runtime import Anonymizer
from eventveil.models.weights import load_weights, save_weights
from eventveil.stream.batch import recordings
from eventveil.stream.stages.transform import AnonymizeTransform

CPU = ("--set", "anonymize.device=cpu", "--set", "classify.device=cpu")


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit")
    kit = make_kit(folder)
    write_recording(kit.recording, canary_events())
    write_recording(folder / "alice.aedat4", moving_disc(SENSOR, 0.35, seed=1))
    write_recording(folder / "roberta.aedat4", moving_disc(SENSOR, 0.25, seed=2))
    (folder / "torn.aedat4").write_bytes((folder / "roberta.aedat4").read_bytes()[:300])
    return kit


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    return make_stand_in_kit(tmp_path_factory.mktemp("stand-in"), seen_events())


def seen_events():
    """Yield 2.5 s in which the canary comes and goes, so that what the network sees changes."""
    for part in range(5):
        for packet in canary_events(STEP_US):
            thinned = packet[:: 1 + 40 * (part % 2)]
            yield EventPacket(thinned.t + part * 500_000, thinned.x, thinned.y, thinned.p)


def run(kit, *arguments, status=0):
    """Run the command; return what it printed."""
    weights = [part for path in (kit.anonymizer, kit.classifier) if path for part in ("--weights", str(path))]
    result = CliRunner().invoke(app, ["anonymize", *map(str, arguments), *weights, "--allow-untrained", *CPU])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == status, result.output
    return result


def manifest(out):
    return json.loads((out / "manifest.json").read_text())


def files(out):
    return sorted((out / "anonymized").iterdir())


def arrays(path):
    """Read all arrays of an anonymized file."""
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return dict(archive)
    with h5py.File(path) as file:
        return {name: file[name][:] for name in file}


def about_of(path):
    """Return what is the same for all windows of an anonymized file."""
    if path.suffix == ".npz":
        return json.loads(str(arrays(path)["about"]))
    with h5py.File(path) as file:
        return {key: json.loads(value) if key == "labels" else value for key, value in file.attrs.items()}


@pytest.mark.parametrize("form", ["hdf5", "npz"])
def test_a_file_holds_the_windows_that_the_network_makes_and_nothing_raw(kit, tmp_path, form, monkeypatch):
    made, process = [], AnonymizeTransform.process

    def kept(self, windows):
        made.extend(result := process(self, windows))
        return result

    monkeypatch.setattr(AnonymizeTransform, "process", kept)
    run(kit, kit.recording, "--out", tmp_path / "out", "--format", form)
    (path,) = files(tmp_path / "out")
    found = arrays(path)
    assert np.array_equal(found["windows"], [window.values for window in made])
    assert found["t_start_us"].tolist() == [0, 100_000, 200_000, 300_000, 400_000]
    assert (found["t_end_us"] - found["t_start_us"] == 100_000).all()
    assert found["seq"].tolist() == [0, 1, 2, 3, 4]
    assert set(found["label"]) <= {0, 1, 2}
    assert ((found["probability"] > 1 / 4) & (found["probability"] <= 1)).all()
    assert not any(spelling in array.tobytes() for array in found.values() for spelling in BINARY_SPELLINGS)
    assert not canary_in(path.read_bytes())
    assert not canary_in((tmp_path / "out" / "manifest.json").read_bytes())
    about = about_of(path)
    assert tuple(about["labels"]) == LABELS
    assert about["anonymizer"] == load_weights(kit.anonymizer).digest
    assert not about["trained"]


def test_only_the_owner_reads_the_results_whose_names_tell_nothing(kit, tmp_path):
    out = tmp_path / "new" / "out"
    old = os.umask(0)
    try:
        run(kit, kit.recording.parent / "alice.aedat4", kit.recording.parent / "roberta.aedat4", "--out", out)
    finally:
        os.umask(old)
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.rglob("*") if path.is_file()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (out.parent, out, out / "anonymized")} == {0o700}
    for path in files(out):
        assert len(path.stem) == 12
        assert not any(word in path.name.encode() + path.read_bytes() for word in (b"alice", b"roberta"))
    text = (out / "manifest.json").read_text()
    for name in ("alice", "roberta"):
        digest = hashlib.sha256((kit.recording.parent / f"{name}.aedat4").read_bytes()).hexdigest()
        assert digest in text
    fingerprints = {entry["sha256"].encode() for entry in manifest(out)["entries"]}
    assert not any(digest in path.read_bytes() for path in files(out) for digest in fingerprints)


def test_noise_is_new_in_every_run_and_in_every_file(kit, tmp_path):
    for name in ("one", "two"):
        run(kit, kit.recording, "--out", tmp_path / name)
    one, two = (arrays(files(tmp_path / name)[0])["windows"] for name in ("one", "two"))
    assert one.shape == two.shape
    assert not (one == two).all(axis=(1, 2, 3)).any()
    assert len({about_of(files(tmp_path / name)[0])["run"] for name in ("one", "two")}) == 2


def test_files_say_nothing_about_how_long_the_work_took(kit, tmp_path, monkeypatch):
    """The age of a window in the pipeline is real; here it would show how busy the recording is."""
    from eventveil.stream.archive import table_writers

    ages, write = [], table_writers.TableWriter.write
    monkeypatch.setattr(
        table_writers.TableWriter,
        "write",
        lambda self, message: ages.append(getattr(message.header, "age_ms", 0)) or write(self, message),
    )
    run(kit, kit.recording, "--out", tmp_path / "out")
    assert set(ages) == {0}


def test_what_cannot_be_read_is_listed_and_tried_again(kit, tmp_path):
    """A damaged recording, and one with the events of another: the rest is done, and the exit status is 1."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("alice", "roberta", "torn"):
        shutil.copy(kit.recording.parent / f"{name}.aedat4", folder)
    shutil.copy(folder / "alice.aedat4", folder / "carol.aedat4")
    (folder / "notes.xyz").write_text("not a recording")
    result = run(kit, folder, "--out", out, "--json", status=1)
    summary = json.loads(result.stdout)
    assert {Path(failed["recording"]).name for failed in summary["failed"]} == {"carol.aedat4", "torn.aedat4"}
    assert (summary["done"], summary["earlier"], summary["windows"]) == (2, 0, 7)
    assert "averaged away" in result.stderr
    before = {path: path.stat().st_mtime_ns for path in files(out)}
    shutil.copy(kit.recording, folder / "torn.aedat4")  # repaired
    summary = json.loads(run(kit, folder, "--out", out, "--json", "--resume", status=1).stdout)
    assert (summary["done"], summary["earlier"], summary["windows"]) == (1, 2, 12)
    assert before.items() <= {path: path.stat().st_mtime_ns for path in files(out)}.items()


def test_of_recordings_with_the_same_events_the_one_that_is_done_stays_in_whatever_order_they_are_named(kit, tmp_path):
    alice, copy, out = kit.recording.parent / "alice.aedat4", tmp_path / "copy.aedat4", tmp_path / "out"
    shutil.copy(alice, copy)
    run(kit, alice, copy, "--out", out, status=1)
    before = files(out)
    summary = json.loads(run(kit, copy, alice, "--out", out, "--resume", "--json", status=1).stdout)
    assert (summary["done"], summary["earlier"]) == (0, 1)
    assert [failed["recording"] for failed in summary["failed"]] == [str(copy)]
    assert files(out) == before


def test_no_recording_gets_noise_twice_even_if_its_file_was_moved_or_not_noted(kit, tmp_path):
    names, out = ("alice", "roberta"), tmp_path / "out"
    recordings = [kit.recording.parent / f"{name}.aedat4" for name in names]
    run(kit, *recordings, "--out", out)
    moved, forgotten = manifest(out)["entries"]
    (out / "anonymized" / moved["file"]).unlink()
    before = files(out)
    content = manifest(out)
    # It failed in an earlier run, and the process that made the file was killed before it could note that.
    content["entries"][1] |= {"windows": None, "sha256": None, "error": "a full disk"}
    (out / "manifest.json").write_text(json.dumps(content))
    summary = json.loads(run(kit, *recordings, "--out", out, "--resume", "--json").stdout)
    assert (summary["done"], summary["earlier"], summary["failed"]) == (0, 2, [])
    assert files(out) == before
    assert [path.name for path in before] == [forgotten["file"]]


def test_what_was_left_out_of_a_recording_is_counted_and_kept(kit, tmp_path):
    events = [f"{10 * k},{k % 64},{k // 64 % 64},1" for k in range(10_000)]
    events[500] = "5000000000,1,1,1"
    events[600] = "6000,64,1,1"
    (tmp_path / "a.csv").write_text("\n".join([f"# geometry {SENSOR}", "t,x,y,p", *events, ""]))
    result = run(kit, tmp_path / "a.csv", "--out", tmp_path / "out", "--json")
    omissions = {"event with an outlying time": 1, "event off the sensor": 1}
    assert json.loads(result.stdout)["omissions"] == {str(tmp_path / "a.csv"): omissions}
    assert manifest(tmp_path / "out")["entries"][0]["omissions"] == omissions
    assert "a.csv: event off the sensor: 1" in result.stderr
    again = run(kit, tmp_path / "a.csv", "--out", tmp_path / "out", "--json", "--resume")
    assert json.loads(again.stdout)["omissions"] == {str(tmp_path / "a.csv"): omissions}


@pytest.mark.parametrize("last_us", [10**12, 4 * 10**15])
def test_a_recording_whose_last_time_is_damaged_does_not_fill_the_disk_with_empty_windows(kit, tmp_path, last_us):
    events = [f"{100 * k},{k % 64},{k // 64 % 64},1" for k in range(10_000)]
    (tmp_path / "a.csv").write_text("\n".join([f"# geometry {SENSOR}", "t,x,y,p", *events, f"{last_us},1,1,1", ""]))
    both = tmp_path / "a.csv", kit.recording
    summary = json.loads(run(kit, *both, "--out", tmp_path / "out", "--json", status=1).stdout)
    assert summary["done"] == 1
    (failed,) = summary["failed"]
    assert f"before {last_us} us: its times are damaged" in failed["error"]
    assert len(files(tmp_path / "out")) == 1


def test_an_earlier_batch_is_not_mixed_with_another(kit, stand_in, tmp_path):
    out = tmp_path / "out"
    run(kit, kit.recording, "--out", out)
    with pytest.raises(ConfigError, match="holds an earlier batch"):
        run(kit, kit.recording, "--out", out)
    with pytest.raises(ConfigError, match="other weights"):
        run(stand_in, kit.recording, "--out", out, "--resume")
    with pytest.raises(ConfigError, match="other weights"):
        run(kit, kit.recording, "--out", out, "--resume", "--set", "scene.rotate=90")
    with pytest.raises(ConfigError, match="other recordings"):
        run(kit, kit.recording, kit.recording.parent / "roberta.aedat4", "--out", out, "--resume")


def test_an_interrupted_batch_leaves_no_partial_file_and_goes_on(kit, tmp_path, monkeypatch):
    names, out = ("alice", "roberta"), tmp_path / "out"
    recordings = [kit.recording.parent / f"{name}.aedat4" for name in names]
    call, calls = Anonymizer.__call__, []

    def interrupted(self, counts):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return call(self, counts)

    monkeypatch.setattr(Anonymizer, "__call__", interrupted)
    result = run(kit, *recordings, "--out", out, "--set", "anonymize.batch=100", status=130)
    assert "--resume" in result.stderr
    (done,) = files(out)
    left = next(entry for entry in manifest(out)["entries"] if entry["windows"] is None)
    (out / "anonymized" / f".{left['file']}.00000000.part").write_bytes(b"of a killed process")
    run(kit, *recordings, "--out", out, "--resume")
    assert len(files(out)) == 2
    assert done in files(out)


@pytest.mark.parametrize("form", ["hdf5", "npz", "aedat4"])
def test_a_full_disk_ends_the_batch_without_a_partial_file(kit, stand_in, tmp_path, form):
    used = stand_in if form == "aedat4" else kit
    with file_limit(3_000), pytest.raises(ConfigError, match="cannot be written"):
        run(used, used.recording, "--out", tmp_path / "out", "--format", form)
    assert files(tmp_path / "out") == []


@contextmanager
def file_limit(size):
    """Let no file of this process grow beyond a size: writes fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failing_network_lets_nothing_out(kit, tmp_path, monkeypatch):
    def refuse(*_):
        raise AnonymizerError("returned a window unchanged")

    monkeypatch.setattr(Anonymizer, "__call__", refuse)
    assert "unchanged" in run(kit, kit.recording, "--out", tmp_path / "out", status=1).stderr
    assert files(tmp_path / "out") == []


def test_a_raw_window_never_becomes_a_file(kit, tmp_path, monkeypatch):
    """The publisher's seal holds here, too."""
    monkeypatch.setattr(AnonymizeTransform, "process", lambda _, windows: windows)
    with pytest.raises(BoundaryError):
        run(make_without_classifier(kit), kit.recording, "--out", tmp_path / "out")
    assert files(tmp_path / "out") == []


def make_without_classifier(kit):
    return type(kit)(kit.recording, kit.anonymizer)


def test_trials_of_a_dataset_become_files_whose_times_begin_at_zero(kit, tmp_path):
    for number, split in enumerate(("Train", "Train", "Test")):
        folder = tmp_path / "data" / f"ibmGesture{split}" / f"user{number:02}_led"
        folder.mkdir(parents=True)
        for target in range(2):
            np.save(folder / f"{target}.npy", [[5, 7, 1, 20 + number], [6, 7, 0, 320 + target]])  # x, y, p, t in ms
    out = tmp_path / "out"
    result = run(kit, f"dvs-gesture:{tmp_path / 'data'}?split=train", "--out", out, "--json")
    assert json.loads(result.stdout)["done"] == 4
    assert {int(arrays(path)["t_start_us"][0]) for path in files(out)} == {0}
    assert all("ibmGestureTrain" in entry["recording"] for entry in manifest(out)["entries"])
    assert not any(b"user0" in path.read_bytes() for path in files(out))


def test_a_whole_recording_may_be_one_window(kit, tmp_path):
    run(kit, kit.recording, "--out", tmp_path / "out", "--set", "window.mode=recording")
    (path,) = files(tmp_path / "out")
    assert arrays(path)["windows"].shape == (1, 10, 32, 32)


def test_voxel_grids_have_no_gestures(tmp_path):
    weights = voxel_weights()
    save_weights(tmp_path / "voxel.safetensors", weights.model, weights.metadata)
    width, height = weights.metadata.size
    sensor = type(SENSOR)(width, height)
    write_recording(tmp_path / "disc.aedat4", moving_disc(sensor, 0.3), sensor)
    kit = type("Kit", (), {"anonymizer": tmp_path / "voxel.safetensors", "classifier": None})
    run(kit, tmp_path / "disc.aedat4", "--out", tmp_path / "out")
    found = arrays(files(tmp_path / "out")[0])
    assert found["windows"].shape[1:] == weights.metadata.window_shape
    assert "label" not in found


def test_a_stand_in_writes_the_words_of_its_book(stand_in, tmp_path):
    run(stand_in, stand_in.recording, "--out", tmp_path / "windows", "--format", "npz")
    run(stand_in, stand_in.recording, "--out", tmp_path / "events", "--format", "aedat4")
    found = arrays(files(tmp_path / "windows")[0])
    clips = clips_of(stand_in_book())
    expected = []
    for number, t_start_us, values, label in zip(
        *(found[key] for key in ("word", "t_start_us", "windows", "label")), strict=True
    ):
        word = WORDS[number]
        events = word_events(
            clips[word.clip], word, sensor=BOOK_SENSOR, steps=STEPS, step_us=STEP_US, t_start_us=int(t_start_us)
        )
        counts = window_of(events, sensor=BOOK_SENSOR, step_us=STEP_US, bins=1, t_start_us=int(t_start_us))
        assert np.array_equal(values, counts)
        assert json.loads(str(found["about"]))["labels"][label] == word.label
        expected += events
    assert len(set(found["word"])) > 1
    with open_events(files(tmp_path / "events")[0]) as events:
        assert events.sensor == BOOK_SENSOR
        written = [row for packet in events for row in zip(packet.t, packet.x, packet.y, packet.p, strict=True)]
    assert [tuple(map(int, row)) for row in written] == sorted(expected, key=lambda event: event[0])


def clips_of(book):
    """Return the clips of a book as lists of (t, x, y, p)."""
    bounds = book.starts[::STEPS].tolist()
    columns = (book.t, book.x, book.y, book.p)
    return [
        list(zip(*(column[first:last].tolist() for column in columns), strict=True)) for first, last in pairwise(bounds)
    ]


def test_what_a_batch_has_written_below_a_folder_of_recordings_is_none_of_them(stand_in, tmp_path):
    """The events of a stand-in are files of a readable format."""
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(stand_in.recording, folder)
    run(stand_in, folder, "--out", folder / "first", "--format", "aedat4")
    again = json.loads(
        run(stand_in, folder, "--out", folder / "first", "--format", "aedat4", "--resume", "--json").stdout
    )
    assert (again["done"], again["earlier"]) == (0, 1)
    other = json.loads(run(stand_in, folder, "--out", folder / "second", "--json").stdout)
    assert (other["done"], other["earlier"]) == (1, 0)


def test_the_search_for_repeats_reads_each_file_once(tmp_path, monkeypatch):
    """A dataset may have thousands of files of one size."""
    paths = [tmp_path / str(number) for number in range(200)]
    for number, path in enumerate(paths):
        path.write_bytes(bytes([number % 150, 0]))
    read = []
    monkeypatch.setattr(recordings, "digest_of", lambda path: read.append(path) or path.read_bytes().hex())
    repeats = recordings.repeated([recordings.Recording(path.name, path, lambda: None) for path in paths])
    assert repeats == {str(number): str(number - 150) for number in range(150, 200)}
    assert len(read) == 200


def test_trials_of_one_file_are_repeats_only_if_they_overlap(tmp_path):
    (tmp_path / "file").write_bytes(b"trials")
    parts = {"a": (0, 5), "b": (5, 9), "c": (8, 12)}
    trials = [recordings.Recording(name, tmp_path / "file", lambda: None, 0, part) for name, part in parts.items()]
    assert recordings.repeated(trials) == {"c": "b"}


def test_only_a_stand_in_makes_events(kit, tmp_path):
    with pytest.raises(ConfigError, match="only a stand-in makes events"):
        run(kit, kit.recording, "--out", tmp_path / "out", "--format", "evt3")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("simulate:",), "expected recordings, folders or datasets"),
        (("dv://",), "expected recordings, folders or datasets"),
        (("missing.aedat4",), "there is no such file"),
        (("{folder}", "--format", "tiff"), "expected hdf5, npz"),
        (("{folder}", "--set", "publish.bind=tcp://127.0.0.1:1"), "expected a key of window"),
        (("{empty}",), "no file of a readable format"),
    ],
)
def test_mistakes_are_explained_before_any_work(kit, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    names = {"folder": kit.recording, "empty": tmp_path / "empty"}
    with pytest.raises(Exception, match=message):
        run(kit, *(argument.format(**names) for argument in arguments), "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
