"""Who somebody is, asked of the very code of a noisy channel: more than any subscriber ever gets.

    python benchmarks/channel_code.py people [--weights anonymizer.safetensors]

`people` is a folder that `eventveil simulate` wrote. What a noisy channel publishes is drawn from a few noisy numbers
and from nothing else, so whoever has those numbers knows at least as much. Here an attacker is given them, the gesture
as well, and the test people themselves to train on: all sessions but one, as often as it likes, with fresh noise each
time. It is asked who it is in the session that it has not seen, from one window and from several of the same person
together (log-probabilities added up). Each session is left out in turn. Intervals hold 95 %, by person.
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
from eventveil.models.shipped import ANONYMIZER
from eventveil.replay.datasets import open_dataset
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.sampling import in_order
from eventveil.training.data.windows import build
from eventveil.training.evaluation.confidence import accuracy_interval

STEPS, BATCH, RATE = 3_000, 256, 2e-3
LINKED = (1, 3, 11, 22)
TRIES = 50  # draws of so many windows, for each person
OFFSETS = 5  # windows overlap to train on; only those of every fifth are linked


def codes(folder: Path, channel: NoisyChannel, shape: RowShape) -> tuple[torch.Tensor, ...]:
    """Return mean and standard deviation of all codes (N, D), and of each: person, session, gesture, place in trial."""
    windows = build(open_dataset(folder).of("test"), shape, folder / "cache", workers=os.cpu_count() or 1)
    draw = in_order(windows, shape.per_window // OFFSETS)
    counts = (torch.from_numpy(windows.cut(part)) for part in np.array_split(draw.start, max(1, len(draw) // 64)))
    with torch.inference_mode():
        told = [channel.encode(x_BCHW) for x_BCHW in track(counts, description="codes", console=Console(stderr=True))]
    names = [[getattr(trial, key) for trial in windows.trials] for key in ("subject", "session", "target")]
    known = [torch.from_numpy(np.unique(name, return_inverse=True)[1][draw.trial]) for name in names]
    place = torch.from_numpy((draw.start - windows.first_row[draw.trial]) // (shape.per_window // OFFSETS))
    return torch.cat([mean for mean, _ in told]), torch.cat([std for _, std in told]), *known, place


def taught(x: torch.Tensor, std: torch.Tensor, extra: torch.Tensor, person: torch.Tensor) -> nn.Module:
    """Train an attacker on codes with fresh noise."""
    torch.manual_seed(0)
    people = int(person.max()) + 1
    network = nn.Sequential(
        nn.Linear(x.shape[1] + extra.shape[1], 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, people)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        some = torch.randint(len(x), (BATCH,))
        noisy = x[some] + std[some] * torch.randn_like(x[some])
        loss = functional.cross_entropy(network(torch.cat((noisy, extra[some]), 1)), person[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def linked(
    log_p: torch.Tensor, person: torch.Tensor, windows: int
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Guess each person from so many windows together; returns whether it was right, and who it was."""
    generator = torch.Generator().manual_seed(0)
    right, who = [], []
    for one in person.unique():
        own = torch.where(person == one)[0]
        for _ in range(TRIES):
            some = own[torch.randperm(len(own), generator=generator)[:windows]]
            right.append(bool(log_p[some].sum(0).argmax() == one))
            who.append(int(one))
    return np.array(right), np.array(who)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, default=ANONYMIZER, help="of a noisy channel; those that are shipped")
    asked = parser.parse_args()
    weights = load_weights(asked.weights)
    channel, metadata = weights.model, weights.metadata
    assert isinstance(channel, NoisyChannel), "these are not the weights of a noisy channel"
    shape = RowShape.of(
        mode="windows", bins=metadata.bins, bin_us=metadata.bin_us, offsets=2, size=metadata.size, crop=None
    )
    mean, std, person, session, gesture, place = codes(asked.folder, channel, shape)
    extra = functional.one_hot(gesture).float()
    answers: dict[int, list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]]] = {n: [] for n in LINKED}
    for held in session.unique():
        seen = session != held
        attacker = taught(mean[seen], std[seen], extra[seen], person[seen])
        asked_of = ~seen & (place % OFFSETS == 0)
        noisy = mean[asked_of] + std[asked_of] * torch.randn_like(mean[asked_of])
        with torch.inference_mode():
            log_p = attacker(torch.cat((noisy, extra[asked_of]), 1)).log_softmax(1)
        for n in LINKED:
            answers[n].append(linked(log_p, person[asked_of], n))
    people = int(person.max()) + 1
    title = (
        f"{asked.weights.name} {weights.digest[:12]}: {people} people, {len(session.unique())} sessions; {processor()}"
    )
    table = Table("windows of one person", "right", "95 %", "chance", title=title)
    for n, parts in answers.items():
        right, who = (np.concatenate(column) for column in zip(*parts, strict=True))
        interval = accuracy_interval(right, who)
        table.add_row(str(n), f"{right.mean():.1%}", f"{interval.low:.1%} to {interval.high:.1%}", f"{1 / people:.1%}")
    console = Console(soft_wrap=True)
    console.print(table)
    console.print(f"capacity {channel.config.capacity_bits:.1f} bits a window, whatever the weights")


if __name__ == "__main__":
    main()
