"""Every file and folder that a command writes is readable by its owner only, under the usual umask.

A new command fails here until it is listed: with arguments that make it write, or among those that write nothing.
"""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
import typer
import yaml
from moving_disc import moving_disc
from pipeline_helpers import gesture, publisher, state, window
from pipeline_setup import SENSOR, write_recording
from planted_visits import planted_visits, reversed_book, visit_values
from small_audits import values as audit_values
from small_trainings import planted
from small_trainings import values as train_values
from typer.testing import CliRunner
from video_files import write_video
from weights_helpers import published_anonymizer, published_autoencoder

from eventveil.cli import app
from eventveil.host.addresses import free_port

PUBLIC: set[str] = set()
"""Paths that others may read: none. What is made to be shared, such as a report, is shared by its owner."""

WINDOW = ("--size", "16x16", "--bins", "2", "--bin-us", "60000")
WRITE = {
    "convert": ("disc.aedat4", "disc.npy"),
    "calibrate": ("disc.aedat4", "--seconds", "0.2", "--beside", "disc.aedat4", "--out", "seen.png"),
    "simulate gestures": ("people", "--subjects", "2", "--sessions", "1", "--seconds", "0.1"),
    "simulate sequences": ("visits", "--subjects", "2", "--sessions", "1", "--seconds", "10"),
    "simulate negatives": ("visits", "--kinds", "fan", "--takes", "2", "--seconds", "0.1"),
    "simulate video": ("bar.mkv", "bar.aedat4"),
    "keys new": ("line",),
    "keys allow": ("alice/alice.pub", "--keys", "line"),
    "weights init": ("anonynoise", "--out", "mine.safetensors", *WINDOW),
    "weights half": ("mine.safetensors", "half.safetensors"),
    "weights import anonynoise": ("published.pth",),
    "weights import event-reid": ("event_reid.pth",),
    "anonymize": ("disc.aedat4", "--weights", "mine.safetensors", "--allow-untrained", "--out", "anonymous"),
    "train pretrain": ("train.yaml", "--set", "run.tensorboard=true"),
    "train adversarial": ("train.yaml", "--set", "run.pictures=true"),
    "train attack": ("train.yaml",),
    "train all": ("train.yaml", "--resume"),
    "train stand-in": ("stand_in.yaml",),
    "train table": ("table.yaml",),
    "book make": ("gestures", "--out", "small.safetensors", "--set", "person.sensor=24x20",
                  "--set", "person.look=plain"),
    "book show": ("book.safetensors", "--out", "book.png"),
    "audit": ("--weights", "mine.safetensors", "--config", "audit.yaml", "--out", "audited"),
    "subscribe": ("{endpoint}", "--npz", "received/today"),
    "record": ("{endpoint}", "--out", "recorded/line.mcap"),
}  # fmt: skip
WRITE_NOTHING = {
    "info": ("disc.aedat4",),
    "datasets check": ("planted",),
    "keys list": ("--keys", "line"),
    "book check": ("book.safetensors",),
    "replay": ("recorded/line.mcap", "--speed", "max", "--bind", "tcp://127.0.0.1:{port}"),
    "weights show": ("mine.safetensors",),
    "audit verify": ("audited/certificate.json",),
    "results": ("audited", "--format", "csv"),
    "run": ("disc.aedat4", "--weights", "shipped", "--speed", "max", "--set", "line.run_as=threads",
            "--set", "publish.bind=tcp://127.0.0.1:{port}"),
}  # fmt: skip
NOT_RUN = {
    "audit selftest": "writes through the code of `audit`",
    "status": "asks a running pipeline over HTTP",
    "cameras": "asks the drivers",
    "cameras test": "needs a camera; tests/cli/test_camera_report.py has fakes",
    "doctor": "examines the machine",
    "demo": "starts `run`",
    "forget": "removes files",
    "bridge mqtt": "sends to a broker; tests/stream/clients/bridge/ has one",
    "show": "serves a page until Ctrl-C; tests/stream/owner/show/ saves pictures",
    "service install": "needs root; tests/core/test_service.py installs below another root",
    "service uninstall": "removes files",
    "view": "serves a page until Ctrl-C; tests/stream/clients/web/ does",
    "keys revoke": "removes a file",
}


def names_of(command, before=()):
    """Yield the names of all commands below a group, and of groups that are commands themselves."""
    if not isinstance(command, typer.core.TyperGroup):
        yield " ".join(before)
        return
    if command.invoke_without_command and before:
        yield " ".join(before)
    for name, below in command.commands.items():
        yield from names_of(below, (*before, name))


def test_every_command_is_listed():
    listed = [*WRITE, *WRITE_NOTHING, *NOT_RUN]
    assert sorted(names_of(typer.main.get_command(app))) == sorted(listed)


def files_below(folder):
    """Return what identifies the content of every file and folder, by path."""
    states = {path: path.lstat() for path in folder.rglob("*")}
    return {path: (state.st_ino, state.st_mtime_ns, state.st_ctime_ns) for path, state in states.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with all inputs, under the usual umask."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        before = os.umask(0o022)
        patch.chdir(folder)
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        write_recording(folder / "disc.aedat4", moving_disc(SENSOR, 0.5))
        write_video(folder / "bar.mkv", np.random.default_rng(0).integers(0, 255, (4, 16, 24), np.uint8))
        root = planted(folder / "planted", train=5, test=3)
        few = {"architectures": ["plain"], "epochs": 1}
        audit = audit_values(root, linking=[1], averaging=0, attackers=few, window={"per_trial": 2, "bins": 2})
        (folder / "audit.yaml").write_text(yaml.safe_dump(audit))
        one = {"epochs": 1}
        attack = {**one, "against": ["anonymizer"], "of": ["identity"]}
        (folder / "train.yaml").write_text(
            yaml.safe_dump(train_values(root, pretrain=one, adversarial=one, attack=attack))
        )
        rows = [{"name": "raw", "run": "raw", "subject": "raw"}]
        (folder / "table.yaml").write_text(
            yaml.safe_dump({"title": "T", "source": "S", "config": "train.yaml", "metrics": ["rank1"], "rows": rows})
        )
        book = reversed_book(folder / "book.safetensors")
        visits = visit_values(planted_visits(folder / "moments"), book=str(book), schedule=one)
        (folder / "stand_in.yaml").write_text(yaml.safe_dump(visits))
        torch.save(published_anonymizer(), folder / "published.pth")
        torch.save(published_autoencoder(), folder / "event_reid.pth")
        assert CliRunner().invoke(app, ["keys", "new", "alice"]).exit_code == 0
        yield folder
        os.umask(before)


STATUS = {"calibrate": 1, "audit": 2}
"""Exit statuses of commands that work, and say so of events unlike those of the training, or of too little data."""


def run(command, arguments):
    if command in ("subscribe", "record"):
        with publisher(window(), gesture(), state(), topics=3 + (command == "record")) as endpoint:
            done = CliRunner().invoke(app, [command, *(argument.format(endpoint=endpoint) for argument in arguments)])
    else:
        arguments = [argument.format(port=free_port()) for argument in arguments]
        done = CliRunner().invoke(app, [*command.split(), *arguments])
    assert done.exit_code == STATUS.get(command, 0), done.output + repr(done.exception)


@pytest.mark.timeout(600)
def test_what_commands_write_is_private(place):
    for command, arguments in (WRITE | WRITE_NOTHING).items():
        before = files_below(place)
        run(command, arguments)
        written = {path for path, state in files_below(place).items() if before.get(path) != state}
        written = {path for path in written if path not in before or path.is_file()}
        if command in WRITE_NOTHING:
            assert not written, command
            continue
        assert any(path.is_file() for path in written), f"{command} wrote nothing"
        modes = {str(path.relative_to(place)): path.stat().st_mode & 0o777 for path in written}
        open_to_others = {f"{path}: {mode:o}" for path, mode in modes.items() if mode & 0o077 and path not in PUBLIC}
        assert not open_to_others, command
