"""The settings of a pipeline. configs/replay.yaml and configs/live.yaml explain each key.

Unknown keys are refused; missing keys take the defaults given here.
"""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from eventveil.errors import EventError, EventVeilError
from eventveil.events import Sensor
from eventveil.host.addresses import parse_port, split_host_port
from eventveil.models import shipped
from eventveil.replay.player.player import Excerpt
from eventveil.replay.player.sources import RECORDING, SIMULATE, SourceUri
from eventveil.settings import Settings
from eventveil.stream.protocol.endpoints import dv_address, is_local
from eventveil.stream.protocol.wire import StreamName
from eventveil.stream.settings.models import AnonymizeSettings, ClassifySettings
from eventveil.stream.settings.watch import WatchSettings

MAX_SECONDS = 1e9  # 31 years; in microseconds, still far from the limits of int64
MAX_MS = 10**12  # as long, in milliseconds
MAX_COUNT = 1_000_000  # windows in a queue, or restarts a minute: libraries take numbers of 32 bits


def _sensor(value: object) -> Sensor | None:
    """Parse a sensor such as `346x260`."""
    if value is None or isinstance(value, Sensor):
        return value
    try:
        return Sensor.parse(str(value))
    except EventError as error:
        raise ValueError(str(error)) from error


def _speed(value: object) -> float | Literal["max"]:
    """Parse a factor, or `max`."""
    if value == "max":
        return "max"
    try:
        speed = float(str(value))
    except ValueError:
        speed = math.nan
    if not 0.1 <= speed <= 100:
        raise ValueError(f"expected a factor from 0.1 to 100, such as 1.0, or max, got {value!r}")
    return speed


class SceneSettings(Settings):
    """How the camera is mounted, and how its view is fitted to that of the training data."""

    rotate: Literal[0, 90, 180, 270] = 0
    mirror: bool = False
    crop: Literal["centre", "all"] | tuple[int, int, int, int] = "centre"
    pixels: Literal["trained", "all"] = "trained"
    swap_polarity: bool = False
    hot_pixels: Literal["auto", "off", "mask", "anew"] = "auto"
    hot_pixels_days: float | None = Field(default=None, ge=0, le=36_500)
    noise_us: int | None = Field(default=None, ge=1, le=10_000_000)


class CameraSettings(Settings):
    """How a live camera is opened, reconnected and configured."""

    wait: bool = False
    reconnect_s: float = Field(default=60.0, ge=0, le=MAX_SECONDS)
    quiet_ms: int = Field(default=100, ge=1, le=60_000)
    biases: dict[str, int] = Field(default_factory=dict)
    roi: tuple[int, int, int, int] | None = None
    max_event_rate: int | None = Field(default=None, ge=1, le=1_000_000_000)


class SourceSettings(Settings):
    """One source of the pipeline: a recording, a dataset, a simulated camera or a live one."""

    uri: str
    stream: StreamName = "0"
    sensor: Annotated[Sensor | None, BeforeValidator(_sensor)] = None
    on_disorder: Literal["raise", "sort", "clip"] = "raise"
    on_damage: Literal["stop", "skip"] = "stop"
    speed: Annotated[float | Literal["max"], BeforeValidator(_speed)] = 1.0
    start_s: float = Field(default=0.0, ge=0, le=MAX_SECONDS)
    stop_s: float | None = Field(default=None, gt=0, le=MAX_SECONDS)
    loop: bool = False
    gap_s: float = Field(default=0.5, ge=0, le=3600)
    shuffle: bool = False
    seed: int | None = None
    camera: CameraSettings = CameraSettings()
    scene: SceneSettings = SceneSettings()

    @field_validator("uri")
    @classmethod
    def _is_known(cls, uri: str) -> str:
        try:
            SourceUri.parse(uri)
        except EventVeilError as error:
            raise ValueError(str(error)) from None
        return uri

    @model_validator(mode="after")
    def _fits_the_source(self) -> Self:
        if self.stop_s is not None and self.stop_s <= self.start_s:
            raise ValueError(f"expected stop_s after start_s, got {self.stop_s:g} and {self.start_s:g}")
        if self.shuffle and not self.where.is_dataset:
            raise ValueError(f"shuffle is for the trials of a dataset, and {self.uri!r} is not a dataset; leave it out")
        if self.seed is not None and not self.shuffle:
            raise ValueError("seed sets only the order of shuffled trials; give shuffle, too, or leave it out")
        if self.loop and self.where.kind == SIMULATE:
            raise ValueError("simulate: never ends; leave loop out")
        if self.camera != CameraSettings() and not self.where.is_camera:
            raise ValueError(f"camera is for live cameras, such as dv://, and {self.uri!r} is not one; leave it out")
        if self.on_damage != "stop" and self.where.kind != RECORDING:
            raise ValueError(f"on_damage is for recordings, and {self.uri!r} is not one; leave it out")
        return self

    @model_validator(mode="after")
    def _fits_a_camera(self) -> Self:
        if not self.where.is_camera:
            return self
        for key, is_set, why in (
            ("sensor", self.sensor is not None, "a live camera reports its own geometry"),
            ("on_disorder", self.on_disorder != "raise", "times of a live camera are always corrected, and counted"),
            ("speed", self.speed != 1.0, "a live camera runs in real time"),
            ("start_s", self.start_s > 0, "a live camera starts when it is opened"),
            ("loop", self.loop, "a live camera never ends"),
        ):
            if is_set:
                raise ValueError(f"{why}; leave {key} out for {self.uri!r}")
        return self

    @cached_property
    def where(self) -> SourceUri:
        """The parsed URI."""
        return SourceUri.parse(self.uri)

    @property
    def excerpt(self) -> Excerpt:
        """The part of the source that is played."""
        return Excerpt(
            start_us=round(self.start_s * 1e6),
            stop_us=None if self.stop_s is None else round(self.stop_s * 1e6),
            gap_us=round(self.gap_s * 1e6),
            loop=self.loop,
        )


class WindowSettings(Settings):
    """How events become windows. None takes the value from the anonymizer's weights."""

    mode: Literal["windows", "recording"] | None = None
    bins: int | None = Field(default=None, ge=1)
    bin_us: int | None = Field(default=None, ge=1)
    hop: int | None = Field(default=None, ge=1)
    size: tuple[int, int] | None = None


class PublishSettings(Settings):
    """The public endpoint, the folder of keys that encrypts it, and what is published there."""

    bind: str = "tcp://127.0.0.1:5556"
    keys: Path | None = None
    events: bool = False
    serve: str | None = None
    wait_for: int = Field(default=0, ge=0)
    queue: int = Field(default=64, ge=1, le=MAX_COUNT)

    @field_validator("bind")
    @classmethod
    def _endpoint(cls, value: str) -> str:
        if value.startswith("ipc://") and value not in ("ipc://", "ipc://*"):  # no path, or one that libzmq invents
            return value
        # ZeroMQ takes a port modulo 65,536: with a mistyped one, it would silently publish somewhere else.
        host, port = split_host_port(value.removeprefix("tcp://"))
        if not value.startswith("tcp://") or not host or "/" in host or (port != "*" and parse_port(port) is None):
            raise ValueError(f"expected tcp://HOST:PORT or ipc://PATH, got {value!r}")
        return value

    @field_validator("serve")
    @classmethod
    def _is_of_this_machine(cls, value: str | None) -> str | None:
        if value is not None:
            dv_address(value)
        return value

    @model_validator(mode="after")
    def _can_be_served(self) -> Self:
        if self.serve is None:
            return self
        if not self.events:
            raise ValueError(f"serve passes the published events on as {self.serve}: set publish.events: true, too")
        if self.keys is not None or self.bind.endswith(":*"):
            raise ValueError(
                f"serve subscribes to {self.bind} without keys and at a known port: change publish.bind and leave "
                "publish.keys out, or serve with `eventveil subscribe --serve`, which takes keys"
            )
        return self

    @model_validator(mode="after")
    def _others_need_keys(self) -> Self:
        if self.keys is None and not is_local(self.bind):
            raise ValueError(
                f"other machines can reach {self.bind}, and without keys anyone could subscribe: create keys with "
                "`eventveil keys new keys` and set publish.keys: keys, or stay on this machine, with tcp://127.0.0.1:5556"
            )
        return self


class LineSettings(Settings):
    """How the stages run, and what happens when one of them is too slow."""

    delivery: Literal["lossless", "live"] = "lossless"
    run_as: Literal["threads", "processes"] = "threads"
    queue: int = Field(default=4, ge=1, le=MAX_COUNT)
    max_age_ms: int = Field(default=1000, ge=1, le=MAX_MS)
    release_ms: int = Field(default=250, ge=1, le=MAX_MS)
    restarts: int = Field(default=3, ge=0, le=MAX_COUNT)
    hang_s: float = Field(default=5.0, ge=0.5, allow_inf_nan=True)  # inf: a silent stage is never restarted
    runtime_dir: Path | None = None

    @model_validator(mode="after")
    def _are_released_in_time(self) -> Self:
        if self.delivery == "live" and self.release_ms > self.max_age_ms:
            raise ValueError(
                f"in live delivery, windows older than max_age_ms ({self.max_age_ms}) are dropped, and release_ms "
                f"({self.release_ms}) would hold them longer; give release_ms of at most max_age_ms"
            )
        return self

    @field_validator("runtime_dir", mode="before")
    @classmethod
    def _is_a_folder(cls, value: object) -> object:
        # It holds the sockets for raw windows. They have no address, and an address is not taken for a folder's name.
        if isinstance(value, str) and "://" in value:
            raise ValueError(f"expected a folder for the sockets of raw windows, never an address; got {value!r}")
        return value


class PipelineSettings(Settings):
    """Everything that `eventveil run` needs."""

    sources: tuple[SourceSettings, ...]
    window: WindowSettings = WindowSettings()
    anonymize: AnonymizeSettings = AnonymizeSettings()
    classify: ClassifySettings = ClassifySettings()
    publish: PublishSettings = PublishSettings()
    line: LineSettings = LineSettings()
    watch: WatchSettings = WatchSettings()

    @model_validator(mode="before")
    @classmethod
    def _finds_shipped_weights(cls, values: Any) -> Any:
        """Put the files of weights that ship in place of their name, as in `anonymize: {weights: shipped}`."""
        if not isinstance(values, dict):
            return values
        groups = {key: values.get(key) or {} for key in ("anonymize", "classify")}
        name = groups["anonymize"].get("weights") if isinstance(groups["anonymize"], dict) else None
        if not isinstance(name, (str, Path)) or not shipped.is_name(Path(name)):
            return values
        for (key, group), path in zip(groups.items(), shipped.files_of(Path(name)), strict=False):
            if key == "anonymize" or (isinstance(group, dict) and group.get("weights") is None):
                values = {**values, key: {**group, "weights": path}}
        return values

    @field_validator("sources")
    @classmethod
    def _have_unique_names(cls, sources: tuple[SourceSettings, ...]) -> tuple[SourceSettings, ...]:
        if not sources:
            raise ValueError("expected at least one source, got none")
        names = [source.stream for source in sources]
        if len(set(names)) != len(names):
            raise ValueError(f"every source needs its own stream name, got {names}")
        return sources

    @model_validator(mode="after")
    def _serves_one_source(self) -> Self:
        if self.publish.serve is not None and len(self.sources) > 1:
            raise ValueError(
                f"publish.serve: a DV stream holds one camera, and there are {len(self.sources)} sources; play one"
            )
        return self

    @model_validator(mode="after")
    def _can_be_viewed(self) -> Self:
        if self.watch.view is not None and (self.publish.keys is not None or self.publish.bind.endswith(":*")):
            raise ValueError(
                f"watch.view subscribes to {self.publish.bind} without keys and at a known port: change publish.bind "
                "and leave publish.keys out, or run `eventveil view`, which takes keys"
            )
        return self
