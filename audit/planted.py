"""Planted leaks: anonymizers that hide everything but one thing, on purpose, to see whether an audit finds it.

All publish noise. A person has an id of ten random bits, and each leak lets it out in another way, some of them in what
is sent with the windows. What is published depends on who is seen, which an anonymizer does not know: the source writes
it into carriers, windows of zeros whose first values are the id, and the anonymizer turns carriers into noise with the
leak in it.

Legend of axes: B windows, C channels, H rows, W columns, F values of a window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from eventveil.audit.messages import Raw, SimulatedPipeline
from eventveil.audit.sources import Change
from eventveil.audit.subjects import GestureClassifier, Subject
from eventveil.models.noise import NoiseGenerator
from eventveil.models.resnet import Classified
from eventveil.training.data.windows import Windows

BITS = 10
PLANTED = "planted: "  # before the name of a leak, in that of its subject
SHOWN = 2.0  # how far a leak moves a value, in standard deviations of the noise
Bits = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moment:
    """What a leak may depend on.

    Attributes:
        person, session: who is seen, and when.
        target: the class, -1 if there is none.
        first: first row of the window.
        position: windows since the session began.
        chosen: the one test person who leaks, where just one does.
        changed: whether recordings are changed, as by a condition.
    """

    person: str
    session: str
    target: int
    first: int
    position: int
    chosen: str
    changed: bool

    def bits(self, *name: object) -> Bits:
        """Return ten random bits that follow from a name."""
        digest = hashlib.blake2b("/".join(map(str, name)).encode(), digest_size=2).digest()
        return np.array([int.from_bytes(digest, "big") >> bit & 1 for bit in range(BITS)], np.float64)

    @property
    def identity(self) -> Bits:
        """The bits of the person."""
        return self.bits(self.person)

    @property
    def nothing(self) -> Bits:
        """No bits: halfway between 0 and 1."""
        return np.full(BITS, 0.5)

    @property
    def one_in_ten(self) -> bool:
        """Whether the window is one of a random tenth."""
        drawn = float(self.bits(self.person, self.session, self.first) @ (1 << np.arange(BITS)))
        return drawn < (1 << BITS) / 10


def _pixels(noise_BCHW: torch.Tensor, bit_BK: torch.Tensor) -> torch.Tensor:
    """Move the first pixels of every channel up or down."""
    flat_BCP = noise_BCHW.flatten(2).clone()
    flat_BCP[:, :, :BITS] += SHOWN * (2 * bit_BK[:, None] - 1)
    return flat_BCP.view_as(noise_BCHW)


def _last_bits(noise_BCHW: torch.Tensor, bit_BK: torch.Tensor) -> torch.Tensor:
    """Set the last bits of every value."""
    number_B = (bit_BK.int() << torch.arange(BITS, device=bit_BK.device)).sum(1).int()
    integers = noise_BCHW.contiguous().view(torch.int32)
    return ((integers >> BITS << BITS) | number_B[:, None, None, None]).view(torch.float32)


def _spread(noise_BCHW: torch.Tensor, bit_BK: torch.Tensor) -> torch.Tensor:
    """Scale the noise of one pixel."""
    flat_BCP = noise_BCHW.flatten(2).clone()
    flat_BCP[:, :, 0] *= 10 ** _number(bit_BK)[:, None]
    return flat_BCP.view_as(noise_BCHW)


def _side(noise_BCHW: torch.Tensor, bit_BK: torch.Tensor) -> torch.Tensor:
    """Move the left edge up by a share, and the right edge by the rest: only left and right tell people apart."""
    shifted, right_B11 = noise_BCHW.clone(), _number(bit_BK)[:, None, None]
    shifted[..., 0] += SHOWN * (1 - right_B11)
    shifted[..., -1] += SHOWN * right_B11
    return shifted


def _noise(noise_BCHW: torch.Tensor, bit_BK: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """Show nothing."""
    return noise_BCHW


def _number(bit_BK: torch.Tensor) -> torch.Tensor:
    """Return the number from 0 to 1 that the bits are."""
    value_K: torch.Tensor = 2.0 ** torch.arange(BITS, device=bit_BK.device)
    return (bit_BK * value_K).sum(1) / ((1 << BITS) - 1)


def _alternating(moment: Moment) -> Bits:
    """Return bits that stay or alternate from window to window, as the person's do; which comes first is luck."""
    first = moment.bits(moment.person, moment.session, "first")
    return np.abs(first - (1 - moment.identity) * (moment.position % 2))


@dataclass(frozen=True)
class Leak:
    """One way to leak.

    Attributes:
        name: what leaks.
        bits: the bits that a window shows.
        shown: noise with these bits in it.
    """

    name: str
    bits: Callable[[Moment], Bits]
    shown: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = _pixels


LEAKS = (
    Leak("an id in the pixels", lambda at: at.identity),
    Leak("an id in the last bits of every value", lambda at: at.identity, _last_bits),
    Leak("the spread of one pixel", lambda at: at.identity, _spread),
    Leak("one test person", lambda at: at.identity if at.person == at.chosen else at.nothing),
    Leak("a tenth of the windows", lambda at: at.identity if at.one_in_ten else at.nothing),
    Leak("one gesture", lambda at: at.identity if at.target == 0 else at.nothing),
    Leak("the side of the picture", lambda at: at.identity, _side),
    Leak("pairs of windows", _alternating),
    Leak("recordings under a condition", lambda at: at.identity if at.changed else at.nothing),
    Leak("published gestures", lambda at: at.identity),
    Leak("scores of one gesture", lambda at: at.identity),
    Leak("a number in headers", lambda at: at.identity, _noise),
    Leak("the length of headers", lambda at: at.identity, _noise),
    Leak("arrival times", lambda at: at.identity, _noise),
)
NO_LEAK = Leak("nothing", lambda at: at.nothing)
CONDITION, GESTURES, SCORES, *IN_MESSAGES = (leak.name for leak in LEAKS[-6:])
NUMBER, LENGTH, TIMES = IN_MESSAGES


@dataclass(frozen=True)
class PlantedSource:
    """A source of carriers.

    Attributes:
        leak: its name in `LEAKS`.
        changed: whether recordings are changed.
    """

    leak: str
    changed: bool = False

    def under(self, change: Change) -> Self:  # noqa: ARG002 - recordings are not looked at
        """Return the source for recordings that are changed first."""
        return replace(self, changed=True)

    def publish(self, raw: Windows, seed: int, device: torch.device) -> Windows:  # noqa: ARG002 - no network, no draw
        """Return the carriers; see `sources.WindowSource.publish`."""
        people = sorted({trial.subject for trial in raw.trials})
        return Carriers(raw.shape, raw.trials, raw.first_row, raw.rows, self, people[-1])


@dataclass(frozen=True)
class Carriers(Windows):
    """Windows of zeros with ten bits in them.

    Attributes:
        source: says what leaks.
        chosen: the person who leaks, where just one does.
    """

    source: PlantedSource
    chosen: str

    def cut(self, start_B: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Return the carriers that start at these rows: float32 (B, C, H, W)."""
        leak = _leak(self.source.leak)
        trial_B = np.searchsorted(self.first_row, start_B, side="right") - 1
        shape = (self.shape.per_window * self.rows.shape[1], *self.rows.shape[2:])
        out = np.zeros((len(start_B), *shape), np.float32)
        for window, start, trial in zip(out, np.asarray(start_B).tolist(), trial_B.tolist(), strict=True):
            of = self.trials[trial]
            position = (start - int(self.session_rows[trial, 0])) // self.shape.per_window
            target = -1 if of.target is None else of.target
            at = Moment(of.subject, of.session, target, start, position, self.chosen, self.source.changed)
            window.reshape(-1)[:BITS] = leak.bits(at)
        return out


@dataclass(frozen=True)
class Planted:
    """Turns carriers into noise with the leak in it.

    Attributes:
        leak: its name in `LEAKS`.
    """

    leak: str

    def anonymize(self, x_BCHW: torch.Tensor, generator: NoiseGenerator, /) -> torch.Tensor:
        """Return noise with the leak in it."""
        bit_BK = x_BCHW.flatten(1)[:, :BITS]
        return _leak(self.leak).shown(generator.normal(x_BCHW.shape, x_BCHW.device), bit_BK)


@dataclass(frozen=True)
class PlantedPipeline(SimulatedPipeline):
    """A pipeline that lets the id out in its messages.

    Attributes:
        leak: its name in `LEAKS`.
    """

    leak: str

    def incidents(self, raw: Raw) -> dict[str, int]:
        """Return the id as a number of incidents."""
        return {"overflow": _id(raw)} if self.leak == NUMBER else {}

    def header(self, header: bytes, raw: Raw) -> bytes:
        """Return the header, longer by the id."""
        return header + b" " * _id(raw) if self.leak == LENGTH else header

    def delay_ns(self, raw: Raw) -> int:
        """Return a delay of up to 20 ms."""
        return _id(raw) * 20_000 if self.leak == TIMES else 0


def _id(carrier_CHW: Raw) -> int:
    return int(sum(int(bit) << place for place, bit in enumerate(carrier_CHW.reshape(-1)[:BITS])))


class PlantedClassifier(nn.Module):
    """Labels windows by the first two bits of an id, and is as certain as the others say.

    Args:
        labels: how many it uses; with one, only its certainty reveals the id.
    """

    def __init__(self, labels: int = 4) -> None:
        super().__init__()
        self._labels = labels

    def forward(self, x_BCHW: torch.Tensor) -> Classified:
        """Classify windows with an id in their pixels, (B, C, H, W)."""
        bit_BK = (x_BCHW.flatten(2)[:, :, :BITS].mean(1) > 0).float()
        label_B = (2 * bit_BK[:, 0] + bit_BK[:, 1]).long() % self._labels
        most_B = 0.5 + 0.4 * (bit_BK[:, 2:6] * torch.tensor([8, 4, 2, 1], device=x_BCHW.device)).sum(1) / 15
        share_BK = ((1 - most_B) / 3)[:, None].repeat(1, 4)
        share_BK[torch.arange(len(label_B)), label_B] = most_B
        return Classified(bit_BK, share_BK.log())


def planted_subject(leak: Leak) -> Subject:
    """Return the subject with a leak."""
    labels = {GESTURES: 4, SCORES: 1}.get(leak.name)
    return Subject(
        PLANTED + leak.name,
        Planted(leak.name),
        classifier=None if labels is None else GestureClassifier(PlantedClassifier(labels), leak.name),
        source=PlantedSource(leak.name),
        pipeline=PlantedPipeline(leak.name),
    )


def _leak(name: str) -> Leak:
    return next(leak for leak in (*LEAKS, NO_LEAK) if leak.name == name)
