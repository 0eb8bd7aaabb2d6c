"""People who make gestures in front of the simulated camera, or scenes in which nobody does, without end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, product
from typing import Any, Self

from eventveil.errors import ConfigError, EventError
from eventveil.events import EventPacket
from eventveil.replay.datasets.dvs_gesture import GESTURES
from eventveil.replay.playlist import Clip
from eventveil.replay.simulation.camera import Shot, simulate
from eventveil.replay.simulation.negatives import chosen, film_negative, label_of
from eventveil.replay.simulation.portable_random import PortableRandom
from eventveil.replay.simulation.scene import LIGHTINGS
from eventveil.replay.simulation.sensor_models import sensor_model

PARSERS: dict[str, Callable[[str], Any]] = {
    "seed": int,
    "subjects": int,
    "seconds": float,
    "distance": float,
    "camera_motion": float,
    "sensor": sensor_model,
    "negatives": chosen,
    "look": str,
}
MAX_SUBJECTS = 999


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedPeople:
    """The people in front of the camera, and the length of each gesture.

    In each round every person makes every gesture once; order, lights and variation are drawn from the seed. The
    default seed differs from that of `eventveil simulate`, so a network trained on the people of one meets strangers in
    the other.

    Attributes:
        seed: seed of people, room, sensor and order.
        subjects: number of people.
        seconds: length of one take.
        shot: the camera.
        negatives: kinds of scenes without a gesture, shown one after the other instead of the people; empty: none.

    Raises:
        ConfigError: a value is out of range.
    """

    seed: int = 1
    subjects: int = 6
    seconds: float = 4.0
    shot: Shot = Shot()  # noqa: RUF009 - frozen
    negatives: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.seed < 0 or not 1 <= self.subjects <= MAX_SUBJECTS or not 0.1 <= self.seconds <= 600:
            raise ConfigError(
                f"simulate: expected a seed from 0 on, 1 to {MAX_SUBJECTS} subjects and 0.1 to 600 seconds per "
                f"gesture, got seed={self.seed}, subjects={self.subjects}, seconds={self.seconds:g}"
            )

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> Self:
        """Parse the options after `simulate:?`.

        Raises:
            ConfigError: an option is unknown, cannot be read or is out of range.
        """
        values: dict[str, Any] = {}
        for key, text in options.items():
            if key not in PARSERS:
                raise ConfigError(f"simulate: unknown option {key!r}; known: {', '.join(PARSERS)}")
            try:
                values[key] = PARSERS[key](text)
            except EventError as error:
                raise ConfigError(f"simulate: {key}: {error}") from None
            except ValueError:
                raise ConfigError(f"simulate: {key}: expected a number, as in {key}=1, got {text!r}") from None
        shot: dict[str, Any] = {key: values.pop(key) for key in ("distance", "camera_motion", "look") if key in values}
        if (model := values.pop("sensor", None)) is not None:
            shot |= {"sensor": model.sensor, "pixels": model.pixels}
        try:
            return cls(**values, shot=Shot(**shot))
        except EventError as error:
            raise ConfigError(f"simulate: {error}") from None

    def takes(self) -> Iterator[Clip]:
        """Yield one take after another, without end."""
        for turn in count():
            yield from self._scenes(turn) if self.negatives else self._people(turn)

    def _people(self, turn: int) -> Iterator[Clip]:
        for subject, gesture in self._order(turn):
            yield Clip(
                open=partial(self._filmed, turn, subject, gesture),
                duration_us=round(self.seconds * 1e6),
                label=GESTURES[gesture],
                subject=f"user{subject:02d}",
            )

    def _scenes(self, turn: int) -> Iterator[Clip]:
        for kind in self.negatives:
            yield Clip(
                open=partial(self._filmed_negative, turn, kind),
                duration_us=round(self.seconds * 1e6),
                label=label_of(kind),
                subject="scene",
            )

    @contextmanager
    def _filmed(self, turn: int, subject: int, gesture: int) -> Iterator[Iterator[EventPacket]]:
        session = PortableRandom("stream", self.seed, turn, subject, gesture).pick(range(len(LIGHTINGS)))
        packets = simulate(
            self.seed,
            subject=subject,
            session=session,
            gesture=gesture,
            take=turn,
            seconds=self.seconds,
            shot=self.shot,
        )
        with _ahead(packets) as played:
            yield played

    @contextmanager
    def _filmed_negative(self, turn: int, kind: str) -> Iterator[Iterator[EventPacket]]:
        with _ahead(film_negative(self.seed, kind, take=turn, seconds=self.seconds, shot=self.shot)) as played:
            yield played

    def _order(self, turn: int) -> list[tuple[int, int]]:
        everything = product(range(1, self.subjects + 1), range(len(GESTURES)))
        return sorted(everything, key=lambda one: hashlib.sha256(f"{self.seed}/{turn}/{one}".encode()).digest())


@contextmanager
def _ahead(packets: Iterator[EventPacket]) -> Iterator[Iterator[EventPacket]]:
    with ThreadPoolExecutor(1, thread_name_prefix="simulated camera") as thread:
        yield _one_ahead(packets, thread)


def _one_ahead(packets: Iterator[EventPacket], thread: ThreadPoolExecutor) -> Iterator[EventPacket]:
    """Simulate the next packet while one is played; simulating between two packets would delay the second."""
    ahead = thread.submit(next, packets, None)
    while (packet := ahead.result()) is not None:
        ahead = thread.submit(next, packets, None)
        yield packet
