"""What a stage writes down as it goes: a row for each step, a row for each epoch, and the same for TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eventveil.errors import TrainingError
from eventveil.training.engine.checkpoint import write_whole

STEPS, EPOCHS = "steps.csv", "epochs.csv"


class Logs:
    """The logs of a stage.

    Steps are appended as they are saved, and cut back to the checkpoint when a stage goes on: so a curve looks the
    same whether or not a run was interrupted.

    Args:
        folder: of the stage.
        tensorboard: write event files, too; needs tensorboardX.
        epoch, step: where the stage begins or goes on.

    Raises:
        TrainingError: a file cannot be written.
    """

    def __init__(self, folder: Path, *, tensorboard: bool, epoch: int, step: int) -> None:
        self._folder = folder
        self._waiting: list[dict[str, Any]] = []
        self._columns: list[str] = []
        self._board: Any = _board(folder, epoch) if tensorboard else None
        self._cut_back(epoch, step)

    def step(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Note the values of a step."""
        self._waiting.append({"epoch": epoch, "step": step, **values})

    def flush(self) -> None:
        """Write the steps that were noted since the last time.

        Raises:
            TrainingError: they cannot be written.
        """
        if not self._waiting:
            return
        path = self._folder / STEPS
        if not self._columns:
            self._columns = list(dict.fromkeys(name for row in self._waiting for name in row))
        try:
            new = not path.exists()
            with path.open("a", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, self._columns, restval="", extrasaction="ignore")
                if new:
                    writer.writeheader()
                writer.writerows(self._waiting)
        except OSError as error:
            raise TrainingError(f"{path}: cannot be written ({error.strerror}); make space and --resume") from error
        self._waiting.clear()

    def epoch(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write the rows of all finished epochs; the last one is new."""
        columns = list(dict.fromkeys(name for row in history for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows(history)
        write_whole(self._folder / EPOCHS, lambda file: file.write(text.getvalue().encode()))
        if self._board is not None:
            for name, value in history[-1].items():
                if name != "epoch":
                    self._board.add_scalar(name, value, int(history[-1]["epoch"]))

    def close(self) -> None:
        """Write what is left."""
        self.flush()
        if self._board is not None:
            self._board.close()

    def _cut_back(self, epoch: int, step: int) -> None:
        path = self._folder / STEPS
        if not path.exists():
            return
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            # The last row may have been cut off by a kill.
            rows = [row for row in reader if row["step"] and (int(row["epoch"]), int(row["step"])) < (epoch, step)]
            self._columns = list(reader.fieldnames or [])
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(path, lambda file: file.write(text.getvalue().encode()))


def _board(folder: Path, epoch: int) -> Any:
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder / "tensorboard"), purge_step=epoch)
