"""The settings of an audit. The files in configs/audit/ explain each key.

An unknown key is refused; a missing key has the default given here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator, model_validator

from eventveil.audit.architectures import ARCHITECTURES, PLAIN, RESNET
from eventveil.settings import Settings
from eventveil.training.networks.subjects import ANONYMIZER, RAW, baseline
from eventveil.training.settings import (
    AttackSettings,
    AugmentSettings,
    ClassifierSettings,
    DataSettings,
    RunSettings,
    StageSettings,
    TrainingWindowSettings,
    TrainSettings,
    TripletSettings,
)


def _known_once(value: tuple[str, ...]) -> tuple[str, ...]:
    unknown = sorted(set(value) - set(ARCHITECTURES))
    if unknown or len(set(value)) < len(value):
        raise ValueError(f"expected one or more of {', '.join(ARCHITECTURES)}, each once, got {list(value)}")
    return value


class AttackerSettings(StageSettings):
    """The attackers, and how they are trained."""

    architectures: tuple[str, ...] = ARCHITECTURES
    seeds: tuple[NonNegativeInt, ...] = (0, 1, 2)
    width: int = Field(default=16, ge=8)  # as in `training.settings.ClassifierSettings`
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
        return _known_once(value)


class InversionSettings(StageSettings):
    """Denoisers before identifiers of these architectures, to undo the anonymization; no architectures: none."""

    architectures: tuple[str, ...] = (RESNET,)
    seeds: tuple[NonNegativeInt, ...] = (0,)
    width: PositiveInt = 128
    layers: int = Field(default=15, ge=2)
    weight: NonNegativeFloat = 1.0

    @field_validator("architectures")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _known_once(value)


class ReconstructionSettings(Settings):
    """Attackers who make pictures of windows; none without FireNet's weights."""

    weights: Path | None = None
    architectures: tuple[str, ...] = (RESNET,)
    seeds: tuple[NonNegativeInt, ...] = (0,)
    shown: int = Field(default=6, ge=1, le=12)
    recording: Path | None = None
    faces: Path | None = None

    @field_validator("architectures")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _known_once(value)

    @model_validator(mode="after")
    def _has_weights(self) -> Self:
        if self.recording is not None and self.weights is None:
            raise ValueError("pictures of a recording need FireNet: set weights to its file")
        if self.faces is not None and self.weights is None:
            raise ValueError("faces are looked for in pictures, which need FireNet: set weights to its file")
        return self


class ConditionSettings(Settings):
    """Attackers away from the anonymizer's training data, see `audit.conditions`; no names: none.

    They are trained like the other attackers.
    """

    names: tuple[
        Literal["fewer-events", "half-size", "moved", "rotated", "midway", "other-sensor", "two-people"], ...
    ] = (
        "fewer-events",
        "half-size",
        "moved",
        "rotated",
        "midway",
        "other-sensor",
        "two-people",
    )
    architectures: tuple[str, ...] = (PLAIN,)
    seeds: tuple[NonNegativeInt, ...] = (0,)

    @field_validator("architectures")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _known_once(value)

    @field_validator("names", "seeds")
    @classmethod
    def _once(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected each entry once, got {list(value)}")
        return value


class ProbeSettings(StageSettings):
    """Probes of attributes of people, and of the light."""

    probes: tuple[Literal["linear", "cnn"], ...] = ("linear", "cnn")


class AuditSettings(Settings):
    """All settings of `eventveil audit`."""

    seed: NonNegativeInt = 0
    evidence: bool = True
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.1
    precision: Annotated[float, Field(gt=0, lt=1)] = 0.05
    people_linked: Annotated[float, Field(ge=0, le=1)] = 0.0
    against: tuple[str, ...] = (RAW,)
    linking: tuple[PositiveInt, ...] = (1, 2, 5, 10)
    sequences: tuple[PositiveInt, ...] = (10, 60, 600)
    averaging: int = Field(default=0, ge=0, le=1000)
    batch: int = Field(default=32, ge=4)
    optimizer: Literal["adamw", "adam"] = "adamw"
    data: DataSettings
    window: TrainingWindowSettings
    augment: AugmentSettings = AugmentSettings()
    attackers: AttackerSettings = AttackerSettings()
    conditions: ConditionSettings = ConditionSettings()
    inversion: InversionSettings = InversionSettings()
    reconstruction: ReconstructionSettings = ReconstructionSettings()
    probes: ProbeSettings = ProbeSettings()
    guesses: NonNegativeInt = 256
    selftest: bool = False
    triplet: TripletSettings = TripletSettings(margin=0.3, normalise=True)
    run: RunSettings = RunSettings(tensorboard=False, pictures=False)

    @field_validator("data")
    @classmethod
    def _has_validation_people(cls, value: DataSettings) -> DataSettings:
        if value.val_people == 0:
            raise ValueError(
                "an audit chooses the epochs of attackers on validation people: set val_people to 1 or more"
            )
        return value

    @field_validator("against")
    @classmethod
    def _rules(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if RAW not in value or len(set(value)) < len(value) or ANONYMIZER in value:
            raise ValueError(f"expected raw, as the control, and other rules, each once, got {value}")
        for name in value:
            baseline(name)
        return value

    @field_validator("linking")
    @classmethod
    def _from_one(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value[:1] != (1,) or list(value) != sorted(set(value)):
            raise ValueError(f"expected numbers of windows that begin with 1 and increase, got {list(value)}")
        return value

    @field_validator("attackers")
    @classmethod
    def _pools_share_the_batch(cls, value: AttackerSettings, info: Any) -> AttackerSettings:
        batch = info.data.get("batch", value.pool)
        if batch % value.pool:
            raise ValueError(f"expected a pool that divides the batch of {batch}, got {value.pool}")
        return value


def train_settings(settings: AuditSettings, *, pooled: bool, schedule: StageSettings | None = None) -> TrainSettings:
    """Return the settings for the training of an attacker.

    Args:
        settings: settings of the audit.
        pooled: whether the attacker pools, and needs batches of groups of windows of one person.
        schedule: schedule of the training; None: that of attackers.
    """
    attackers = settings.attackers
    network = ClassifierSettings(depth=18, width=attackers.width, embedding=attackers.embedding, logarithm=True)
    stage = (schedule or attackers).model_dump(include=set(StageSettings.model_fields))
    return TrainSettings(
        seed=settings.seed,
        batch=settings.batch,
        people_per_batch=settings.batch // attackers.pool if pooled else None,
        optimizer=settings.optimizer,
        data=settings.data,
        window=settings.window,
        augment=settings.augment,
        target=network,
        identity=network,
        triplet=settings.triplet,
        attack=AttackSettings(**stage, session_disjoint=True, denoiser_weight=settings.inversion.weight),
        run=settings.run,
    )
