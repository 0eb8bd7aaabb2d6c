"""The metadata of a weights file."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveInt, model_validator

from eventveil.models.kinds import KINDS, KindName, Representation, Role, describe

if TYPE_CHECKING:
    from torch import nn

FORMAT_VERSION = 1

Label = Annotated[str, Field(max_length=256, pattern=r"^\P{Cc}*$")]
"""A class name as published headers may hold it: they are printed on terminals."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Digests(BaseModel):
    """SHA-256 of the tensors (None until the file is written) and of the audit certificate, if there is one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensors: Sha256 | None = None
    certificate: Sha256 | None = None


class TrainedScene(BaseModel):
    """Properties of the training windows, so that a camera can be set up to match them.

    Attributes:
        field: width and height of the area that a window showed, in pixels of the camera.
        density: events per pixel of the window, summed over bins and polarities: the 1st, 50th and 99th percentile of
            the training windows. None where windows are not counts.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: tuple[PositiveInt, PositiveInt] | None = None
    density: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] | None = None

    @model_validator(mode="after")
    def _is_ascending(self) -> Self:
        if self.density is not None and list(self.density) != sorted(self.density):
            raise ValueError("density is three numbers in ascending order")
        return self


class Metadata(BaseModel):
    """Everything needed to rebuild the network of a weights file, and the windows that it takes.

    Attributes:
        format_version: version of this list of keys.
        kind, config: the network and its config, as `kinds.build` takes them.
        role: the purpose of the network.
        labels: class names of a classifier, in order; an identity classifier may omit them.
        representation: histogram, C = 2 * bins channels, or voxel, C = bins.
        mode: windows of a fixed span, or the whole recording in `bins` bins.
        bins: bins in a window.
        bin_us: length of a bin in microseconds; None in recording mode.
        hop: bins from one window to the next; None in recording mode.
        size: width and height of a window in pixels.
        box: whether a window is the box around its events, see `stream.histogram.event_box`.
        clock: step of the clock by which whole recordings are divided into bins, see `WindowedHistogrammer`.
        trained: False for weights that were only initialised.
        digests: digests of the tensors, and of the audit certificate.
        scene: properties of the training windows; None where unknown.
        note: origin of the weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    kind: KindName
    config: dict[str, Any]
    role: Role
    labels: tuple[Label, ...] = ()
    representation: Representation = "histogram"
    mode: Literal["windows", "recording"] = "windows"
    bins: PositiveInt = 5
    bin_us: PositiveInt | None = None
    hop: PositiveInt | None = None
    size: tuple[PositiveInt, PositiveInt] = (128, 128)
    box: Literal["events", "square"] | None = None
    clock: Literal["us", "ms"] = "us"
    trained: bool
    digests: Digests = Digests()
    scene: TrainedScene | None = None
    note: str = ""

    @classmethod
    def of(cls, model: nn.Module, **rest: Any) -> Self:
        """Describe `model`, with kind and config taken from it and the other keys from `rest`.

        Raises:
            pydantic.ValidationError: a key is missing, unknown, out of range or contradicts the model.
            TypeError: the network is of no kind in `KINDS`.
        """
        kind, config = describe(model)
        return cls(kind=kind, config=config, **rest)  # type: ignore[arg-type]  # pydantic checks the name

    @property
    def identity(self) -> str:
        """SHA-256 that identifies the weights everywhere, in hexadecimal: of all that decides what they do to events.

        That is kind, config, role, labels, the windows, the scene, which decides what part of a camera's view they show
        in which resolution, and the tensors. A certificate names it, so it also covers a noise bound or a decision
        rule, which no tensor holds. Keys with their default value do not count, so a key that a later version adds does
        not change the identity of earlier files.
        """
        rest = {"format_version", "trained", "digests", "note"}
        named = self.model_dump(mode="json", exclude=rest, exclude_defaults=True) | {"tensors": self.digests.tensors}
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()

    @property
    def channels(self) -> int:
        """Channels of a window: one per bin, in a histogram one per bin and polarity."""
        return self.bins * 2 if self.representation == "histogram" else self.bins

    @property
    def window_shape(self) -> tuple[int, ...]:
        """Shape of a raw window: (bins, 2, H, W) for a histogram, (bins, H, W) for a voxel grid."""
        width, height = self.size
        return (self.bins, 2, height, width) if self.representation == "histogram" else (self.bins, height, width)

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        kind = KINDS[self.kind]
        if self.role not in kind.roles:
            raise ValueError(f"role of {self.kind} is {' or '.join(kind.roles)}, not {self.role}")
        if self.representation not in kind.representations:
            raise ValueError(f"{self.kind} takes {' or '.join(kind.representations)} windows")
        if self.config.get("channels") != self.channels:
            raise ValueError(f"{self.bins} bins of a {self.representation} are {self.channels} channels, unlike config")
        if self.kind == "resnet_classifier":
            self._labels_name_the_classes()
        elif self.labels:
            raise ValueError(f"labels are for a classifier, not for {self.kind}")
        if (self.mode == "windows") != (self.bin_us is not None) or (self.bin_us is None) != (self.hop is None):
            raise ValueError("mode windows needs bin_us and hop, mode recording takes neither")
        return self

    def _labels_name_the_classes(self) -> None:
        unnamed = self.role == "identity" and not self.labels
        if len(self.labels) != self.config.get("classes") and not unnamed:
            raise ValueError(f"{self.config.get('classes')} classes need that many labels, got {len(self.labels)}")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("two labels are the same")
