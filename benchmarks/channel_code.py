"""Identify people by the code of a noisy channel itself: more than any subscriber ever receives.

    python benchmarks/channel_code.py people [--weights anonymizer.safetensors]

`people` is a folder that `eventveil simulate gestures` wrote. A noisy channel draws what it publishes from a few noisy
numbers and from nothing else, so an attacker with those numbers knows at least as much. Here an attacker gets them and
the gesture, and trains on the test people themselves: on all sessions but one, with fresh noise in each step. It then
identifies the people in the session that it has not seen, from one window and from several of the same person (their
log-probabilities added). Each session is left out in turn. Intervals are 95 %, by person. With a single session there
is no one to identify, and only the information of the codes is measured.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from machine import processor
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import nn
from torch.nn import functional

from eventveil.models import NoisyChannel, load_weights
from eventveil.models.shipped import NOISY_CHANNEL
from eventveil.replay.datasets import open_dataset
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.sampling import in_order
from eventveil.training.data.windows import build
from eventveil.training.evaluation.confidence import accuracy_interval
from eventveil.training.evaluation.information import mixture_bits, mixture_bits_given

STEPS, BATCH, RATE = 3_000, 256, 2e-3
LINKED = (1, 3, 11, 22)
TRIES = 50  # draws of windows, for each person
OFFSETS = 5  # training windows overlap; only every fifth one is linked


def codes(folder: Path, channel: NoisyChannel, shape: RowShape) -> tuple[torch.Tensor, ...]:
    """Return mean and standard deviation of all codes (N, D), then person, session, gesture, place in trial of each."""
    windows = build(open_dataset(folder).of("test"), shape, folder / "cache", workers=os.cpu_count() or 1)
    draw = in_order(windows, shape.per_window // OFFSETS)
    counts = (torch.from_numpy(windows.cut(part)) for part in np.array_split(draw.start, max(1, len(draw) // 64)))
    with torch.inference_mode():
        parts = [channel.read(x_BCHW) for x_BCHW in track(counts, description="codes", console=Console(stderr=True))]
    names = [[getattr(trial, key) for trial in windows.trials] for key in ("subject", "session", "target")]
    labels = [torch.from_numpy(np.unique(name, return_inverse=True)[1][draw.trial]) for name in names]
    place = torch.from_numpy((draw.start - windows.first_row[draw.trial]) // (shape.per_window // OFFSETS))
    return torch.cat([mean for mean, _ in parts]), torch.cat([std for _, std in parts]), *labels, place


def train_attacker(x: torch.Tensor, std: torch.Tensor, extra: torch.Tensor, person: torch.Tensor) -> nn.Module:
    """Train an attacker on codes with fresh noise."""
    torch.manual_seed(0)
    people = int(person.max()) + 1
    network = nn.Sequential(
        nn.Linear(x.shape[1] + extra.shape[1], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, people)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        batch = torch.randint(len(x), (BATCH,))
        noisy = x[batch] + std[batch] * torch.randn_like(x[batch])
        loss = functional.cross_entropy(network(torch.cat((noisy, extra[batch]), 1)), person[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def identify(
    log_p: torch.Tensor, person: torch.Tensor, windows: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Identify each person from several windows together; return whether that was right, and the true person."""
    generator = torch.Generator().manual_seed(0)
    right, truth = [], []
    for number in person.unique():
        candidates = torch.where(person == number)[0]
        for _ in range(TRIES):
            draw = candidates[torch.randperm(len(candidates), generator=generator)[:windows]]
            right.append(bool(log_p[draw].sum(0).argmax() == number))
            truth.append(int(number))
    return np.array(right), np.array(truth)


def identification(
    mean: torch.Tensor,
    std: torch.Tensor,
    person: torch.Tensor,
    session: torch.Tensor,
    gesture: torch.Tensor,
    place: torch.Tensor,
    title: str,
) -> Table:
    """Leave out each session in turn, and return a table of how often people are identified in it."""
    extra = functional.one_hot(gesture).float()
    results: dict[int, list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]]] = {n: [] for n in LINKED}
    for left_out in session.unique():
        train = session != left_out
        attacker = train_attacker(mean[train], std[train], extra[train], person[train])
        test = ~train & (place % OFFSETS == 0)
        noisy = mean[test] + std[test] * torch.randn_like(mean[test])
        with torch.inference_mode():
            log_p = attacker(torch.cat((noisy, extra[test]), 1)).log_softmax(1)
        for n in LINKED:
            results[n].append(identify(log_p, person[test], n))
    people = int(person.max()) + 1
    table = Table("windows of one person", "right", "95 %", "chance", title=title)
    for n, parts in results.items():
        right, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
        interval = accuracy_interval(right, truth)
        table.add_row(str(n), f"{right.mean():.1%}", f"{interval.low:.1%} to {interval.high:.1%}", f"{1 / people:.1%}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `eventveil simulate gestures` wrote")
    parser.add_argument("--weights", type=Path, default=NOISY_CHANNEL, help="of a noisy channel [the one that ships]")
    options = parser.parse_args()
    weights = load_weights(options.weights)
    channel, metadata = weights.model, weights.metadata
    assert isinstance(channel, NoisyChannel), "these are not the weights of a noisy channel"
    shape = RowShape.of(
        mode="windows", bins=metadata.bins, bin_us=metadata.bin_us, offsets=2, size=metadata.size, crop=None
    )
    mean, std, person, session, gesture, place = codes(options.folder, channel, shape)
    people, sessions = int(person.max()) + 1, len(session.unique())
    title = f"{options.weights.name} {weights.digest[:12]}: {people} people, {sessions} sessions; {processor()}"
    console = Console(soft_wrap=True)
    if sessions > 1:
        console.print(identification(mean, std, person, session, gesture, place, title))
    apart = place % OFFSETS == 0
    codes_apart = mean[apart].double().numpy(), std[apart].double().numpy()
    bits, given = mixture_bits(*codes_apart), mixture_bits_given(gesture[apart].numpy(), *codes_apart)
    console.print(
        f"{title}\ninformation of one code about which of {int(apart.sum())} windows it was made of: {bits:.2f} bits"
    )
    console.print(f"of which beyond the gesture: {given:.2f} bits")
    console.print(f"capacity {channel.config.capacity_bits:.1f} bits per window, with any weights")


if __name__ == "__main__":
    main()
