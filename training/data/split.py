"""Splits a dataset by person into train, val and test, and provides the windows of each part."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from eventveil.errors import DatasetError, TrainingError
from eventveil.host.files import private_folder
from eventveil.replay.datasets import open_dataset
from eventveil.replay.datasets.splits import Split, load_split, split_by_person
from eventveil.replay.datasets.trials import Dataset
from eventveil.replay.simulation.recipe import is_simulated, people_of_series
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.simulated import simulate_set
from eventveil.training.data.windows import Windows, build
from eventveil.training.settings import CLOCK_US, DataSettings, TrainingWindowSettings

PARTS = ("train", "val", "test")
SPLIT = "split.json"
Watch = Callable[[str, int, int], object]
"""Shows progress: called with the name of the task, the number of items done, and their total."""


def row_shape(settings: TrainingWindowSettings) -> RowShape:
    """Return the shape of the rows that make up the windows of these settings."""
    return RowShape.of(
        mode=settings.mode,
        bins=settings.bins,
        bin_us=settings.bin_us,
        offsets=settings.offsets,
        size=settings.size,
        crop=settings.crop,
        clock_us=CLOCK_US[settings.clock],
        frames=settings.clock == "frames",
    )


def open_split(settings: DataSettings, run: Path, watch: Watch) -> Dataset:
    """Open the dataset, split by person into train, val and test, and write the split to `split.json` of the run.

    Test people are the dataset's own, or drawn if their number is given. Validation people are drawn from the others,
    and of scenes without a known person as large a share. With `val_people: 0` there is no part val.

    Raises:
        DatasetError: there are too few people, or the run's split belongs to another dataset, or is not `data.split`.
        TrainingError: the split cannot be written.
        EventVeilError: the dataset cannot be generated or read.
    """
    root = settings.root or run / "data"
    if settings.simulate is not None:
        simulate_set(root, settings.simulate, workers_of(settings), lambda done, of: watch("simulating", done, of))
    dataset = open_dataset(root)
    path = run / SPLIT
    earlier = load_split(path) if path.exists() else None
    requested = None if settings.split is None else load_split(settings.split)
    split = requested or earlier or _draw(dataset, settings)
    if earlier is not None and earlier.people != split.people:
        raise DatasetError(
            f"{path}: this run splits people differently from {settings.split}; choose another folder with --out"
        )
    needed = [part for part in PARTS if part != "val" or settings.val_people]
    missing = [part for part in needed if not split.people.get(part)]
    if missing:
        raise DatasetError(f"{settings.split or path}: expected people for {', '.join(needed)}; none for {missing}")
    dataset = split.apply(dataset)
    try:
        private_folder(run)
        split.save(path)
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written ({error.strerror}); check --out and free space") from error
    return dataset


def origin(dataset: Dataset, command: str) -> str:
    """Return the note of weights that `command` trained on a dataset."""
    return f"{command}, on simulated people alone" if is_simulated(dataset.root) else command


def workers_of(settings: DataSettings) -> int:
    """Return the number of processes that read trials."""
    return settings.workers or os.cpu_count() or 1


def load_or_build_windows(
    dataset: Dataset,
    part: str,
    settings: DataSettings,
    window: TrainingWindowSettings,
    run: Path,
    watch: Watch,
    rule: str | None = None,
) -> Windows:
    """Return the windows of one part, of events changed by a rule if one is given; build them unless they exist."""
    return build(
        dataset.of(part) if part in dataset.splits else (),
        replace(row_shape(window), rule=rule),
        settings.cache or run / "windows",
        workers=workers_of(settings),
        watch=lambda done, of: watch(f"windows of {part} people", done, of),
    )


def _draw(dataset: Dataset, settings: DataSettings) -> Split:
    predefined = "test" in dataset.splits and "train" in dataset.splits
    if settings.test_people is None and not predefined:
        raise DatasetError(
            f"{dataset.root}: the dataset does not define training and test people "
            f"(splits: {', '.join(dataset.splits)}); set data.test_people, or give a list as data.split"
        )
    if settings.test_people is not None:
        counts = {"val": settings.val_people, "test": settings.test_people}
        return _draw_people(dataset, counts, settings.seed)
    train = replace(dataset, trials=dataset.of("train"))
    split = _draw_people(train, {"val": settings.val_people}, settings.seed)
    test_people = tuple(sorted({trial.subject for trial in dataset.of("test")}))
    return Split(split.seed, {**split.people, "test": test_people})


def _draw_people(dataset: Dataset, counts: dict[str, int], seed: int) -> Split:
    """Draw this many people for each part; the others are for training. Scenes are drawn apart, in the same shares.

    People of series are all for training, so that a training with them has the other parts of one without.
    """
    counts = {part: count for part, count in counts.items() if count}
    series = people_of_series(dataset.root, dataset.people)
    people = tuple(person for person in dataset.people if person not in series)
    rest = len(people) - sum(counts.values())
    if rest < 2:
        raise DatasetError(
            f"{dataset.root}: {len(people)} people minus {counts} leave {rest} for training, but at least "
            "two are needed; lower data.val_people or data.test_people"
        )
    split = split_by_person(_only(dataset, people), {"train": rest, **counts}, seed)
    split = Split(seed, {**split.people, "train": tuple(sorted((*split.people["train"], *series)))})
    scenes = tuple(sorted(set(dataset.subjects) - set(dataset.people)))
    shares = {part: round(len(scenes) * count / len(people)) for part, count in counts.items()}
    shares = {"train": len(scenes) - sum(shares.values()), **shares}
    if not (shares := {part: count for part, count in shares.items() if count}):
        return split
    drawn = split_by_person(_only(dataset, scenes), shares, seed).people
    return Split(seed, {part: (*names, *drawn.get(part, ())) for part, names in split.people.items()})


def _only(dataset: Dataset, subjects: tuple[str, ...]) -> Dataset:
    return replace(dataset, trials=tuple(trial for trial in dataset.trials if trial.subject in subjects))
