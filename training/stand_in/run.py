"""The run folder of `eventveil train stand-in`: dataset, recordings, the stage, and the weights file.

RUN/split.json, RUN/windows/    as in other trainings
RUN/stand_in/                   the stage: settings.yaml, last.pt, best.pt, steps.csv, epochs.csv, curves.png
RUN/weights/stand_in.safetensors
"""

from __future__ import annotations

import hashlib
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eventveil.errors import ConfigError
from eventveil.host.extras import install_hint
from eventveil.host.files import private_folder
from eventveil.models.book import Book
from eventveil.models.kinds import initialise
from eventveil.models.metadata import Metadata
from eventveil.models.stand_in import StandIn
from eventveil.models.weights import save_weights
from eventveil.replay.datasets.dvs_gesture import NO_GESTURE, NOBODY
from eventveil.training.data.binned_trials import RowShape
from eventveil.training.data.loader import mirrored_targets
from eventveil.training.data.split import Watch, open_split, origin, workers_of
from eventveil.training.data.statistics import measure_scene
from eventveil.training.distributed.process_group import ProcessGroup
from eventveil.training.engine.checkpoint import load_networks
from eventveil.training.engine.loop import BEST, ProgressReporter, run_stage
from eventveil.training.engine.run_folder import NOT_IN_DIGEST, check_run_folder, prepare_stage_folder
from eventveil.training.networks.build import check_precision
from eventveil.training.randomness import seed_of
from eventveil.training.run import EXTRAS
from eventveil.training.stages import plots
from eventveil.training.stand_in.loader import MomentLoader
from eventveil.training.stand_in.moments import Moments, load_moments
from eventveil.training.stand_in.settings import StandInSettings
from eventveil.training.stand_in.stage import NAME, StandInStage


def train_stand_in(
    settings: StandInSettings,
    folder: Path,
    group: ProcessGroup,
    reporter: ProgressReporter,
    watch: Watch,
    *,
    resume: bool = False,
) -> dict[str, Any]:
    """Train the stand-in and write its weights; return the figures of the last epoch.

    Args:
        settings: settings of the run.
        folder: the run folder.
        group: the processes that train together.
        reporter: shows the progress of the stage.
        watch: shows the progress of data preparation.
        resume: resume a stage that was started earlier.

    Raises:
        ConfigError: settings contradict each other, the book, or the dataset.
        BookError: the book cannot be read.
        TrainingError: the folder holds files that a run would replace, or training cannot continue.
        EventVeilError: the dataset cannot be read, or has too few people.
    """
    if settings.book is None:
        raise ConfigError("book: none given; make one with `eventveil book make gestures --out book.safetensors`")
    if group.leads:
        check_run_folder(folder)
        _check_extras(settings)
    check_precision(settings.run, settings.window.size, group.device)
    book = Book.read(settings.book)
    first = open_split(settings.data, folder, watch) if group.local_rank == 0 else None
    group.wait()
    dataset = first or open_split(settings.data, folder, watch)
    words, quiet = words_of_classes(book, dataset.classes)
    network = new_stand_in(settings, book, quiet)

    def part(name: str) -> Moments:
        window = settings.window
        shape = RowShape.of(
            mode="windows", bins=window.bins, bin_us=window.bin_us, offsets=window.offsets, size=window.size, crop=None
        )
        cache = settings.data.cache or folder / "windows"
        return load_moments(dataset.of(name), shape, cache, workers_of(settings.data), watch)

    moments = part("train") if group.local_rank == 0 else None
    group.wait()
    moments = moments or part("train")
    mirrored = mirrored_targets(dataset.kind, len(dataset.classes))
    loader = MomentLoader(moments, settings, dataset.classes, mirrored, group)
    stage = StandInStage(network, words, settings, part("val"), group)
    if group.leads:
        prepare_stage_folder(folder / NAME, settings, resume=resume)
    group.wait()
    digest = _digest(settings, book.digest)
    progress = run_stage(stage, loader, folder / NAME, settings.run, group, reporter, digest=digest)
    if not group.leads:
        return {}
    if settings.run.pictures and progress.history:
        plots.curves(folder / NAME / "curves.png", progress.history, progress.best_epoch)
    _, states = load_networks(folder / NAME / BEST, NAME)
    network.load_state_dict(states[NAME])
    note = origin(dataset, f"eventveil train stand-in, settings {digest[:16]}")
    _export(folder, network.eval(), settings, moments, note)
    return progress.history[-1]


def words_of_classes(book: Book, classes: tuple[str, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the word of each class, and the quiet words, "nobody" first.

    Raises:
        ConfigError: the book does not have exactly one word for each class.
    """
    labels = [word.label for word in book.words]
    if sorted(labels) != sorted(classes):
        raise ConfigError(
            f"book: expected one word for each class of the dataset ({', '.join(classes)}), got {', '.join(labels)}; "
            "choose a book of labels alone, and a dataset with visits and scenes"
        )
    return tuple(labels.index(name) for name in classes), tuple(labels.index(name) for name in (NOBODY, NO_GESTURE))


def new_stand_in(settings: StandInSettings, book: Book, quiet: tuple[int, ...]) -> StandIn:
    """Build the network, untrained.

    Raises:
        ConfigError: settings of the rule contradict each other.
    """
    config = settings.rule.model_dump() | {
        "channels": 2 * settings.window.bins,
        "words": len(book.words),
        "book": book.digest,
        "width": settings.width,
        "quiet": quiet,
    }
    try:
        network = initialise(NAME, config, seed=seed_of(settings.seed, NAME))
    except ValueError as error:
        raise ConfigError(f"rule: {error}") from error
    assert isinstance(network, StandIn)
    return network


def _check_extras(settings: StandInSettings) -> None:
    for key, package in EXTRAS.items():
        if getattr(settings.run, key) and find_spec(package) is None:
            raise ConfigError(f"run.{key}: {package} is not installed; {install_hint('train')}, or set it to false")


def _digest(settings: StandInSettings, book: str) -> str:
    values = settings.model_dump(mode="json", exclude={**NOT_IN_DIGEST, "book": True})
    return hashlib.sha256(json.dumps([book, values], sort_keys=True).encode()).hexdigest()


def _export(folder: Path, network: StandIn, settings: StandInSettings, moments: Moments, note: str) -> None:
    window = settings.window
    metadata = Metadata.of(
        network,
        role="anonymizer",
        trained=True,
        bins=window.bins,
        bin_us=window.bin_us,
        hop=1,
        size=window.size,
        scene=measure_scene(moments.windows),
        note=note,
    )
    private_folder(folder / "weights")
    save_weights(folder / "weights" / f"{NAME}.safetensors", network, metadata)
