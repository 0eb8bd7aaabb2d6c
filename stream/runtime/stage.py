"""The three kinds of stage.

    Source --> Transform --> Transform --> Sink

A source drives itself. `eventveil.stream.runtime.relay.Relay` runs a transform between two sockets, and
`eventveil.stream.publisher.loop.PublishLoop` runs the one sink.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from eventveil.stream.runtime.message import StageMessage
from eventveil.stream.runtime.reporting import StageReporter
from eventveil.stream.runtime.signals import Signals


class Source(Protocol):
    """A stage at the head of the pipeline: makes windows and sends them."""

    def figures(self) -> dict[str, Any]:
        """Return counts, drops and values so far, for a report."""

    def run(self, signals: Signals, report: StageReporter) -> None:
        """Send all windows and the end of the stream."""


class Transform(Protocol):
    """A stage in the middle of the pipeline: takes a batch of windows and returns as many, in order."""

    def process(self, windows: Sequence[Any]) -> Sequence[Any]:
        """Transform a batch."""


class Sink(Protocol):
    """A stage at the tail of the pipeline: takes messages and sends none on."""

    def figures(self) -> dict[str, Any]:
        """Return counts, drops and values so far, for a report."""

    def take(self, message: StageMessage) -> None:
        """Take a window, a camera notice or the end of a stream."""
