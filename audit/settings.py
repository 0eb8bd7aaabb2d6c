"""The settings of an audit. The files in configs/audit/ explain each key.

A key that is not known here is refused; what is not said has the value given here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator

from eventveil.audit.architectures import ARCHITECTURES
from eventveil.training.settings import (
    AttackSettings,
    AugmentSettings,
    ClassifierSettings,
    DataSettings,
    RunSettings,
    Settings,
    StageSettings,
    TrainSettings,
    TripletSettings,
    WindowSettings,
)
from eventveil.training.subjects import ANONYMIZER, baseline

RAW = "raw"


class AttackerSettings(StageSettings):
    """Who attacks, and how they are trained."""

    architectures: tuple[str, ...] = ARCHITECTURES
    seeds: tuple[NonNegativeInt, ...] = (0, 1, 2)
    width: PositiveInt = 16
    embedding: PositiveInt = 128
    pool: int = Field(default=4, ge=2)

    @field_validator("architectures", "seeds")
    @classmethod
    def _some_and_once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError(f"expected one entry or more, each once, got {list(value)}")
        return value

    @field_validator("architectures")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(value) - set(ARCHITECTURES))
        if unknown:
            raise ValueError(f"expected some of {', '.join(ARCHITECTURES)}, got {unknown}")
        return value


class AuditSettings(Settings):
    """Everything that `eventveil audit` needs beside weights and data."""

    seed: NonNegativeInt = 0
    evidence: bool = True
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.1
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.05
    against: tuple[str, ...] = (RAW,)
    linking: tuple[PositiveInt, ...] = (1, 2, 5, 10)
    averaging: int = Field(default=0, ge=0, le=1000)
    batch: int = Field(default=32, ge=4)
    optimizer: Literal["adamw", "adam"] = "adamw"
    data: DataSettings
    window: WindowSettings
    augment: AugmentSettings = AugmentSettings()
    attackers: AttackerSettings = AttackerSettings()
    triplet: TripletSettings = TripletSettings(margin=0.3, normalise=True)
    run: RunSettings = RunSettings(tensorboard=False, pictures=False)

    @field_validator("against")
    @classmethod
    def _rules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if RAW not in value or len(set(value)) < len(value) or ANONYMIZER in value:
            raise ValueError(f"expected raw, which attackers must succeed on, and other rules, each once, got {value}")
        for name in value:
            baseline(name)
        return value

    @field_validator("linking")
    @classmethod
    def _from_one(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[:1] != (1,) or list(value) != sorted(set(value)):
            raise ValueError(f"expected numbers of windows that begin with 1 and rise, got {list(value)}")
        return value

    @field_validator("attackers")
    @classmethod
    def _pools_share_the_batch(cls, value: AttackerSettings, info: Any) -> AttackerSettings:
        batch = info.data.get("batch", value.pool)
        if batch % value.pool:
            raise ValueError(f"expected a pool that divides the batch of {batch}, got {value.pool}")
        return value


def train_settings(settings: AuditSettings, *, pooled: bool) -> TrainSettings:
    """What training is told for an attacker; one that pools gets its batches in groups of windows of one person."""
    own = settings.attackers
    network = ClassifierSettings(depth=18, width=own.width, embedding=own.embedding, logarithm=True)
    schedule = own.model_dump(include=set(StageSettings.model_fields))
    return TrainSettings(
        seed=settings.seed,
        batch=settings.batch,
        people_per_batch=settings.batch // own.pool if pooled else None,
        optimizer=settings.optimizer,
        data=settings.data,
        window=settings.window,
        augment=settings.augment,
        target=network,
        identity=network,
        triplet=settings.triplet,
        attack=AttackSettings(**schedule, session_disjoint=True),
        run=settings.run,
    )
