"""What is published of a window: the messages, and how long their headers and payloads are.

The publisher decides whether and when a window is published. What it then says depends on the anonymizer: the window
itself with the gesture recognised in it (this file), or what a book says of a word (`word_contents.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from eventveil.errors import BoundaryError
from eventveil.stream.protocol.gesture import published_gesture
from eventveil.stream.protocol.wire import MAX_VALUES, GestureHeader, Header, StreamHeader, WindowHeader
from eventveil.stream.publisher.gesture_filter import GestureFilter
from eventveil.stream.publisher.padding import padded_size
from eventveil.stream.runtime.windows import AnonymizedWindow, ChosenWord, Seal

Part = tuple[StreamHeader, npt.NDArray[Any] | None]
"""A message: its header and its payload."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The weights in use, as every header names them.

    Attributes:
        anonymizer: digest of the anonymizer's weights (`Metadata.identity`).
        trained: whether the anonymizer was trained.
        classifier: digest of the classifier's weights, or None without a classifier.
        classifier_trained: whether the classifier was trained.
        labels: the classifier's classes, or those of a stand-in's book.
        certificate: SHA-256 of the anonymizer's audit certificate, or None if there is none.
        certificate_text: the certificate itself, which is public.
        book: for a stand-in, SHA-256 of the book; the publisher needs no other.
        changes_per_second: for a stand-in, how often the word may change in any second.
        bits_per_second: for a stand-in, the most bits that the words of any second carry.
    """

    anonymizer: str
    trained: bool
    classifier: str | None = None
    classifier_trained: bool = False
    labels: tuple[str, ...] = ()
    certificate: str | None = None
    certificate_text: str | None = None
    book: str | None = None
    changes_per_second: int | None = None
    bits_per_second: float | None = None

    def common(self, run: str) -> dict[str, Any]:
        """Return the keys that all headers of windows, gestures and events share, and that never change in a run."""
        return {
            "run": run,
            "anonymizer": self.anonymizer,
            "trained": self.trained,
            "certificate": self.certificate,
            "book": self.book,
            "bits_per_second": self.bits_per_second,
        }


class Contents(Protocol):
    """Makes the messages of a window.

    Attributes:
        sizes: length in bytes of the headers of each kind.
        events_size: length in bytes of the payload of events.
    """

    sizes: dict[type[Header], int]
    events_size: int

    def check(self, window: object) -> AnonymizedWindow | ChosenWord:
        """Return the window if it comes from the anonymizer and may be published.

        Raises:
            BoundaryError: it does not, or may not: the pipeline must end.
        """

    def compose(self, window: Any, facts: Mapping[str, Any]) -> Sequence[Part]:
        """Return the messages of a window that is published now, in the order in which they are sent.

        Args:
            window: a checked one.
            facts: the keys of its header that do not depend on what it shows.

        Raises:
            BoundaryError: it carries something that may not be published: the pipeline must end.
        """


class WindowContents:
    """An anonymized window, and the gesture that a classifier recognised in it.

    Args:
        seal: checks that a window comes from the anonymizer.
        provenance: what the headers state about the weights.
        run: name of the run in the headers.
        gestures: decides which gestures are named.
    """

    events_size = 0

    def __init__(self, seal: Seal, provenance: Provenance, run: str, gestures: GestureFilter) -> None:
        self._seal = seal
        self._gestures = gestures
        self._labels = provenance.labels
        self._about = provenance.common(run)
        self._about_gesture = self._about | {
            "labels": provenance.labels,
            "classifier": provenance.classifier,
            "classifier_trained": provenance.classifier_trained,
        }
        labels = (*self._labels, None)
        longest = max(padded_size(GestureHeader, label=label, **self._about_gesture) for label in labels)
        self.sizes: dict[type[Header], int] = {
            WindowHeader: padded_size(WindowHeader, shape=(MAX_VALUES,) * 3, **self._about),
            GestureHeader: longest,
        }

    def check(self, window: object) -> AnonymizedWindow:
        """Return the window if it carries the anonymizer's seal.

        Raises:
            BoundaryError: it does not.
        """
        return self._seal.check(window)

    def compose(self, window: AnonymizedWindow, facts: Mapping[str, Any]) -> Sequence[Part]:
        """Return the window and its gesture.

        Raises:
            BoundaryError: it carries scores that are not probabilities.
        """
        about = self._about | dict(facts) | {"shape": window.values.shape}
        parts: list[Part] = [(WindowHeader.model_validate(about), window.values)]
        if window.scores is not None:
            parts.append((self._gesture(window, window.scores, facts), None))
        return parts

    def _gesture(
        self, window: AnonymizedWindow, scores: npt.NDArray[np.float32], facts: Mapping[str, Any]
    ) -> GestureHeader:
        # The seal does not cover the scores, so check their form: one probability per label.
        if scores.shape != (len(self._labels),) or not ((scores >= 0) & (scores <= 1)).all():
            raise BoundaryError(f"{window!r} carries scores that are not {len(self._labels)} probabilities: refused")
        best, probability = published_gesture(scores)
        named = self._gestures.passes(window.origin.stream, best, probability, quiet=window.quiet)
        gesture = {"label": self._labels[best] if named else None, "probability": probability if named else None}
        return GestureHeader.model_validate(self._about_gesture | dict(facts) | gesture)
