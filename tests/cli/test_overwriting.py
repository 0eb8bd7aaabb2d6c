"""No command replaces a file silently, and none follows or replaces a symbolic link, with or without --force."""

from __future__ import annotations

import json

import pytest
import torch
import yaml
from moving_disc import moving_disc
from pipeline_helpers import gesture, publisher, state, window
from pipeline_setup import SENSOR, write_recording
from small_audits import values as audit_values
from small_trainings import planted
from small_trainings import values as train_values
from typer.testing import CliRunner
from weights_helpers import anonymizer_file, published_anonymizer

from eventveil.audit.report.report import PAGE, REPORT, SCHEMA
from eventveil.cli import app
from eventveil.errors import AccessError, AuditError, ConfigError, DatasetError, EventVeilError, TrainingError
from eventveil.host.files import write_atomic
from eventveil.replay.datasets import open_dataset
from eventveil.replay.simulation.recipe import is_simulated
from eventveil.stream.protocol.certificate import CERTIFICATE
from eventveil.stream.protocol.keys import read_folder, read_public

WINDOW = ("--size", "16x16", "--bins", "2", "--bin-us", "60000")
ONE_FILE = {
    "convert": ("convert", "disc.aedat4", "out.npy"),
    "calibrate": ("calibrate", "disc.aedat4", "--seconds", "0.1", "--beside", "disc.aedat4", "--out", "out.npy"),
    "weights init": ("weights", "init", "anonynoise", "--out", "out.npy", *WINDOW),
    "weights import": ("weights", "import", "anonynoise", "published.pth", "--out", "out.npy"),
    "weights half": ("weights", "half", "mine.safetensors", "out.npy"),
}
"""Commands that write one file, out.npy."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    write_recording(folder / "disc.aedat4", moving_disc(SENSOR, 0.2))
    torch.save(published_anonymizer(), folder / "published.pth")
    anonymizer_file(folder / "mine.safetensors")
    return folder


@pytest.fixture
def place(inputs, tmp_path, monkeypatch):
    """Change to an empty folder that can name the inputs."""
    for path in inputs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def error_of(*arguments):
    error = CliRunner().invoke(app, list(map(str, arguments))).exception
    assert isinstance(error, EventVeilError), repr(error)
    return error


@pytest.mark.parametrize("command", ONE_FILE)
def test_a_file_is_replaced_with_force_only(place, command):
    (place / "out.npy").write_bytes(b"precious")
    error = error_of(*ONE_FILE[command])
    assert "out.npy" in str(error)
    assert "it exists already; choose another name, or replace a file with --force" in str(error)
    assert (place / "out.npy").read_bytes() == b"precious"
    CliRunner().invoke(app, [*ONE_FILE[command], "--force"])
    assert (place / "out.npy").read_bytes() != b"precious"
    assert (place / "out.npy").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["without", "with force"])
@pytest.mark.parametrize("target", ["precious", "missing"])
@pytest.mark.parametrize("command", ONE_FILE)
def test_a_symbolic_link_is_neither_followed_nor_replaced(place, command, target, force):
    (place / "precious").write_bytes(b"precious")
    (place / "out.npy").symlink_to(place / target)
    assert "out.npy" in str(error := error_of(*ONE_FILE[command], *force))
    assert "it is a symbolic link, which is never followed or replaced; choose another name" in str(error)
    assert (place / "out.npy").readlink() == place / target
    assert (place / "precious").read_bytes() == b"precious"
    assert not (place / "missing").exists()


@pytest.mark.parametrize("command", ONE_FILE)
def test_a_file_that_appears_during_the_work_is_kept(place, monkeypatch, command):
    # As if another process had written it after the first look.
    monkeypatch.setattr("eventveil.cli.options.check_target", lambda *_, **__: (place / "out.npy").write_bytes(b"new"))
    monkeypatch.setattr("eventveil.io.convert.check_target", lambda *_, **__: (place / "out.npy").write_bytes(b"new"))
    assert "out.npy" in str(error := error_of(*ONE_FILE[command]))
    assert "it exists already" in str(error)
    assert (place / "out.npy").read_bytes() == b"new"
    assert not list(place.glob(".*.part"))


def receive(folder, *messages):
    with publisher(*messages, state()) as endpoint:
        return CliRunner().invoke(app, ["subscribe", endpoint, "--npz", str(folder)])


def test_received_messages_of_several_runs_are_all_kept(tmp_path):
    folder = tmp_path / "received"
    assert receive(folder, window(), gesture()).exit_code == 0
    first = {path: path.read_bytes() for path in folder.iterdir()}
    assert receive(folder, window(run="f" * 16), gesture(run="f" * 16)).exit_code == 0
    assert len(list(folder.iterdir())) == 4
    assert all(path.read_bytes() == content for path, content in first.items())


def test_a_message_that_is_saved_already_is_kept(tmp_path):
    assert receive(tmp_path, window()).exit_code == 0
    ((path, content),) = {path: path.read_bytes() for path in tmp_path.iterdir()}.items()
    again = receive(tmp_path, window())
    assert isinstance(again.exception, ConfigError)
    assert f"{path}: it exists already, from a subscriber to the same run; choose another folder" in str(
        again.exception
    )
    assert path.read_bytes() == content


def test_half_a_pair_of_keys_is_completed(tmp_path, monkeypatch):
    def killed(path, *arguments, **options):
        if path.suffix == ".pub":
            raise KeyboardInterrupt
        write_atomic(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("eventveil.stream.protocol.keys.write_atomic", killed)
        CliRunner().invoke(app, ["keys", "new", str(tmp_path / "line")])
    secret = (tmp_path / "line" / "secret.key").read_bytes()
    assert [path.name for path in (tmp_path / "line").iterdir()] == ["secret.key"]
    assert CliRunner().invoke(app, ["keys", "new", str(tmp_path / "line")]).exit_code == 0
    assert (tmp_path / "line" / "secret.key").read_bytes() == secret
    assert read_public(tmp_path / "line" / "line.pub").key == read_folder(tmp_path / "line").public
    assert isinstance(error_of("keys", "new", tmp_path / "line"), AccessError)


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_public_key_in_the_way_leaves_no_secret_key(tmp_path, kind):
    folder = tmp_path / "line"
    folder.mkdir(0o700)
    if kind == "file":
        (folder / "line.pub").write_bytes(b"theirs")
    else:
        (folder / "line.pub").symlink_to(tmp_path / "missing")
    assert "line.pub: a key exists already" in str(error_of("keys", "new", folder))
    assert [path.name for path in folder.iterdir()] == ["line.pub"]
    assert not (tmp_path / "missing").exists()


def test_people_are_not_simulated_into_a_dataset_of_real_ones(tmp_path):
    root = planted(tmp_path / "real")
    before = sorted(root.rglob("*"))
    error = error_of("simulate", "gestures", root, "--subjects", "9", "--sessions", "1", "--seconds", "0.1")
    assert "expected a new or empty folder, or a set of simulated people; it holds ibmGestureTest" in str(error)
    assert sorted(root.rglob("*")) == before
    assert not is_simulated(root)
    settings = train_values(root, data={"simulate": {"subjects": 9, "sessions": 1, "seconds": 0.1}})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    error_of("train", "pretrain", tmp_path / "mine.yaml", "--out", tmp_path / "run")
    assert not is_simulated(root)


def test_another_process_may_begin_the_same_simulation(tmp_path, monkeypatch):
    def meanwhile(path, data, **options):
        path.write_bytes(data)
        write_atomic(path, data, **options)

    monkeypatch.setattr("eventveil.replay.simulation.dataset.write_atomic", meanwhile)
    arguments = ("--subjects", "2", "--sessions", "1", "--seconds", "0.1")
    assert CliRunner().invoke(app, ["simulate", "gestures", str(tmp_path / "people"), *arguments]).exit_code == 0
    assert is_simulated(tmp_path / "people")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("planted"))


@pytest.mark.parametrize("name", ["results.json", "weights", "adversarial"])
def test_training_leaves_other_files_of_its_names_alone(tmp_path, root, name):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(train_values(root)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"precious")
    error = error_of("train", "pretrain", tmp_path / "mine.yaml", "--out", tmp_path / "out")
    assert isinstance(error, TrainingError)
    assert f"{name}: exists, and no run made it; choose another folder with --out" in str(error)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_the_split_of_a_run_is_not_replaced(tmp_path, root):
    people = open_dataset(root).subjects
    splits = ({"train": people[:5], "val": people[5:7], "test": people[7:]},
              {"train": people[4:], "val": people[2:4], "test": people[:2]})  # fmt: skip
    for name, split in zip(("split.json", "other.json"), splits, strict=True):
        (tmp_path / name).write_text(json.dumps({"seed": 1, "people": split}))
    before = (tmp_path / "split.json").read_bytes()
    settings = train_values(root, data={"split": str(tmp_path / "other.json")})
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    error = error_of("train", "attack", tmp_path / "mine.yaml", "--out", tmp_path)
    assert isinstance(error, DatasetError)
    assert "split.json: this run splits people differently" in str(error)
    assert (tmp_path / "split.json").read_bytes() == before


@pytest.mark.parametrize("name", [REPORT, SCHEMA, PAGE, CERTIFICATE])
def test_an_audit_leaves_the_report_of_another_one_alone(tmp_path, root, name):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(audit_values(root)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"precious")
    weights = tmp_path / "mine.safetensors"
    assert CliRunner().invoke(app, ["weights", "init", "anonynoise", "--out", str(weights), *WINDOW]).exit_code == 0
    error = error_of("audit", "--weights", weights, "--config", tmp_path / "mine.yaml", "--out", tmp_path / "out")
    assert isinstance(error, AuditError)
    assert f"{name}: exists, and no audit that can be resumed made it; choose another --out" in str(error)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
