"""Two processes learn the same as one: same batches, same noise, same curve."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import yaml
from small_trainings import Silent, planted, settings, values, watch
from torch import nn

from eventveil.errors import ConfigError
from eventveil.host.addresses import free_port
from eventveil.training.distributed import process_group
from eventveil.training.distributed.launch import launch
from eventveil.training.distributed.process_group import ProcessGroup, join_group
from eventveil.training.distributed.sync_layers import SharedDropout, share_layers
from eventveil.training.randomness import NamedNoise, torch_generator
from eventveil.training.recipe import Recipe

# Batch norm, triplets, dropout, noise and augmentation must all see the whole batch.
CHANGES = {
    "augment": {"rotation_deg": 20, "padding": 0.2},
    "adversarial": {
        "epochs": 2,
        "from_pretrained": False,
        "objective": {"name": "target-triplet"},
        # Small: the first steps of Adam follow the signs of gradients, which for some weights are only rounding errors.
        "helpers": {"lr": 1e-5},
        "anonymizer": {"lr": 1e-5},
    },
}
PROGRAM = """
import sys, torch
from torch import distributed, nn
from torch.nn import functional
from eventveil.training.distributed.process_group import join_group, leave_group
from eventveil.training.distributed.sync_layers import share_layers
from eventveil.training.objectives.losses import batch_hard_triplet

group = join_group("cpu")
torch.manual_seed(0)
x = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(1)) * 3 + 10
person = torch.arange(8) // 2
network = share_layers(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.BatchNorm1d(18)), group)
part = x[group.part(8)].requires_grad_()
embedding = network(part)
triplet = batch_hard_triplet(group.gather(embedding), group.gather(person[group.part(8)]))
loss = triplet + embedding.square().mean() * 0.1
parameters = list(network.parameters())
gradients = torch.autograd.grad(loss, [part, *parameters])
from small_trainings import adversarial_stage, batch
stage = adversarial_stage(group)
step = stage.step(batch(group), 0)
result = {
    "step": [list(gradient._parts) for gradient in step.gradients],
    "windows": group.gather(gradients[0]) / group.size,
    "gradients": group.average(gradients[1:]),
    "state": network.state_dict(),
    "total": group.total(torch.tensor(float(group.rank + 1))),
}
if group.leads:
    torch.save(result, sys.argv[1])
leave_group()
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return planted(tmp_path_factory.mktemp("planted"))


def together(command, processes, tmp_path):
    """Run a command in several processes that form a group."""
    common = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1] / "support"),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(processes),
    }
    running = [
        subprocess.Popen(command, env=common | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"})
        for rank in range(processes)
    ]
    assert [process.wait(100) for process in running] == [0] * processes


@pytest.mark.nightly
def test_batch_norm_triplets_and_gradients_are_those_of_the_whole_batch(tmp_path):
    results = []
    for processes in (1, 2):
        path = tmp_path / f"{processes}.pt"
        together([sys.executable, "-c", PROGRAM, str(path)], processes, tmp_path)
        results.append(torch.load(path, weights_only=True))
    one, two = results
    torch.testing.assert_close(two["windows"], one["windows"], rtol=1e-3, atol=1e-5)
    assert one["windows"].abs().max() > 1e-3
    for ours, theirs in zip(two["gradients"], one["gradients"], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    assert [len(parts) for parts in one["step"]] == [len(parts) for parts in two["step"]]
    for ours, theirs in zip(two["step"], one["step"], strict=True):
        flat, expected = (torch.cat([part.flatten() for part in parts]) for parts in (ours, theirs))
        assert (flat - expected).norm() < 1e-3 * expected.norm()
        assert expected.norm() > 1
    assert one["state"].keys() == two["state"].keys()
    for name, value in one["state"].items():
        torch.testing.assert_close(two["state"][name], value)
    assert (one["total"], two["total"]) == (1, 3)


@pytest.mark.nightly
def test_two_processes_train_as_one(root, tmp_path):
    Recipe(settings(root, **CHANGES), tmp_path / "one", ProcessGroup(), Silent(), watch).train_anonymizer()
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values(root, **CHANGES)))
    command = ["train", "adversarial", str(config), "--out", str(tmp_path / "two"), "--devices", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "eventveil.cli", *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    curves = []
    for name in ("one", "two"):
        with (tmp_path / name / "adversarial" / "steps.csv").open(newline="") as file:
            curves.append([{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)])
    assert len(curves[0]) == len(curves[1]) == 6
    for one, two in zip(*curves, strict=True):
        # Accuracies jump when two classes are about equally likely, as all of them are in the beginning.
        losses = [{key: value for key, value in row.items() if "accuracy" not in key} for row in (one, two)]
        assert losses[1] == pytest.approx(losses[0], rel=0.02, abs=0.02)
    losses = [row["adversary_loss"] for row in curves[0]]
    assert max(losses) > 1.05 * min(losses)  # the batches differ, so equal curves mean something


def test_noise_and_dropout_of_parts_are_those_of_the_whole():
    whole = NamedNoise(torch_generator(torch.device("cpu"), "a")).normal((6, 2, 3), torch.device("cpu"))
    parts = [
        NamedNoise(torch_generator(torch.device("cpu"), "a"), rank, 3).normal((2, 2, 3), torch.device("cpu"))
        for rank in range(3)
    ]
    assert torch.equal(torch.cat(parts), whole)
    x = torch.ones(6, 50)
    dropped = []
    for group in (ProcessGroup(), ProcessGroup(rank=0, size=2), ProcessGroup(rank=1, size=2)):
        torch.manual_seed(5)
        dropped.append(SharedDropout(0.3, group)(x[group.part(6)]))
    assert torch.equal(torch.cat(dropped[1:]), dropped[0])
    assert dropped[0].unique().tolist() == pytest.approx([0.0, 1 / 0.7])
    assert 0.2 < (dropped[0] == 0).float().mean() < 0.4
    assert SharedDropout(0.3, ProcessGroup()).eval()(x) is x


def test_one_process_keeps_pytorchs_own_batch_norm():
    network = share_layers(nn.Sequential(nn.BatchNorm2d(2), nn.Sequential(nn.Dropout(0.5))), ProcessGroup())
    assert type(network[0]) is nn.BatchNorm2d
    assert type(network[1][0]) is SharedDropout


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match="3 processes cannot share 8 windows evenly"):
        ProcessGroup(size=3).part(8)
    assert ProcessGroup(rank=1, size=2).part(8) == slice(4, 8)


def test_a_device_that_is_not_there_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="PyTorch sees 0 CUDA devices"):
            join_group("cuda")


def test_several_machines_need_to_know_of_each_other(monkeypatch):
    for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match=r"set MASTER_ADDR, MASTER_PORT, NODE_RANK in the environment"):
        launch(["train"], 1, 2)


@pytest.mark.parametrize("rank", ["2", "-1", "first", ""])
def test_a_machine_is_one_of_those_that_there_are(monkeypatch, rank):
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "29500"), ("NODE_RANK", rank)):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("subprocess.Popen", None)  # nothing is started
    with pytest.raises(ConfigError, match="NODE_RANK: expected 0 to 1, another on each machine"):
        launch(["train"], 1, 2)


def test_the_launcher_tells_of_the_first_failure():
    assert launch(["train", "all", "missing.yaml"], 2, 1) == 2


def test_processes_wait_while_the_first_one_cuts_windows(monkeypatch):
    """NCCL gives up after ten minutes by default, and the windows of a large dataset take longer."""
    asked = {}
    monkeypatch.setattr(process_group.distributed, "init_process_group", lambda kind, **values: asked.update(values))
    monkeypatch.setattr(process_group.distributed, "is_initialized", lambda: False)
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    assert join_group("cpu").size == 2
    assert asked["timeout"] >= timedelta(hours=6)


def test_cuda_is_set_to_give_the_same_values_in_each_run(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")  # and afterwards it is as before
    tf32 = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    try:
        process_group.compute_repeatably()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = tf32
