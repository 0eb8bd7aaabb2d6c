"""The settings of training. The files in configs/train/ explain each key.

Unknown keys are refused; missing keys take the defaults given here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from eventveil.replay.datasets.see_frames import FRAME_US
from eventveil.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Label = Literal["target", "identity"]
CLOCK_US = {"us": 1, "ms": 1000, "frames": FRAME_US}


class SimulateSettings(Settings):
    """A simulated dataset to generate first, as the commands of `eventveil simulate` do, and series of gestures."""

    subjects: int = Field(default=29, ge=2, le=999)
    sessions: int = Field(default=4, ge=1, le=5)
    seconds: float = Field(default=6.0, ge=0.1, le=600)
    looks: Annotated[tuple[str, ...], Field(min_length=1)] = ("plain",)
    visits: bool = False
    series: int = Field(default=0, ge=0, le=999)
    series_seconds: float = Field(default=2.0, ge=0.1, le=60)
    scenes: int = Field(default=0, ge=0, le=999)
    scene_seconds: float = Field(default=6.0, ge=0.1, le=600)
    seed: NonNegativeInt = 0

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.visits and self.seconds < 15:
            raise ValueError(
                f"expected visits of 15 seconds or more, got {self.seconds:g}; shorter ones may show nobody"
            )
        if (self.scenes or self.series) and not self.visits:
            raise ValueError("scenes and series belong to visits: set visits to true, or scenes and series to 0")
        if self.series == 1 or self.subjects + self.series > 999:
            raise ValueError(
                "series are of two people or more, one of them for tests, and of at most 999 together with subjects, "
                f"got {self.series} and {self.subjects}"
            )
        if self.scenes == 1:
            raise ValueError("expected two scenes of each kind or more, one of them for tests; got 1")
        return self


class DataSettings(Settings):
    """Which trials to use, and how people are split into train, val and test."""

    root: Path | None = None
    simulate: SimulateSettings | None = None
    split: Path | None = None
    val_people: NonNegativeInt = 4
    test_people: PositiveInt | None = None
    seed: NonNegativeInt = 0
    queries: Path | None = None
    gallery: Path | None = None
    cache: Path | None = None
    workers: NonNegativeInt = 0

    @model_validator(mode="after")
    def _names_a_source(self) -> Self:
        if self.root is None and self.simulate is None:
            raise ValueError("expected root, the folder of a dataset, or simulate, to make one; got neither")
        if self.gallery is not None and self.queries is None:
            raise ValueError("gallery: expected queries, too, the list that it belongs to")
        return self


class TrainingWindowSettings(Settings):
    """How trials are cut into windows."""

    mode: Literal["windows", "recording", "voxel"] = "windows"
    bins: PositiveInt = 5
    bin_us: PositiveInt | None = None
    size: tuple[PositiveInt, PositiveInt] = (128, 128)
    crop: tuple[int, int, int, int] | Literal["events", "square"] | None = None
    offsets: PositiveInt = 4
    per_trial: PositiveInt = 1
    straddle: Share = 0.0
    hop: PositiveInt | None = None
    clock: Literal["us", "ms", "frames"] = "us"

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.clock != "us" and self.mode != "recording":
            raise ValueError(f"clock {self.clock} is for mode recording only: set clock to us")
        if (self.mode == "recording") != (self.bin_us is None):
            raise ValueError("mode recording divides the trial into its bins and takes no bin_us; the others need one")
        if self.mode != "windows" and self.straddle:
            raise ValueError("only windows of mode windows can straddle trials: set straddle to 0")
        if isinstance(self.crop, str) and self.mode == "windows":
            raise ValueError(f"crop {self.crop}, the box around a window's events, is for modes recording and voxel")
        return self


class AugmentSettings(Settings):
    """How training windows are augmented; the defaults are those of AnonyNoise for gestures.

    Attributes:
        padding: share of width and height by which a window is padded with zeros before it is cropped to its size.
        rotation_deg: largest rotation in either direction.
        mirror: flip half of the windows horizontally, and their targets accordingly.
    """

    padding: Share = 1 / 12
    rotation_deg: float = Field(default=15.0, ge=0, le=180)
    mirror: bool = False


class AnonymizerSettings(Settings):
    """The anonymizer."""

    kind: str = "anonynoise"
    config: dict[str, Any] = Field(default_factory=dict)


class ClassifierSettings(Settings):
    """A ResNet that classifies the target or identity; attackers use it too."""

    depth: Literal[18, 34, 50] = 50
    # Below 8, the backward pass of a ResNet's shortcuts (1x1, stride 2, channels last) writes out of bounds in
    # PyTorch 2.13 on CPUs whose widest vector extension is AVX2.
    width: int = Field(default=64, ge=8)
    embedding: PositiveInt = 512
    logarithm: bool = False
    last_stride: Literal[1, 2] = 2
    dropout: float = Field(default=0.5, ge=0, lt=1)
    backbone: Path | None = None


class ScheduleSettings(Settings):
    """Learning rate, weight decay and clipping of one network."""

    lr: PositiveFloat = 1e-4
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    step_epochs: PositiveInt = 100
    factor: PositiveFloat = 0.5
    weight_decay: NonNegativeFloat = 0.01
    clip: PositiveFloat | None = None


class TripletSettings(Settings):
    """The triplet loss of identity networks."""

    margin: PositiveFloat = 4.0
    normalise: bool = False
    alone: Literal["drop", "keep"] = "drop"


class StageSettings(ScheduleSettings):
    """A stage that trains a single network."""

    epochs: PositiveInt = 200


class ObjectiveSettings(Settings):
    """The objective of the anonymizer, and its weights."""

    name: str = "target-triplet"
    weight: NonNegativeFloat = 1.0
    alpha: NonNegativeFloat = 1.0
    beta: NonNegativeFloat = 1.0
    gamma: NonNegativeFloat = 1.0
    rate_weight: NonNegativeFloat = 0.0


class AdversarialSettings(Settings):
    """The stage that trains the anonymizer against adversaries."""

    epochs: PositiveInt = 300
    keep: Label = "target"
    objective: ObjectiveSettings = ObjectiveSettings()
    anonymizer: ScheduleSettings = ScheduleSettings(lr=5e-4)
    helpers: ScheduleSettings = ScheduleSettings(lr=1e-3, schedule="step")
    helper_steps: PositiveInt = 1
    adversaries: NonNegativeInt = 1
    restart_every: PositiveInt | None = None
    normalise: bool = False
    reconstruction: Path | None = None
    from_pretrained: bool = True
    best_by: Literal["trade-off", "last"] = "trade-off"

    @model_validator(mode="after")
    def _restarts_what_there_is(self) -> Self:
        if self.restart_every is not None and not self.adversaries:
            raise ValueError("restart_every restarts adversaries, but there are 0: set restart_every to null")
        return self


class AttackSettings(StageSettings):
    """Attackers on the output of a frozen anonymizer.

    Attributes:
        begin_from: `from` in files: the weights that attackers start from.
        inversion: instead of labels, attack pictures, made of raw windows that a denoiser restores.
    """

    begin_from: Literal["fresh", "pretrained", "pipeline"] = Field(default="fresh", alias="from")
    against: tuple[str, ...] = ("anonymizer",)
    of: tuple[Label, ...] = ("target", "identity")
    denoiser: bool = False
    inversion: bool = False
    denoiser_weight: NonNegativeFloat = 1.0
    session_disjoint: bool = False
    unmatched: Literal["drop", "miss"] = "drop"
    mirror: Literal["published", "raw"] = "published"
    seed: NonNegativeInt = 0
    weights: Path | None = None

    @field_validator("against", "of")
    @classmethod
    def _not_empty_and_unique(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) < len(value):
            raise ValueError(f"expected at least one entry and no duplicates, got {list(value)}")
        return value

    @model_validator(mode="after")
    def _uses_one_denoiser(self) -> Self:
        if self.denoiser and self.inversion:
            raise ValueError("inversion trains a denoiser alone, and denoiser one with attackers: set one to false")
        return self

    @model_validator(mode="after")
    def _starts_where_it_can(self) -> Self:
        if self.begin_from == "pipeline" and self.weights is not None:
            raise ValueError("from pipeline starts from the networks of this run's stage 2; leave weights out")
        return self


class RunSettings(Settings):
    """Device, precision, saving, validation and retention; of these, only the precision affects what is learned."""

    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda)$")
    precision: Literal["fp32", "bf16"] = "fp32"
    save_every_s: PositiveFloat = 300.0
    validate_every: PositiveInt = 1
    tensorboard: bool = True
    pictures: bool = True
    keep_windows: bool = True


class TrainSettings(Settings):
    """All settings of `eventveil train`."""

    seed: NonNegativeInt = 0
    batch: int = Field(default=32, ge=2)
    people_per_batch: PositiveInt | None = None
    last_batch: Literal["drop", "keep"] = "drop"
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    data: DataSettings
    window: TrainingWindowSettings
    augment: AugmentSettings = AugmentSettings()
    anonymizer: AnonymizerSettings = AnonymizerSettings()
    target: ClassifierSettings = ClassifierSettings()
    identity: ClassifierSettings = ClassifierSettings()
    triplet: TripletSettings = TripletSettings()
    pretrain: StageSettings = StageSettings()
    adversarial: AdversarialSettings = AdversarialSettings()
    attack: AttackSettings = AttackSettings(lr=1e-4)
    run: RunSettings = RunSettings()

    @field_validator("people_per_batch")
    @classmethod
    def _divides_the_batch(cls, value: int | None, info: Any) -> int | None:
        if value is not None and info.data.get("batch", value) % value:
            raise ValueError(f"expected a number that divides the batch, got {value}")
        return value

    @model_validator(mode="after")
    def _chooses_an_epoch(self) -> Self:
        if self.data.val_people == 0 and self.adversarial.best_by == "trade-off":
            raise ValueError(
                "adversarial.best_by: trade-off chooses an epoch on validation people, but data.val_people is 0; set "
                "best_by to last"
            )
        return self
