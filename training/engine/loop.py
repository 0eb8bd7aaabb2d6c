"""The loop that every stage goes through: epochs and steps, logs, checkpoints, and a clean end whatever happens.

All randomness follows from seed, stage, epoch and step, so a run that goes on from a checkpoint draws what it would
have drawn, and its curve is that of a run that was never interrupted.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from eventveil.errors import TrainingError
from eventveil.training.data.loader import Batch, BatchLoader
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.checkpoint import Progress, load_stage, save_networks, save_stage, write_whole
from eventveil.training.engine.logs import Logs
from eventveil.training.engine.stage import Stage, Step
from eventveil.training.settings import RunSettings

LAST, BEST = "last.pt", "best.pt"


class Interrupted(Exception):  # noqa: N818 - it is no error: somebody asked for it
    """Ctrl-C or SIGTERM: the step was finished, the checkpoint is written."""


class ProgressReporter(Protocol):
    """Who shows how it goes."""

    def begin(self, stage: str, steps: int, done: int) -> None:
        """A stage of so many steps begins, or goes on behind those that are done."""
        ...

    def step(self, values: dict[str, float], windows: int) -> None:
        """A step is done."""
        ...

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """An epoch is done."""
        ...


def run_stage(
    stage: Stage,
    feed: BatchLoader,
    folder: Path,
    run: RunSettings,
    world: ProcessGroup,
    reporter: ProgressReporter,
    *,
    digest: str,
) -> Progress:
    """Train a stage from where its folder says that it is, to its end.

    Args:
        stage: what is trained.
        feed: its windows.
        folder: of the stage; `last.pt` in it is gone on from, `best.pt` holds the epoch that was chosen.
        run: how often to save and to validate.
        world: the processes that train together.
        reporter: shows progress.
        digest: of the settings that matter to the stage.

    Raises:
        Interrupted: somebody asked to stop; everything is saved, also where it was the last step.
        TrainingError: a loss or a gradient is not finite (the last good checkpoint stays), or a file cannot be written.
    """
    progress = Progress()
    if (folder / LAST).exists():
        progress = load_stage(folder / LAST, stage.learners, digest)
    if progress.epoch >= stage.epochs:
        return progress
    loop = _Loop(stage, feed, folder, run, world, reporter, digest, progress)
    with _listening() as asked:
        try:
            while progress.epoch < stage.epochs:
                loop.epoch(asked)
        finally:
            loop.close()
    world.wait()  # until the one that leads has written everything
    if asked:
        raise Interrupted  # with the last step: the stage is done, and whatever was to follow is not
    return progress


class _Loop:
    def __init__(
        self,
        stage: Stage,
        feed: BatchLoader,
        folder: Path,
        run: RunSettings,
        world: ProcessGroup,
        reporter: ProgressReporter,
        digest: str,
        progress: Progress,
    ) -> None:
        self._stage, self._feed, self._folder, self._run = stage, feed, folder, run
        self._world, self._reporter, self._digest = world, reporter, digest
        self._progress = progress
        self._saved_s = time.monotonic()
        self._begun = False
        self._logs: Logs | None = None
        if world.leads:
            _folder(folder)
            self._logs = Logs(folder, tensorboard=run.tensorboard, epoch=progress.epoch, step=progress.step)

    def epoch(self, asked: list[int]) -> None:
        """Do the rest of an epoch."""
        progress = self._progress
        steps = self._feed.begin_epoch(progress.epoch)
        self._stage.begin_epoch(progress.epoch, progress.step)
        if not self._begun:
            self._begun = True
            self._reporter.begin(self._stage.name, steps * self._stage.epochs, steps * progress.epoch + progress.step)
        self._mode(training=True)
        began_s, windows = time.monotonic(), 0
        while progress.step < steps:
            windows += self._step(asked)
        seconds = time.monotonic() - began_s
        row = {"epoch": float(progress.epoch), **{name: sum(sums) / len(sums) for name, sums in progress.sums.items()}}
        row["samples_per_s"] = windows / max(seconds, 1e-9)
        if (progress.epoch + 1) % self._run.validate_every == 0 or progress.epoch + 1 == self._stage.epochs:
            self._mode(training=False)
            row |= self._stage.validate(progress.epoch)
            self._choose(row)
        progress.history.append(row)
        progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
        self._save()
        if self._logs is not None:
            self._logs.epoch(progress.history)
        self._reporter.epoch(row, self._stage.epochs)
        if asked and progress.epoch < self._stage.epochs:
            raise Interrupted

    def _step(self, asked: list[int]) -> int:
        """Do a step; returns how many windows it learned from."""
        progress = self._progress
        batch = self._feed.batch(progress.epoch, progress.step)
        step = self._stage.step(batch, progress.step)
        due = time.monotonic() - self._saved_s >= self._run.save_every_s
        values, stop, due = self._agreed(step, batch, stop=bool(asked), due=due)
        for gradient in step.gradients:
            gradient.step()
        if self._logs is not None:
            self._logs.step(progress.epoch, progress.step, values)
        for name, value in values.items():
            progress.sums.setdefault(name, []).append(value)
        progress.step += 1
        self._reporter.step(values, batch.everybody)
        if stop or due:
            self._save()
        if stop:
            raise Interrupted
        return batch.everybody

    def _agreed(self, step: Step, batch: Batch, *, stop: bool, due: bool) -> tuple[dict[str, float], bool, bool]:
        """Values averaged over the processes; whether one of them was asked to stop, or should save: all agree on it.

        Raises:
            TrainingError: something is not finite; no step was taken.
        """
        device = self._world.device
        told = [value.detach().float().to(device) for value in step.values.values()]
        norms = [gradient.norm.detach().float().to(device) for gradient in step.gradients]
        flags = torch.tensor([float(stop), float(due)], device=device)
        (flat,) = self._world.average([torch.cat((torch.stack([*told, *norms]), flags))])
        figures = flat.tolist()
        values = dict(zip(step.values, figures, strict=False))
        if not all(map(math.isfinite, figures)):
            raise self._not_finite(values, batch)
        return values, figures[-2] > 0, figures[-1] > 0

    def _not_finite(self, values: dict[str, float], batch: Batch) -> TrainingError:
        progress = self._progress
        wrong = [name for name, value in values.items() if not math.isfinite(value)] or ["gradient"]
        path = self._folder / "not_finite.json"
        if self._world.leads:
            told = {name: repr(value) for name, value in values.items()}
            place = {"epoch": progress.epoch, "step": progress.step}
            report = json.dumps({**place, "values": told, "trials": batch.trials}, indent=2) + "\n"
            write_whole(path, lambda file: file.write(report.encode()))
        return TrainingError(
            f"{self._stage.name}: {', '.join(wrong)} not finite in epoch {progress.epoch}, step {progress.step}; the "
            f"trials of its batch are named in {path}. The last good checkpoint is kept: lower the learning rate or "
            "set clip, in another folder, for with the same settings the same will happen"
        )

    def _choose(self, row: dict[str, float]) -> None:
        """Keep the weights of this epoch where it is the best so far."""
        progress = self._progress
        score = float(progress.epoch) if self._stage.score is None else row[self._stage.score]
        if score > progress.best_score:
            progress.best_score, progress.best_epoch = score, progress.epoch
            if self._world.leads:
                save_networks(self._folder / BEST, self._stage.learners, progress.epoch)

    def _save(self) -> None:
        if self._logs is not None:
            self._logs.flush()
            save_stage(self._folder / LAST, self._progress, self._stage.learners, self._digest)
        self._saved_s = time.monotonic()

    def _mode(self, *, training: bool) -> None:
        for learner in self._stage.learners.values():
            learner.network.train(training)

    def close(self) -> None:
        """Write what is left of the logs."""
        if self._logs is not None:
            self._logs.close()


def _folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be made ({error.strerror}); check --out") from error


@contextmanager
def _listening() -> Iterator[list[int]]:
    """Gather signals that ask to stop; a second one of the same kind stops at once."""
    asked: list[int] = []
    previous: dict[int, Any] = {}

    def note(number: int, _frame: object) -> None:
        asked.append(number)
        signal.signal(number, previous[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, note)
    try:
        yield asked
    finally:
        for listened, handler in previous.items():
            signal.signal(listened, handler)
