"""One way to open any dataset: recognises which one a folder holds, and lists its trials.

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
        path: the root folder of the dataset's layout. docs/datasets.md describes the layouts of DVS128 Gesture (Amir
            et al., CVPR 2017), SEE (Zhang et al., SIGGRAPH 2023) and Event-ReId (Ahmad et al., ICCV 2023).

    Returns:
        Its index. Durations are in microseconds; events keep the times of their files.

    Raises:
        DatasetError: there is no such folder, no dataset is recognised in it, a file is missing or does not follow the
            layout, or a class is unknown.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> with tempfile.TemporaryDirectory() as root:
    ...     session = Path(root, "ibmGestureTest", "user24_led")
    ...     session.mkdir(parents=True)
    ...     np.save(session / "8.npy", [[5, 7, 1, 20], [6, 7, 0, 22]])  # x, y, p, t in milliseconds
    ...     dataset = open_dataset(root)
    ...     (trial,) = dataset.trials
    ...     with trial.open() as packets:
    ...         times_us = [packet.t.tolist() for packet in packets]
    >>> dataset.kind, trial.subject, trial.label, trial.duration_us, times_us
    ('dvs-gesture', 'user24', 'air drums', 2000, [[20000, 22000]])
    """
    root = Path(path)
    dataset: Dataset = recognise(root).index(root)
    return dataset


def recognise(root: Path) -> ModuleType:
    """Return the module of the layout that a folder follows.

    Raises:
        DatasetError: there is no such folder, or no dataset is recognised in it.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: expected the folder of a dataset, but there is no folder; check the path")
    for layout in LAYOUTS:
        if layout.recognises(root):
            return layout
    looked_for = "; ".join(layout.LOOKS_FOR for layout in LAYOUTS)
    raise DatasetError(f"{root}: no dataset is recognised in this folder. Looked for {looked_for}")
