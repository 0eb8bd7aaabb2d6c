"""What one look of `eventveil doctor` found: green, amber or red, with its remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from eventveil.stream.settings import PipelineSettings

Colour = Literal["green", "amber", "red"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look found.

    Attributes:
        about: what was looked at.
        colour: green, amber or red.
        found: how it is.
        remedy: what to do about it; None where nothing is to be done.
    """

    about: str
    colour: Colour
    found: str
    remedy: str | None = None


Check = Callable[[PipelineSettings], Iterator[Finding]]
