"""Logs of a stage: a CSV row for each step and for each epoch, and epoch figures for TensorBoard."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eventveil.errors import TrainingError
from eventveil.host.files import PRIVATE_FILE, append_private, private_folder
from eventveil.training.whole_file import write_whole

STEPS, EPOCHS = "steps.csv", "epochs.csv"


class Logs:
    """The logs of a stage.

    Steps are appended with each checkpoint, and a resumed stage truncates the log to its checkpoint, so a curve looks
    the same whether or not the run was interrupted.

    Args:
        folder: folder of the stage.
        tensorboard: also write TensorBoard event files; needs tensorboardX.
        epoch, step: where the stage starts or resumes.

    Raises:
        TrainingError: a file cannot be written.
    """

    def __init__(self, folder: Path, *, tensorboard: bool, epoch: int, step: int) -> None:
        self._folder = folder
        self._pending: list[dict[str, Any]] = []
        self._columns: list[str] = []
        self._tensorboard: Any = _tensorboard(folder, epoch) if tensorboard else None
        self._truncate(epoch, step)

    def step(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Add the values of a step; `flush` writes them."""
        self._pending.append({"epoch": epoch, "step": step, **values})

    def flush(self) -> None:
        """Write the pending steps.

        Raises:
            TrainingError: they cannot be written.
        """
        if not self._pending:
            return
        path = self._folder / STEPS
        if not self._columns:
            self._columns = list(dict.fromkeys(name for row in self._pending for name in row))
        try:
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, self._columns, restval="", extrasaction="ignore")
            if not path.exists():
                writer.writeheader()
            writer.writerows(self._pending)
            append_private(path, text.getvalue().encode())
        except OSError as error:
            raise TrainingError(
                f"{path}: cannot be written ({error.strerror}); free some space and continue with --resume"
            ) from error
        self._pending.clear()

    def epoch(self, history: Sequence[Mapping[str, float]]) -> None:
        """Rewrite the rows of all finished epochs, and send the last one to TensorBoard."""
        columns = list(dict.fromkeys(name for row in history for name in row))
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows(history)
        write_whole(self._folder / EPOCHS, lambda file: file.write(text.getvalue().encode()))
        if self._tensorboard is not None:
            for name, value in history[-1].items():
                if name != "epoch":
                    self._tensorboard.add_scalar(name, value, int(history[-1]["epoch"]))

    def close(self) -> None:
        """Write the pending steps and close TensorBoard."""
        self.flush()
        if self._tensorboard is not None:
            self._tensorboard.close()

    def _truncate(self, epoch: int, step: int) -> None:
        """Drop the steps after the checkpoint."""
        path = self._folder / STEPS
        if not path.exists():
            return
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            # The last row may be incomplete if the process was killed, and its last number cut.
            whole = (row for row in reader if None not in row.values())
            rows = [row for row in whole if (int(row["epoch"]), int(row["step"])) < (epoch, step)]
            self._columns = list(reader.fieldnames or [])
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(rows)
        write_whole(path, lambda file: file.write(text.getvalue().encode()))


def _tensorboard(folder: Path, epoch: int) -> Any:
    from tensorboardX import SummaryWriter

    logs = folder / "tensorboard"
    private_folder(logs)
    writer = SummaryWriter(str(logs), purge_step=epoch)
    for file in logs.iterdir():  # the only files that another library creates
        file.chmod(PRIVATE_FILE)
    return writer
