"""The settings of `eventveil train stand-in`. configs/train/stand_in.yaml explains each key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from eventveil.settings import Settings
from eventveil.training.settings import DataSettings, RunSettings, Share, StageSettings

Factor = Annotated[float, Field(ge=1, le=10)]


class MomentSettings(Settings):
    """Windows, and when their label holds."""

    bins: PositiveInt = 10
    bin_us: PositiveInt = 100_000
    size: tuple[PositiveInt, PositiveInt] = (32, 32)
    offsets: PositiveInt = 4
    label_before_us: NonNegativeInt = 50_000

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        row_us = self.bin_us / self.offsets
        if self.bin_us % self.offsets or self.label_before_us % row_us:
            raise ValueError(
                f"a bin of {self.bin_us} µs has {self.offsets} whole rows, and label_before_us is a multiple of one "
                f"({row_us:g} µs), got {self.label_before_us}"
            )
        if self.label_before_us >= self.bins * self.bin_us:
            raise ValueError("expected label_before_us within the window")
        return self


class VariationSettings(Settings):
    """How training windows are varied."""

    shift: Share = 0.125
    rotation_deg: float = Field(default=12.0, ge=0, le=180)
    size: tuple[PositiveFloat, PositiveFloat] = (0.6, 1.6)
    slight: Share = 0.0
    mirror: bool = True
    tempo: Factor = 1.5
    rate: tuple[PositiveFloat, PositiveFloat] = (0.1, 3.0)
    contrast: Factor = 1.5
    polarity: Share = 0.25
    noise_hz: NonNegativeFloat = 5.0
    untouched: Share = 0.5
    cut: Share = 0.0
    beside: Share = 0.0

    @model_validator(mode="after")
    def _is_ascending(self) -> Self:
        for key, (low, high) in (("rate", self.rate), ("size", self.size)):
            if low > high:
                raise ValueError(f"{key} is the smallest and the largest factor, got {[low, high]}")
        return self


class RuleSettings(Settings):
    """The rule that turns probabilities into words; `models/decision.py` explains it."""

    transition: float = Field(default=0.001, gt=0, le=1)
    evidence: float = Field(default=1.5, gt=0, le=4)
    threshold: float = Field(default=0.7, gt=0, lt=1)
    changes_per_second: PositiveInt = 2
    delay: int = Field(default=0, ge=0, le=1000)
    epsilon: PositiveFloat | None = None
    interval_s: PositiveFloat = 1.0


class StandInSettings(Settings):
    """All settings of `eventveil train stand-in`."""

    seed: NonNegativeInt = 0
    book: Path | None = None
    width: PositiveInt = 24
    data: DataSettings
    window: MomentSettings = MomentSettings()
    batch: int = Field(default=64, ge=2)
    windows_per_epoch: PositiveInt = 6400
    shares: dict[str, PositiveFloat] = Field(default_factory=dict)
    variation: VariationSettings = VariationSettings()
    smoothing: float = Field(default=0.1, ge=0, lt=1)
    optimizer: str = Field(default="adamw", pattern="^(adamw|adam)$")
    schedule: StageSettings = StageSettings()
    rule: RuleSettings = RuleSettings()
    run: RunSettings = RunSettings()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.windows_per_epoch < self.batch:
            raise ValueError(f"windows_per_epoch: expected at least batch, {self.batch}, got {self.windows_per_epoch}")
        if self.data.val_people == 0:
            raise ValueError("data.val_people: expected 1 or more, for the figures after each epoch; got 0")
        return self
