"""The subjects of an audit: weights files, and rules without a network for comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import nn

from eventveil.audit.messages import SimulatedPipeline
from eventveil.audit.settings import AuditSettings
from eventveil.audit.sources import WindowSource
from eventveil.audit.stand_in import StandInSource
from eventveil.errors import AuditError, BookError
from eventveil.models import shipped
from eventveil.models.book import Book
from eventveil.models.header import check_fit
from eventveil.models.kinds import AnonymizerNetwork
from eventveil.models.stand_in import StandIn
from eventveil.models.weights import Weights, load_weights
from eventveil.stream.planning.books import BOOK, check_words
from eventveil.training.networks.baselines import Unchanged
from eventveil.training.networks.subjects import RAW, baseline, folder_of
from eventveil.training.settings import TrainingWindowSettings


@dataclass(frozen=True)
class GestureClassifier:
    """The classifier of a pipeline.

    Attributes:
        network: returns a `models.resnet.Classified` for windows (B, C, H, W).
        digest: digest of its weights (`Metadata.identity`).
    """

    network: nn.Module
    digest: str


@dataclass(frozen=True)
class Subject:
    """An anonymizer under attack.

    Attributes:
        name: unique among the subjects.
        anonymizer: the workspace moves a module to its device.
        audited: whether it gets a verdict; the others are for comparison.
        digest: digest of its weights (`Metadata.identity`); None for a rule.
        about: metadata of the weights file; None for a rule.
        classifier: recognises the gestures that are published with its windows; None: gestures are not attacked.
        source: makes its windows from whole recordings; None: from raw windows, by the anonymizer alone.
        pipeline: sends what is published.
    """

    name: str
    anonymizer: AnonymizerNetwork
    audited: bool = False
    digest: str | None = None
    about: dict[str, Any] | None = None
    classifier: GestureClassifier | None = None
    source: WindowSource | None = None
    pipeline: SimulatedPipeline = field(default_factory=SimulatedPipeline)

    @property
    def folder(self) -> str:
        """Its folder's name."""
        return folder_of(self.name)


def read_weights(paths: Sequence[Path]) -> tuple[dict[str, Weights], Weights | None]:
    """Load the anonymizers to audit, by the names of their files, and the classifier if one of the files is one.

    A name of weights that come with eventveil stands for all their files; another classifier takes the place of theirs.

    Raises:
        AuditError: two files have the same name, there are two classifiers, or no anonymizer.
        WeightsError: a file has another role, or the files are for different windows.
    """
    weights: dict[str, Weights] = {}
    classifier: Weights | None = None
    for path in paths:
        if path.stem in weights or path.stem == RAW:
            raise AuditError(
                f"{path}: expected weights files with different names, none of them 'raw'; rename this one"
            )
        loaded = load_weights(shipped.files_of(path)[0])
        if loaded.metadata.role != "target":
            weights[path.stem] = loaded
        elif classifier is None:
            classifier = loaded
        else:
            raise AuditError(f"{path}: a second classifier; give one, which is used with every anonymizer")
    if not weights:
        raise AuditError("expected weights of an anonymizer, got only a classifier; give the anonymizer, too")
    if classifier is None:
        classifier = next((load_weights(file) for path in paths for file in shipped.files_of(path)[1:]), None)
    first = next(iter(weights.values()))
    for other in weights.values():
        check_fit(
            other.metadata,
            None if classifier is None else classifier.metadata,
            representation=first.metadata.representation,
            bins=first.metadata.bins,
            bin_us=first.metadata.bin_us,
            size=first.metadata.size,
        )
        if other.metadata.mode != first.metadata.mode:
            modes = f"{other.metadata.mode} and {first.metadata.mode}"
            raise AuditError(f"expected weights for windows of one mode, got {modes}; audit them one by one")
    return weights, classifier


def read_books(paths: Sequence[Path], weights: Mapping[str, Weights], given: Path | None) -> dict[str, Book]:
    """Read the books of all stand-ins, by the names of their weights.

    Args:
        paths: as in `read_weights`.
        weights: weights of the anonymizers, by the names of their files.
        given: the book of the only stand-in; None: `book.safetensors` beside each one's weights.

    Raises:
        BookError: a book cannot be read, or the weights were trained for another one.
        AuditError: a book is given and there are no weights of a stand-in; or its steps are not bins of the weights.
    """
    books = {}
    for path in paths:
        stand_in = weights.get(path.stem)
        if stand_in is None or not isinstance(stand_in.model, StandIn):
            continue
        at = given or shipped.files_of(path)[0].with_name(BOOK)
        if given is None and not at.exists():
            raise BookError(
                f"{at}: {path} is a stand-in and publishes from its book, which is not beside it; give --book FILE, "
                f"the book with SHA-256 {stand_in.model.config.book}"
            )
        books[path.stem] = book = Book.read(at)
        check_words(at, book, path, stand_in.metadata)
        if book.step_us != stand_in.metadata.bin_us:
            raise AuditError(
                f"{at}: expected steps of a bin of the weights, {stand_in.metadata.bin_us} us, got {book.step_us} us; "
                "a stand-in of other steps cannot be audited"
            )
    if given is not None and not books:
        raise AuditError(f"{given}: only a stand-in publishes from a book, and none is in --weights; omit --book")
    return books


def with_windows_of(settings: AuditSettings, weights: Weights) -> AuditSettings:
    """Return the settings with the windows of the weights; how training draws windows stays."""
    metadata = weights.metadata
    mode = "voxel" if metadata.representation == "voxel" else metadata.mode
    changes = {
        "mode": mode,
        "bins": metadata.bins,
        "bin_us": metadata.bin_us,
        "size": metadata.size,
        "crop": metadata.box or settings.window.crop,
        "clock": metadata.clock,
        # A stand-in publishes a step at a time, so its windows share no step, though those that it looks at do.
        "hop": None if metadata.kind == "stand_in" else metadata.hop,
        "straddle": settings.window.straddle if mode == "windows" else 0.0,
    }
    window = TrainingWindowSettings.model_validate(settings.window.model_dump() | changes)
    return settings.model_copy(update={"window": window})


def raw_alone() -> list[Subject]:
    """Return raw windows as the only subject: the control of a test of the audit itself."""
    return [Subject(RAW, baseline(RAW))]


def subjects_of(
    weights: dict[str, Weights],
    classifier: Weights | None,
    settings: AuditSettings,
    books: Mapping[str, Book] = MappingProxyType({}),
) -> list[Subject]:
    """Return all subjects; raw windows come first, as the control.

    The classifier belongs to each audited one but stand-ins, which state themselves which gesture they show.
    """
    gestures = None if classifier is None else GestureClassifier(classifier.model, classifier.digest)
    subjects = [Subject(name, baseline(name)) for name in sorted(settings.against, key=lambda name: name != RAW)]
    for name, loaded in weights.items():
        about = loaded.metadata.model_dump(mode="json")
        if isinstance(loaded.model, StandIn):
            source = StandInSource(loaded.model, books[name])
            subjects.append(Subject(name, Unchanged(), True, loaded.digest, about, source=source))
            continue
        network = loaded.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        subjects.append(Subject(name, cast("AnonymizerNetwork", network), True, loaded.digest, about, gestures))
    return subjects
