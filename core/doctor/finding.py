"""The result of a check of `eventveil doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from eventveil.stream.settings.pipeline import PipelineSettings

Colour = Literal["green", "amber", "red"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check.

    Attributes:
        about: the subject of the check.
        colour: green, amber or red.
        found: the state that was found.
        remedy: what to do about it; None if there is nothing to do.
    """

    about: str
    colour: Colour
    found: str
    remedy: str | None = None


Check = Callable[[PipelineSettings], Iterator[Finding]]
