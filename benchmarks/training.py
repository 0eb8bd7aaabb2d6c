"""Compare the speed of one adversarial step with a plain re-implementation of the published one, on the same windows.

    python benchmarks/training.py [--batch 4] [--size 128] [--depth 50] [--steps 3] [--device auto]

The published step runs both helpers twice, on anonymized windows with and without gradients to the anonymizer, and
makes one backward pass for each of three losses, in fp32 with PyTorch's defaults. Ours is
`training/stages/adversarial.py` as `eventveil train` runs it, with data on the device: in fp32, and in bf16 where the
device computes in it. The kinds of step take turns, so that a slower machine slows all of them; a figure is the median.
On a shared machine, use core seconds, the processor time of this process, with OMP_NUM_THREADS=1. Windows are random,
the classifiers know 11 gestures and 23 people; a batch of up to 46 windows shows each of its people twice.

A few cores finish the default batch in minutes. The goals, 3x on a CPU with bf16 units and 4x on a GPU, are for
--batch 32 --size 128 --depth 50; that takes 9 GB.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from machine import processor
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch.nn import functional

from eventveil.models.device import choose_device, computes_bf16
from eventveil.models.kinds import initialise
from eventveil.training.data.loader import Batch, prepared
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.evaluation.evaluation import EvaluationSet
from eventveil.training.randomness import NamedNoise, torch_generator
from eventveil.training.settings import TrainSettings
from eventveil.training.stages.adversarial import AdversarialStage

TARGETS, PEOPLE, CHANNELS, MARGIN = 11, 23, 10, 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4, help="windows per step")
    parser.add_argument("--size", type=int, default=128, help="width and height of a window, pixels")
    parser.add_argument("--depth", type=int, default=50, choices=(18, 34, 50), help="depth of the ResNets")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each kind, after one that is not counted")
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:N or auto")
    options = parser.parse_args()
    device = choose_device(options.device)
    x_BCHW, target_B, person_B = windows(options.batch, options.size, device)
    steps = {"as published, fp32": published(options.depth, x_BCHW, target_B, person_B)}
    for precision in ("fp32", "bf16"):
        if precision == "fp32" or computes_bf16(device):
            steps[f"eventveil, {precision}"] = ours(options, precision, x_BCHW, target_B, person_B)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for turn in track(range(options.steps + 1), description="steps"):
        for name, step in steps.items():
            taken = timed(step, device)
            if turn > 0:
                seconds[name].append(taken)
    report(seconds, options, device)


def windows(batch: int, size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return random counts, classes, and people, each of whom occurs at least twice."""
    generator = torch.Generator().manual_seed(0)
    x_BCHW = torch.poisson(torch.full((batch, CHANNELS, size, size), 0.2), generator=generator)
    target_B, person_B = torch.arange(batch) % TARGETS, torch.arange(batch) // 2 % PEOPLE
    return x_BCHW.to(device), target_B.to(device), person_B.to(device)


def published(depth: int, x_BCHW: torch.Tensor, target_B: torch.Tensor, person_B: torch.Tensor) -> Callable[[], object]:
    """Return the step of Bendig et al., WACV 2025, and of the code published with it, in its plainest form."""
    anonymizer = initialise("anonynoise", {}, seed=0).train().to(x_BCHW.device)
    helper = {"depth": depth, "channels": CHANNELS}
    target, identity = (
        initialise("resnet_classifier", helper | {"classes": classes}, seed=seed).train().to(x_BCHW.device)
        for seed, classes in ((1, TARGETS), (2, PEOPLE))
    )
    optimizers = [torch.optim.Adam(network.parameters()) for network in (anonymizer, target, identity)]

    def step() -> None:
        anonymized = anonymizer(x_BCHW, torch.randn_like(x_BCHW))
        person, person_alone = identity(anonymized), identity(anonymized.detach())
        kept, kept_alone = target(anonymized), target(anonymized.detach())
        losses = (
            functional.cross_entropy(kept.logits, target_B) - triplet(person.embedding, person_B),
            functional.cross_entropy(kept_alone.logits, target_B),
            functional.cross_entropy(person_alone.logits, person_B) + triplet(person_alone.embedding, person_B),
        )
        for optimizer, loss in zip(optimizers, losses, strict=True):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step


def triplet(embedding_BE: torch.Tensor, person_B: torch.Tensor) -> torch.Tensor:
    """Return the batch-hard triplet loss, with distances from a matrix product as in re-identification code."""
    square_B = embedding_BE.square().sum(1)
    distance_BB = (square_B[:, None] + square_B - 2 * embedding_BE @ embedding_BE.T).clamp(min=1e-12).sqrt()
    same_BB = person_B[:, None] == person_B
    farthest_B = distance_BB.masked_fill(~same_BB, -torch.inf).amax(1)
    nearest_B = distance_BB.masked_fill(same_BB, torch.inf).amin(1)
    return functional.relu(MARGIN + farthest_B - nearest_B).mean()


def ours(
    options: argparse.Namespace,
    precision: str,
    x_BCHW: torch.Tensor,
    target_B: torch.Tensor,
    person_B: torch.Tensor,
) -> Callable[[], object]:
    """Return the step of `eventveil train adversarial`, with the same roles, objective and sizes."""
    device = x_BCHW.device
    settings = TrainSettings.model_validate(
        {
            "batch": options.batch,
            "data": {"root": "."},
            "window": {"bin_us": 200_000, "size": (options.size, options.size)},
            "target": {"depth": options.depth},
            "identity": {"depth": options.depth},
            "run": {"precision": precision},
        }
    )
    helper = {"depth": options.depth, "channels": CHANNELS}
    target = initialise("resnet_classifier", helper | {"classes": TARGETS}, seed=1)
    identity = initialise("resnet_classifier", helper | {"classes": PEOPLE}, seed=2)
    # A step uses only its process group.
    evaluation_set = EvaluationSet("val", None, None, settings, ProcessGroup(device=device))
    stage = AdversarialStage(
        initialise("anonynoise", {}, seed=0), target, [identity], None, None, settings, evaluation_set
    )
    for learner in stage.learners.values():
        learner.network.train()
    noise = NamedNoise(torch_generator(device, "noise"))
    batch = Batch(prepared(x_BCHW, settings), target_B, person_B, noise, ("",) * options.batch)

    def step() -> list[float]:
        computed = stage.step(batch, 0)
        values = [*computed.values.values(), *(gradient.norm for gradient in computed.gradients)]
        figures = torch.stack([value.detach().float() for value in values]).tolist()  # as the loop checks for NaN
        for gradient in computed.gradients:
            gradient.step()
        return figures

    return step


def timed(step: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Return the seconds that a step takes, up to the end of its work on the device, and its processor time."""
    began, began_core = time.perf_counter(), time.process_time()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began, time.process_time() - began_core


def report(seconds: dict[str, list[tuple[float, float]]], options: argparse.Namespace, device: torch.device) -> None:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    title = f"batch {options.batch}, {options.size}x{options.size}, ResNet-{options.depth}, median of {options.steps}"
    table = Table("step", "seconds", "samples/s", "ratio", "core seconds", "ratio", title=title)
    baseline: tuple[float, ...] = ()
    for kind, taken in seconds.items():
        wall, core = (statistics.median(column) for column in zip(*taken, strict=True))
        baseline = baseline or (wall, core)
        ratios = (f"{first / value:.2f}x" for first, value in zip(baseline, (wall, core), strict=True))
        table.add_row(kind, f"{wall:.3f}", f"{options.batch / wall:.2f}", next(ratios), f"{core:.3f}", next(ratios))
    console = Console(soft_wrap=True)
    versions = f"torch {torch.__version__}, python {platform.python_version()}"
    console.print(f"{device}: {name}, {torch.get_num_threads()} threads; {versions}")
    console.print(table)
    if not computes_bf16(device):
        console.print("No bf16: the device does not compute in it, and the goals are for devices that do.")


if __name__ == "__main__":
    main()
