"""Runs that are killed, stopped or fail: nothing is lost, and a resumed run equals an uninterrupted one."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
import yaml
from small_trainings import Silent, planted, settings, values, watch
from typer.testing import CliRunner

from eventveil.cli import app
from eventveil.errors import TrainingError
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine import checkpoint
from eventveil.training.engine.checkpoint import write_whole
from eventveil.training.engine.logs import Logs
from eventveil.training.engine.loop import Interrupted
from eventveil.training.recipe import Recipe

# Everything that could make a difference: noise, dropout, augmentation, straddling, two adversaries, restarts.
CHANGES = {
    "window": {"per_trial": 2, "straddle": 0.5},
    "augment": {"rotation_deg": 20, "padding": 0.2},
    "adversarial": {"epochs": 2, "from_pretrained": False, "adversaries": 2, "restart_every": 1, "helper_steps": 2},
    "run": {"save_every_s": 1e-6},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def uninterrupted(root, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    Recipe(settings(root, **CHANGES), folder, ProcessGroup(), Silent(), watch).train_anonymizer()
    return folder


def rows(folder, name="steps.csv"):
    with (folder / "adversarial" / name).open(newline="") as file:
        return [{key: value for key, value in row.items() if key != "samples_per_s"} for row in csv.DictReader(file)]


def arguments(root, folder, **changes):
    """Return the arguments of an `eventveil train adversarial` with changed settings."""
    config = folder.parent / "config.yaml"
    config.write_text(yaml.safe_dump(values(root, **(CHANGES | changes))))
    return ["train", "adversarial", str(config), "--out", str(folder)]


class InterruptAtStep(threading.Thread):
    """Sends SIGINT to this process, as Ctrl-C does, once a run has written this many steps."""

    def __init__(self, folder, steps):
        super().__init__()
        self._path, self._steps, self._run_ended = folder / "adversarial" / "steps.csv", steps, threading.Event()

    def run(self):
        while not self._run_ended.wait(0.01):
            if self._path.exists() and len(self._path.read_text().splitlines()) > self._steps:
                os.kill(os.getpid(), signal.SIGINT)
                return

    def __enter__(self):
        self.start()

    def __exit__(self, *_):
        self._run_ended.set()
        self.join()


def same_weights(one, other):
    names = ("last.pt", "best.pt")
    for name in names:
        states = [torch.load(folder / "adversarial" / name, weights_only=True)["networks"] for folder in (one, other)]
        for network, state in states[0].items():
            for key, value in state.items():
                assert torch.equal(value, states[1][network][key]), (name, network, key)


KILLED = """
import json, os, signal, sys
from pathlib import Path
from small_trainings import Silent, settings, watch
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.recipe import Recipe

class Killed(Silent):
    steps = 0

    def step(self, values, windows):
        self.steps += 1
        if self.steps == 9:  # an epoch has 6 steps: in the middle of the second epoch
            os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    train_settings = settings(sys.argv[1], **json.loads(sys.argv[3]))
    Recipe(train_settings, Path(sys.argv[2]), ProcessGroup(), Killed(), watch).train_anonymizer()
"""


def test_a_killed_run_resumes_as_if_uninterrupted(root, uninterrupted, tmp_path):
    folder = tmp_path / "run"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED, str(root), str(folder), json.dumps(CHANGES)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    saved = torch.load(folder / "adversarial" / "last.pt", weights_only=True)["progress"]
    assert saved["epoch"] < 2
    (folder / "adversarial" / ".last.pt.1.part").write_bytes(b"killed while writing")
    recipe = Recipe(settings(root, **CHANGES), folder, ProcessGroup(), Silent(), watch, resume=True)
    recipe.train_anonymizer()
    assert rows(folder) == rows(uninterrupted)
    assert rows(folder, "epochs.csv") == rows(uninterrupted, "epochs.csv")
    assert len(rows(folder)) == 12
    same_weights(folder, uninterrupted)
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize(("at", "saved"), [(8, (1, 3)), (12, (2, 0))])  # in the middle, and during the last step
def test_resuming_is_exact_wherever_the_run_was_stopped(root, uninterrupted, tmp_path, at, saved):
    folder = tmp_path / "run"

    class Stopping(Silent):
        steps = 0

        def step(self, values, windows):
            self.steps += 1
            if self.steps == at:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        Recipe(settings(root, **CHANGES), folder, ProcessGroup(), Stopping(), watch).train_anonymizer()
    progress = torch.load(folder / "adversarial" / "last.pt", weights_only=True)["progress"]
    assert (progress["epoch"], progress["step"]) == saved
    Recipe(settings(root, **CHANGES), folder, ProcessGroup(), Silent(), watch, resume=True).train_anonymizer()
    assert rows(folder) == rows(uninterrupted)
    same_weights(folder, uninterrupted)


def test_ctrl_c_ends_the_step_saves_and_says_how_to_resume(root, tmp_path):
    folder = tmp_path / "run"
    endless = CHANGES["adversarial"] | {"epochs": 10_000}
    with InterruptAtStep(folder, 2):
        done = CliRunner().invoke(app, arguments(root, folder, adversarial=endless))
    assert done.exit_code == 130
    assert "To continue, repeat the command with --resume" in done.output
    progress = torch.load(folder / "adversarial" / "last.pt", weights_only=True)["progress"]
    assert len(rows(folder)) == 6 * progress["epoch"] + progress["step"]


def test_a_stage_is_not_begun_twice_by_mistake(root, uninterrupted):
    with pytest.raises(TrainingError, match="this stage was already started; resume it with --resume"):
        Recipe(settings(root, **CHANGES), uninterrupted, ProcessGroup(), Silent(), watch).train_anonymizer()


def test_a_run_is_not_resumed_with_other_settings(root, uninterrupted):
    other = settings(root, **CHANGES | {"batch": 4})
    with pytest.raises(TrainingError, match=r"this stage was started with other settings; .*its settings\.yaml"):
        Recipe(other, uninterrupted, ProcessGroup(), Silent(), watch, resume=True).train_anonymizer()
    irrelevant = settings(root, **CHANGES | {"run": {"save_every_s": 7}, "attack": {"epochs": 9}})
    Recipe(
        irrelevant, uninterrupted, ProcessGroup(), Silent(), watch, resume=True
    ).train_anonymizer()  # finished: nothing to do


def test_values_that_are_not_finite_end_the_run_and_name_the_batch(root, tmp_path):
    folder = tmp_path / "run"
    wild = CHANGES | {"adversarial": CHANGES["adversarial"] | {"helpers": {"lr": 1e30}}}
    done = CliRunner().invoke(app, arguments(root, folder, **wild))
    assert isinstance(done.exception, TrainingError), repr(done.exception)
    assert "not finite in epoch 0, step" in str(done.exception)
    assert "user0" not in done.output + str(done.exception)  # names of people stay in the run folder
    details = json.loads((folder / "adversarial" / "not_finite.json").read_text())
    assert len(details["trials"]) == 8
    assert all(name.startswith("ibmGestureTrain/user0") for name in details["trials"])
    saved = torch.load(folder / "adversarial" / "last.pt", weights_only=True)
    assert saved["progress"]["step"] == details["step"]


def test_a_full_disk_leaves_the_older_file(tmp_path):
    path = tmp_path / "last.pt"
    path.write_bytes(b"older")

    def write(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(TrainingError, match=r"last\.pt: cannot be written \(No space left on device\); the previous"):
        write_whole(path, write)
    assert path.read_bytes() == b"older"
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04"])
def test_a_file_that_is_not_a_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "last.pt"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"last\.pt: is not a training checkpoint"):
        checkpoint.load_networks(path, "the test")


def test_missing_weights_are_named(root, tmp_path):
    with pytest.raises(
        TrainingError, match=r"pretrain/target/best\.pt: the adversarial stage .*train that stage first"
    ):
        Recipe(settings(root), tmp_path / "run", ProcessGroup(), Silent(), watch).train_anonymizer()
    with pytest.raises(TrainingError, match=r"adversarial/best\.pt: the attack on the anonymizer"):
        Recipe(settings(root), tmp_path / "run", ProcessGroup(), Silent(), watch).attack()


def test_a_step_whose_row_was_cut_is_not_taken_for_an_earlier_one(tmp_path):
    """The process was killed while it appended step 12, of which a 1 was left."""
    (tmp_path / "steps.csv").write_text("epoch,step,loss\n0,0,1.5\n0,1,1.25\n0,2,1.0\n0,1")
    Logs(tmp_path, tensorboard=False, epoch=0, step=3).close()
    assert (tmp_path / "steps.csv").read_text().split() == ["epoch,step,loss", "0,0,1.5", "0,1,1.25", "0,2,1.0"]
