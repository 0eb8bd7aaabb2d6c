"""The training loop of every stage: epochs, steps, logs, checkpoints, and an orderly exit on interrupts and errors.

All randomness follows from seed, stage, epoch and step, so a resumed run draws the same numbers and its curve is that
of an uninterrupted run.
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
from eventveil.host.files import private_folder
from eventveil.training.data.loader import Batch
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.checkpoint import StageProgress, load_stage, save_networks, save_stage
from eventveil.training.engine.logs import Logs
from eventveil.training.engine.stage import Stage, Step
from eventveil.training.settings import RunSettings
from eventveil.training.whole_file import write_whole

LAST, BEST = "last.pt", "best.pt"


class Interrupted(Exception):  # noqa: N818 - not an error: the user requested it
    """Ctrl-C or SIGTERM arrived; the current step is finished and the checkpoint written."""


class Loader(Protocol):
    """Loads the batches of a stage."""

    def begin_epoch(self, epoch: int) -> int:
        """Draw the windows of an epoch and return its number of steps."""
        ...

    def batch(self, epoch: int, step: int) -> Batch:
        """Return the batch of a step of the current epoch."""
        ...


class ProgressReporter(Protocol):
    """Shows the progress of training."""

    def begin(self, stage: str, steps: int, done: int) -> None:
        """Announce a stage with its number of steps, and those done by an earlier run."""
        ...

    def step(self, values: dict[str, float], windows: int) -> None:
        """Report a finished step: its values, and the number of windows it used."""
        ...

    def epoch(self, row: dict[str, float], epochs: int) -> None:
        """Report a finished epoch of `epochs`."""
        ...


def run_stage(
    stage: Stage,
    loader: Loader,
    folder: Path,
    run: RunSettings,
    group: ProcessGroup,
    reporter: ProgressReporter,
    *,
    digest: str,
) -> StageProgress:
    """Train a stage to its end, starting from the checkpoint in its folder if there is one.

    Args:
        stage: the stage.
        loader: loads its windows.
        folder: folder of the stage: `last.pt` is the checkpoint to resume from, `best.pt` holds the best epoch.
        run: how often to save and to validate.
        group: the processes that train together.
        reporter: shows progress.
        digest: digest of the settings that affect the stage.

    Raises:
        Interrupted: the user asked to stop, possibly during the last step; everything is saved.
        TrainingError: a loss or gradient is not finite (the last good checkpoint is kept), or a file cannot be written.
    """
    progress = StageProgress()
    if (folder / LAST).exists():
        progress = load_stage(folder / LAST, stage.learners, digest)
    if progress.epoch >= stage.epochs:
        return progress
    loop = _Loop(stage, loader, folder, run, group, reporter, digest, progress)
    with _stop_signals() as signals:
        try:
            while progress.epoch < stage.epochs:
                loop.epoch(signals)
        finally:
            loop.close()
    group.wait()  # until the leading process has written everything
    if signals:
        raise Interrupted  # during the last step: this stage is complete, but those that follow must not start
    return progress


class _Loop:
    def __init__(
        self,
        stage: Stage,
        loader: Loader,
        folder: Path,
        run: RunSettings,
        group: ProcessGroup,
        reporter: ProgressReporter,
        digest: str,
        progress: StageProgress,
    ) -> None:
        self._stage, self._loader, self._folder, self._run = stage, loader, folder, run
        self._group, self._reporter, self._digest = group, reporter, digest
        self._progress = progress
        self._saved_s = time.monotonic()
        self._announced = False
        self._logs: Logs | None = None
        if group.leads:
            _create(folder)
            self._logs = Logs(folder, tensorboard=run.tensorboard, epoch=progress.epoch, step=progress.step)

    def epoch(self, signals: list[int]) -> None:
        """Finish the current epoch; stop early once a signal arrives."""
        progress = self._progress
        steps = self._loader.begin_epoch(progress.epoch)
        self._stage.begin_epoch(progress.epoch, progress.step)
        if not self._announced:
            self._announced = True
            self._reporter.begin(self._stage.name, steps * self._stage.epochs, steps * progress.epoch + progress.step)
        self._mode(training=True)
        started_s, windows = time.monotonic(), 0
        while progress.step < steps:
            windows += self._step(signals)
        seconds = time.monotonic() - started_s
        row = {"epoch": float(progress.epoch), **{name: sum(sums) / len(sums) for name, sums in progress.sums.items()}}
        row["samples_per_s"] = windows / max(seconds, 1e-9)
        if (progress.epoch + 1) % self._run.validate_every == 0 or progress.epoch + 1 == self._stage.epochs:
            self._mode(training=False)
            row |= self._stage.validate(progress.epoch)
            self._keep_if_best(row)
        progress.history.append(row)
        progress.epoch, progress.step, progress.sums = progress.epoch + 1, 0, {}
        self._save()
        if self._logs is not None:
            self._logs.epoch(progress.history)
        self._reporter.epoch(row, self._stage.epochs)
        if signals and progress.epoch < self._stage.epochs:
            raise Interrupted

    def _step(self, signals: list[int]) -> int:
        """Do a step and return the number of windows it used."""
        progress = self._progress
        batch = self._loader.batch(progress.epoch, progress.step)
        step = self._stage.step(batch, progress.step)
        save_due = time.monotonic() - self._saved_s >= self._run.save_every_s
        values, stop, save_due = self._synchronise(step, batch, stop=bool(signals), save_due=save_due)
        for gradient in step.gradients:
            gradient.step()
        if self._logs is not None:
            self._logs.step(progress.epoch, progress.step, values)
        for name, value in values.items():
            progress.sums.setdefault(name, []).append(value)
        progress.step += 1
        self._reporter.step(values, batch.global_size)
        if stop or save_due:
            self._save()
        if stop:
            raise Interrupted
        return batch.global_size

    def _synchronise(
        self, step: Step, batch: Batch, *, stop: bool, save_due: bool
    ) -> tuple[dict[str, float], bool, bool]:
        """Return the values averaged over the processes, and whether any process has to stop, or to save.

        Raises:
            TrainingError: a value or gradient is not finite; no step was taken.
        """
        device = self._group.device
        scalars = [value.detach().float().to(device) for value in step.values.values()]
        norms = [gradient.norm.detach().float().to(device) for gradient in step.gradients]
        flags = torch.tensor([float(stop), float(save_due)], device=device)
        (flat,) = self._group.average([torch.cat((torch.stack([*scalars, *norms]), flags))])
        figures = flat.tolist()
        values = dict(zip(step.values, figures, strict=False))
        if not all(map(math.isfinite, figures)):
            raise self._not_finite(values, batch)
        return values, figures[-2] > 0, figures[-1] > 0

    def _not_finite(self, values: dict[str, float], batch: Batch) -> TrainingError:
        progress = self._progress
        names = [name for name, value in values.items() if not math.isfinite(value)] or ["gradient"]
        path = self._folder / "not_finite.json"
        if self._group.leads:
            content = {
                "epoch": progress.epoch,
                "step": progress.step,
                "values": {name: repr(value) for name, value in values.items()},
                "trials": batch.trials,
            }
            report = json.dumps(content, indent=2) + "\n"
            write_whole(path, lambda file: file.write(report.encode()))
        return TrainingError(
            f"{self._stage.name}: {', '.join(names)} not finite in epoch {progress.epoch}, step {progress.step}; "
            f"{path} lists the trials of the batch. The last good checkpoint is kept. Lower the learning rate or set "
            "clip, and use another folder: the same settings would fail again"
        )

    def _keep_if_best(self, row: dict[str, float]) -> None:
        """Save the weights of this epoch if it is the best so far."""
        progress = self._progress
        score = float(progress.epoch) if self._stage.score is None else row[self._stage.score]
        if score > progress.best_score:
            progress.best_score, progress.best_epoch = score, progress.epoch
            if self._group.leads:
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
        """Write and close the logs."""
        if self._logs is not None:
            self._logs.close()


def _create(folder: Path) -> None:
    try:
        private_folder(folder)
    except OSError as error:
        raise TrainingError(f"{folder}: cannot be created ({error.strerror}); check --out") from error


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list; a second signal of the same kind has its usual effect."""
    signals: list[int] = []
    previous: dict[int, Any] = {}

    def collect(number: int, _frame: object) -> None:
        signals.append(number)
        signal.signal(number, previous[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        previous[number] = signal.signal(number, collect)
    try:
        yield signals
    finally:
        for handled, handler in previous.items():
            signal.signal(handled, handler)
