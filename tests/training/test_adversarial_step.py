"""The adversarial step with one forward pass, compared with a slow twin that runs everything twice, as published."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from small_trainings import adversarial_stage, anonynoise
from small_trainings import batch as batch_of
from torch import nn
from torch.nn import functional

from eventveil.errors import ConfigError
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.learner import Learner, learning_rate
from eventveil.training.networks import build
from eventveil.training.objectives.losses import (
    batch_hard_triplet,
    coarse_difference,
    event_reid_objective,
    towards_uniform,
)
from eventveil.training.objectives.ssim import ssim
from eventveil.training.settings import RunSettings, ScheduleSettings

CPU = torch.device("cpu")


class Rated(nn.Module):
    """An anonymizer that computes a rate."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(4, 4, 1)

    def draw_noise(self, windows, generator):
        return generator.normal((windows, 4, 8, 8), CPU)

    def rated(self, x_BCHW, noise_BCHW):
        mixed = self.mix(x_BCHW)
        return mixed + noise_BCHW, mixed.square().mean()

    def anonymize(self, x_BCHW, generator):
        return self.rated(x_BCHW, self.draw_noise(len(x_BCHW), generator))[0]


def published(networks, batch, objective):
    """Run each helper twice: once to train it on detached windows, once for the anonymizer's loss."""
    anonymizer, kept, adversaries = networks
    anonymized = anonymizer.anonymize(batch.x_BCHW, batch.noise)
    gradients = {}
    output = kept(anonymized.detach())
    loss = functional.cross_entropy(output.logits, batch.target_B)
    gradients["kept"] = torch.autograd.grad(loss, list(kept.parameters()))
    for number, adversary in enumerate(adversaries):
        output = adversary(anonymized.detach())
        loss = functional.cross_entropy(output.logits, batch.person_B)
        loss = loss + batch_hard_triplet(output.embedding, batch.person_B)
        gradients[f"adversary{number}"] = torch.autograd.grad(loss, list(adversary.parameters()))
    target = functional.cross_entropy(kept(anonymized).logits, batch.target_B)
    secret = []
    for adversary in adversaries:
        output = adversary(anonymized)
        if objective == "target-triplet":
            secret.append(-batch_hard_triplet(output.embedding, batch.person_B))
        else:
            secret.append(0.7 * towards_uniform(output.logits))
    loss = target + sum(secret) / len(secret)
    gradients["anonymizer"] = torch.autograd.grad(loss, list(anonymizer.parameters()))
    return gradients


@pytest.mark.parametrize("objective", ["target-triplet", "uniform"])
@pytest.mark.parametrize("adversaries", [1, 2])
def test_one_forward_pass_gives_the_gradients_of_two(objective, adversaries):
    stage = adversarial_stage(ProcessGroup(), anonynoise(), adversaries, objective={"name": objective, "weight": 0.7})
    twin = copy.deepcopy((stage.anonymizer, stage.kept, stage.adversaries))
    before = [parameter.clone() for learner in stage.learners.values() for parameter in learner.parameters]
    step = stage.step(batch_of(ProcessGroup()), 0)
    want = published(twin, batch_of(ProcessGroup()), objective)
    got = {"kept": step.gradients[0], "anonymizer": step.gradients[-1]}
    got |= {f"adversary{k}": gradient for k, gradient in enumerate(step.gradients[1:-1])}
    assert got.keys() == want.keys()
    for name, gradient in got.items():
        for ours, theirs in zip(gradient._parts, want[name], strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
        assert gradient.norm > 1e-3, name
    after = [parameter for learner in stage.learners.values() for parameter in learner.parameters]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(parameter.grad is None for parameter in after)


def test_likeness_keeps_the_target_and_the_windows_and_asks_no_adversary():
    stage = adversarial_stage(
        ProcessGroup(), anonynoise(), adversaries=0, objective={"name": "likeness", "weight": 0.3}
    )
    anonymizer, kept = copy.deepcopy((stage.anonymizer, stage.kept))
    batch = batch_of(ProcessGroup())
    anonymized = anonymizer.anonymize(batch.x_BCHW, batch.noise)
    loss = functional.cross_entropy(kept(anonymized).logits, batch.target_B)
    loss = loss + 0.3 * coarse_difference(batch.x_BCHW, anonymized)
    want = torch.autograd.grad(loss, list(anonymizer.parameters()))
    kept_gradient, gradient = stage.step(batch_of(ProcessGroup()), 0).gradients
    assert kept_gradient.norm > 0
    for ours, theirs in zip(gradient._parts, want, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def test_an_objective_weighs_the_loss_of_what_is_kept():
    weights = {"alpha": 0.5, "beta": 2.0, "gamma": 0.3}
    objective = {"name": "structure-picture", **weights}
    stage = adversarial_stage(ProcessGroup(), anonynoise(), adversaries=0, objective=objective)
    picture = stage._picture = lambda x_BCHW: x_BCHW[:, :1].sigmoid()
    anonymizer, kept = copy.deepcopy((stage.anonymizer, stage.kept))
    large = batch_of(ProcessGroup()).x_BCHW.repeat(1, 1, 2, 2)
    batch, twice = (replace(batch_of(ProcessGroup()), x_BCHW=large) for _ in range(2))
    anonymized = anonymizer.anonymize(batch.x_BCHW, batch.noise)

    def compared(*maps):
        spans = [float(values.detach().max() - values.detach().min()) for values in maps]
        return ssim(*maps, data_range=max(spans))

    structure_B = compared(batch.x_BCHW, anonymized)
    picture_B = compared(picture(anonymized), picture(batch.x_BCHW))
    loss = functional.cross_entropy(kept(anonymized).logits, batch.target_B)
    loss = event_reid_objective(structure_B, picture_B, loss, **weights)
    want = torch.autograd.grad(loss, list(anonymizer.parameters()))
    step = stage.step(twice, 0)
    torch.testing.assert_close(step.values["objective"], loss)
    for ours, theirs in zip(step.gradients[-1]._parts, want, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def in_bf16(stage, size):
    """Set a stage to compute in bfloat16 on windows of `size` x `size` pixels, and return it."""
    settings = stage._settings
    window, run = settings.window.model_copy(update={"size": (size, size)}), RunSettings(precision="bf16")
    stage._settings = settings.model_copy(update={"window": window, "run": run})
    return stage


@pytest.mark.nightly
def test_a_step_in_bf16_goes_where_one_in_fp32_does(monkeypatch):
    monkeypatch.setattr(build, "computes_bf16", lambda device: True)  # PyTorch emulates it where a CPU has none
    x_BCHW = torch.poisson(torch.full((8, 4, 24, 24), 0.7), generator=torch.Generator().manual_seed(5))
    batches = [replace(batch_of(ProcessGroup()), x_BCHW=x_BCHW) for _ in range(3)]
    full = adversarial_stage(ProcessGroup()).step(batches[0], 0)
    half, repeated = (in_bf16(adversarial_stage(ProcessGroup()), 24).step(batch, 0) for batch in batches[1:])
    for name in ("kept_loss", "adversary_loss", "mean_change", "objective"):
        torch.testing.assert_close(half.values[name].float(), full.values[name], rtol=0.05, atol=0.0)
    for exact, coarse, again in zip(full.gradients, half.gradients, repeated.gradients, strict=True):
        assert all(part.dtype == torch.float32 for part in coarse._parts)
        assert all(torch.equal(*parts) for parts in zip(coarse._parts, again._parts, strict=True))
        flat = [torch.cat([part.flatten() for part in gradient._parts]) for gradient in (exact, coarse)]
        assert 0.7 < functional.cosine_similarity(*flat, dim=0) < 0.999


def test_bf16_is_refused_where_gradients_would_be_memory_never_written(monkeypatch):
    monkeypatch.setattr(build, "computes_bf16", lambda device: True)
    with pytest.raises(ConfigError, match=r"run\.precision: bf16 on a CPU needs windows wider than 16 pixels"):
        in_bf16(adversarial_stage(ProcessGroup()), 16).step(batch_of(ProcessGroup()), 0)
    monkeypatch.setattr(build, "computes_bf16", lambda device: False)
    with pytest.raises(ConfigError, match=r"run\.precision: cpu does not compute in bfloat16"):
        in_bf16(adversarial_stage(ProcessGroup()), 17).step(batch_of(ProcessGroup()), 0)


def test_a_step_is_taken_by_everybody():
    stage = adversarial_stage(ProcessGroup(), anonynoise())
    before = {name: copy.deepcopy(learner.network.state_dict()) for name, learner in stage.learners.items()}
    for gradient in stage.step(batch_of(ProcessGroup()), 0).gradients:
        gradient.step()
    for name, learner in stage.learners.items():
        assert any(not torch.equal(value, before[name][key]) for key, value in learner.network.state_dict().items())


def test_helpers_are_trained_more_often_than_the_anonymizer():
    stage = adversarial_stage(ProcessGroup(), anonynoise(), helper_steps=3)
    kinds = [len(stage.step(batch_of(ProcessGroup()), number).gradients) for number in range(6)]
    assert kinds == [2, 2, 3, 2, 2, 3]
    assert "objective" not in stage.step(batch_of(ProcessGroup()), 0).values


def test_the_rate_of_an_anonymizer_is_pressed_down():
    torch.manual_seed(0)
    anonymizer = Rated()
    plain = adversarial_stage(ProcessGroup(), copy.deepcopy(anonymizer)).step(batch_of(ProcessGroup()), 0)
    pressed = adversarial_stage(
        ProcessGroup(), copy.deepcopy(anonymizer), objective={"name": "uniform", "rate_weight": 0.3}
    ).step(batch_of(ProcessGroup()), 0)
    rate = anonymizer.rated(batch_of(ProcessGroup()).x_BCHW, torch.zeros(8, 4, 8, 8))[1]
    torch.testing.assert_close(pressed.values["rate_nats"], rate)
    want = torch.autograd.grad(rate, list(anonymizer.parameters()))
    for with_it, without, part in zip(pressed.gradients[-1]._parts, plain.gradients[-1]._parts, want, strict=True):
        torch.testing.assert_close(with_it - without, 0.3 * part, rtol=1e-3, atol=1e-5)


def test_adversaries_are_restarted_in_turn_and_only_when_an_epoch_begins():
    stage = adversarial_stage(ProcessGroup(), anonynoise(), 2, restart_every=2)
    weights = lambda k: stage.adversaries[k].backbone[0].weight.clone()  # noqa: E731
    for gradient in stage.step(batch_of(ProcessGroup()), 0).gradients:
        gradient.step()
    snapshots = [(weights(0), weights(1))]
    for epoch, step in ((0, 0), (1, 0), (2, 3), (2, 0), (4, 0)):
        stage.begin_epoch(epoch, step)
        snapshots.append((weights(0), weights(1)))
    changed = [tuple(not torch.equal(a, b) for a, b in zip(*pair, strict=True)) for pair in pairwise(snapshots)]
    assert changed == [(False, False), (False, False), (False, False), (False, True), (True, False)]
    assert not stage.learners["adversary0"].optimizer.state
    assert stage.learners["kept"].optimizer.state


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", [1, 1, 1, 1]), ("step", [1, 1, 0.5, 0.5]), ("cosine", [1, 0.853553, 0.5, 0.146447])],
)
def test_learning_rates_follow_their_schedule(schedule, rates):
    settings = ScheduleSettings(lr=1.0, schedule=schedule, step_epochs=2)
    assert [learning_rate(settings, epoch, 4) for epoch in range(4)] == pytest.approx(rates, abs=1e-6)


@pytest.mark.parametrize(("optimizer", "moved"), [("adamw", True), ("adam", False)])
def test_weight_decay_is_adamws(optimizer, moved):
    network = nn.Conv2d(1, 1, 1)
    learner = Learner(network, ScheduleSettings(lr=0.1, weight_decay=0.5), optimizer, 1, ProcessGroup())
    before = network.weight.clone()
    learner.as_gradient([torch.zeros_like(p) for p in learner.parameters]).step()
    assert bool((network.weight != before).all()) is moved


def test_a_long_gradient_is_clipped():
    learner = Learner(nn.Linear(2, 1, bias=False), ScheduleSettings(clip=0.5), "adam", 1, ProcessGroup())
    gradient = learner.as_gradient([torch.tensor([[3.0, 4.0]])])
    assert gradient.norm == 5
    torch.testing.assert_close(gradient._parts[0], torch.tensor([[0.3, 0.4]]))
    short = learner.as_gradient([torch.tensor([[0.03, 0.04]])])
    torch.testing.assert_close(short._parts[0], torch.tensor([[0.03, 0.04]]))
