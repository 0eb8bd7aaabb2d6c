"""Generates a set of simulated gestures before training, in several processes, as `eventveil simulate` would."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from eventveil.training.distributed.workers import in_processes
from eventveil.training.settings import SimulateSettings

CHUNK = 8  # trials per task of a process


def simulate_set(folder: Path, settings: SimulateSettings, workers: int, watch: Callable[[int, int], object]) -> None:
    """Write the missing trials of the dataset.

    Raises:
        EventFileError: the folder holds another dataset, or cannot be written.
    """
    from eventveil.replay.simulation.dataset import (  # compiles kernels, which other runs need not wait for
        check_recipe,
        plan,
        write_trials,
    )

    planned = plan(folder, subjects=settings.subjects, sessions=settings.sessions)
    check_recipe(folder, seed=settings.seed, seconds=settings.seconds, subjects=settings.subjects)
    missing = [trial for trial in planned if not trial.path.exists()]
    done = len(planned) - len(missing)
    if not missing:
        return
    if workers == 1:
        for number, _ in enumerate(write_trials(missing, seed=settings.seed, seconds=settings.seconds), done + 1):
            watch(number, len(planned))
        return
    chunks = [missing[at : at + CHUNK] for at in range(0, len(missing), CHUNK)]
    work = [(chunk, settings.seed, settings.seconds) for chunk in chunks]
    with closing(in_processes(_write, work, workers)) as finished:
        for number, _ in finished:
            done += len(chunks[number])
            watch(done, len(planned))


def _write(planned: list[Any], seed: int, seconds: float) -> None:
    from eventveil.replay.simulation.dataset import write_trials

    for _ in write_trials(planned, seed=seed, seconds=seconds):
        pass
