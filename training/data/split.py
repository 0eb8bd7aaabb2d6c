"""Who is trained on, who chooses the best epoch, and who is tested on: three groups with nobody in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from eventveil.errors import DatasetError
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.splits import Split, load_split, split_by_person
from eventveil.replay.datasets.trials import Dataset
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.simulated import simulate_set
from eventveil.training.data.windows import Windows, build
from eventveil.training.settings import DataSettings, TrainingWindowSettings

PARTS = ("train", "val", "test")
Watch = Callable[[str, int, int], object]
"""Called with what is being done, how much of it is done, and of how much."""


def row_shape(settings: TrainingWindowSettings) -> RowShape:
    """The rows that the windows of these settings are made of."""
    return RowShape.of(
        mode=settings.mode,
        bins=settings.bins,
        bin_us=settings.bin_us,
        offsets=settings.offsets,
        size=settings.size,
        crop=settings.crop,
    )


def open_split(settings: DataSettings, run: Path, watch: Watch) -> Dataset:
    """Open the dataset, in parts train, val and test by person; who is where is written to `split.json` of the run.

    People for validation are drawn from those that are not for testing. Those for testing are the dataset's own, or
    drawn where it has none or their number is given.

    Raises:
        DatasetError: there are too few people, or the run's split is of another dataset.
        EventVeilError: the dataset cannot be made or read.
    """
    root = settings.root or run / "data"
    if settings.simulate is not None:
        simulate_set(root, settings.simulate, workers_of(settings), lambda done, of: watch("simulating", done, of))
    dataset = open_dataset(root)
    written = run / "split.json"
    if settings.split is not None:
        split = load_split(settings.split)
    elif written.exists():
        split = load_split(written)
    else:
        split = _draw(dataset, settings)
    missing = [part for part in PARTS if not split.people.get(part)]
    if missing:
        raise DatasetError(f"{settings.split or written}: expected people for {', '.join(PARTS)}; none for {missing}")
    dataset = split.apply(dataset)
    run.mkdir(parents=True, exist_ok=True)
    split.save(written)
    return dataset


def workers_of(settings: DataSettings) -> int:
    """How many processes read trials."""
    return settings.workers or os.cpu_count() or 1


def windows_of(
    dataset: Dataset, part: str, settings: DataSettings, window: TrainingWindowSettings, run: Path, watch: Watch
) -> Windows:
    """Make or find the windows of one part."""
    return build(
        dataset.of(part),
        row_shape(window),
        settings.cache or run / "windows",
        workers=workers_of(settings),
        watch=lambda done, of: watch(f"windows of {part} people", done, of),
    )


def _draw(dataset: Dataset, settings: DataSettings) -> Split:
    own = "test" in dataset.splits and "train" in dataset.splits
    if settings.test_people is None and not own:
        raise DatasetError(
            f"{dataset.root}: the dataset has no people for training and for tests of its own "
            f"(splits: {', '.join(dataset.splits)}); say how many as data.test_people, or give a list as data.split"
        )
    if settings.test_people is not None:
        counts = {"val": settings.val_people, "test": settings.test_people}
        return _with_the_rest(dataset, counts, settings.seed)
    train = replace(dataset, trials=dataset.of("train"))
    split = _with_the_rest(train, {"val": settings.val_people}, settings.seed)
    tested = tuple(sorted({trial.subject for trial in dataset.of("test")}))
    return Split(split.seed, {**split.people, "test": tested})


def _with_the_rest(dataset: Dataset, counts: dict[str, int], seed: int) -> Split:
    rest = len(dataset.subjects) - sum(counts.values())
    if rest < 2:
        raise DatasetError(
            f"{dataset.root}: {len(dataset.subjects)} people less {counts} leave {rest} to train on, and two are "
            "needed; lower data.val_people or data.test_people"
        )
    return split_by_person(dataset, {"train": rest, **counts}, seed)
