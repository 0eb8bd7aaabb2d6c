"""Datasets behind one door: which one a folder holds, and the index of its trials.

dataset = open_dataset("data/DVSGesture")
for trial in dataset.of("test"):
    with trial.open() as packets:
        ...
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from eventveil.errors import DatasetError
from eventveil.replay.datasets import dvs_gesture, event_reid, see
from eventveil.replay.datasets.trials import Dataset

LAYOUTS: tuple[ModuleType, ...] = (dvs_gesture, see, event_reid)
KINDS = tuple(layout.KIND for layout in LAYOUTS)


def open_dataset(path: Path | str) -> Dataset:
    """Recognise a dataset by its folders and list its trials; no events are read.

    Args:
        path: the folder that the layout begins in.

    Raises:
        DatasetError: there is no such folder, no dataset is recognised in it, a file is missing or is not what the
            layout says, or a class is unknown.
    """
    root = Path(path)
    dataset: Dataset = recognise(root).index(root)
    return dataset


def recognise(root: Path) -> ModuleType:
    """Tell which dataset a folder holds: the module of its layout.

    Raises:
        DatasetError: there is no such folder, or no dataset is recognised in it.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: expected the folder of a dataset, and there is none; check the path")
    for layout in LAYOUTS:
        if layout.recognises(root):
            return layout
    looked_for = "; ".join(layout.LOOKS_FOR for layout in LAYOUTS)
    raise DatasetError(f"{root}: no dataset is recognised in this folder. Looked for {looked_for}")
