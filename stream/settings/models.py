"""The settings of a pipeline's networks; `pipeline.py` holds the others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from eventveil.settings import Settings

Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")]
Precision = Literal["auto", "fp32", "bf16"]


class ModelSettings(Settings):
    """One network of the pipeline."""

    weights: Path | None = None
    device: Device = "auto"
    precision: Precision = "auto"

    @model_validator(mode="before")
    @classmethod
    def _no_seed(cls, values: Any) -> Any:
        # Reproducible noise can be subtracted (see the threats in docs/architecture.md).
        if isinstance(values, dict) and "seed" in values:
            raise ValueError(
                "a seed is refused: live noise takes its key from the operating system's entropy; remove 'seed'"
            )
        return values


class AnonymizeSettings(ModelSettings):
    """The anonymizer; without its weights, nothing starts."""

    book: Path | None = None
    allow_untrained: bool = False
    certificate: Path | None = None
    batch: int = Field(default=8, ge=1, le=1024)


class ClassifySettings(ModelSettings):
    """The classifier, and how certain it has to be to name a gesture."""

    min_probability: float = Field(default=0.0, ge=0, le=1)
    hold: int = Field(default=1, ge=1, le=1000)
    min_density: float | Literal["trained"] | None = Field(default=None)

    @field_validator("min_density")
    @classmethod
    def _is_a_density(cls, value: float | Literal["trained"] | None) -> float | Literal["trained"] | None:
        if isinstance(value, float) and not 0 < value < math.inf:
            raise ValueError(f"expected events per pixel of a window, above 0, or trained, got {value:g}")
        return value

    @property
    def filters_gestures(self) -> bool:
        """Whether some gestures are not named."""
        return self.min_probability > 0 or self.hold > 1 or self.min_density is not None
