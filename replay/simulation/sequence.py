"""A visit to the camera: a person comes, stands about, makes gestures, and leaves.

Trials that hold one gesture from end to end teach a network that there always is one. Here gestures begin at any
moment, follow each other with or without a rest, and are a part of what people do. Each moment has a label: a gesture,
`NO_GESTURE` while the person does something else, `NOBODY` while the person is out of the picture.

Source of the idea: Bhattacharyya et al., Helios 2.0 (arXiv 2503.07825), trained on simulated sequences alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from eventveil.replay.datasets.dvs_gesture import GESTURES, NO_GESTURE, NOBODY
from eventveil.replay.simulation.acts import EVERYDAY, Act, Gesture, Lower, Motion, Walk, everyday, smooth
from eventveil.replay.simulation.person import Person
from eventveil.replay.simulation.portable_random import Floats, PortableRandom

BLEND_S = 0.4  # in which a person goes over from one act to the next
LEAVING_S = 6.0  # enough for a gesture, or for the way out of the picture
REACH_M = 0.45  # from the middle of a person to the hand that hangs or swings


@dataclass(frozen=True, slots=True)
class Part:
    """One act of a visit, with its label, from `begin_s` to `end_s`."""

    act: Act
    label: str
    begin_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class Labelled:
    """A span of a recording in which one label holds, microseconds; the end is excluded."""

    label: str
    start_us: int
    end_us: int


class Visit:
    """What one person does from beginning to end.

    Attributes:
        parts: the acts, in order, each beginning where the one before ends.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    def at(self, t_s: Floats) -> Motion:
        """Return the motion at the times `t_s` (n,), which increase, with soft transitions between the acts."""
        number = np.searchsorted([part.begin_s for part in self.parts[1:]], t_s, side="right")
        motions = [self._of_part(int(k), t_s[number == k]) for k in np.unique(number)]
        hands = [np.concatenate(hand) for hand in zip(*(paths for paths, _, _ in motions), strict=True)]
        beat = np.concatenate([beat for _, beat, _ in motions])
        place = np.concatenate([place for _, _, place in motions])
        return (hands[0], hands[1]), beat, place

    def _of_part(self, k: int, t_s: Floats) -> Motion:
        part = self.parts[k]
        motion = part.act.at(t_s - part.begin_s)
        if k == 0:
            return motion
        share = smooth((t_s - part.begin_s) / BLEND_S)
        if (share >= 1).all():
            return motion
        return _blended(self._of_part(k - 1, t_s), motion, share)  # itself not yet done with a transition

    def labels(self, half_width_m: float) -> list[Labelled]:
        """Return the labels of all moments; those of equal neighbours are joined.

        A label changes in the middle of a transition. While the person is further than `half_width_m` to the side, so
        that no part is in the picture, the label is `NOBODY`.
        """
        spans: list[Labelled] = []
        for k, part in enumerate(self.parts):
            begin_s = part.begin_s + (BLEND_S / 2 if k else 0)
            end_s = min(part.end_s + BLEND_S / 2, self.parts[-1].end_s)
            for span in self._seen(part, begin_s, end_s, half_width_m):
                if spans and spans[-1].label == span.label:
                    span = Labelled(span.label, spans.pop().start_us, span.end_us)
                spans.append(span)
        return spans

    def _seen(self, part: Part, begin_s: float, end_s: float, half_width_m: float) -> Iterator[Labelled]:
        """Divide one part at the moments at which the person enters or leaves the picture."""
        t_s = np.arange(round(begin_s * 100), round(end_s * 100)) / 100
        if len(t_s) == 0:
            return
        _, _, place = self.at(t_s)
        outside = np.abs(place[:, 0]) > half_width_m + REACH_M
        changes = [0, *(np.flatnonzero(np.diff(outside)) + 1), len(t_s)]
        for first, end in pairwise(changes):
            if first < end:
                label = NOBODY if outside[first] else part.label
                yield Labelled(label, round(t_s[first] * 1e6), round((t_s[end - 1] + 0.01) * 1e6))


def _blended(before: Motion, after: Motion, share: Floats) -> Motion:
    (right_a, left_a), beat_a, place_a = before
    (right_b, left_b), beat_b, place_b = after
    column = share[:, None]
    return (
        (right_a + column * (right_b - right_a), left_a + column * (left_b - left_a)),
        beat_a + share * (beat_b - beat_a),
        place_a + column * (place_b - place_a),
    )


def draw_visit(person: Person, random: PortableRandom, *, seconds: float, half_width_m: float) -> Visit:
    """Draw a visit that lasts `seconds`; the person makes each gesture before any comes a second time.

    Args:
        person: the one who comes.
        random: of all choices.
        seconds: length; the person comes and goes, and may come again.
        half_width_m: half the width of the picture, in metres at the person's distance.
    """
    parts: list[Part] = []
    todo: list[int] = []
    clock = 0.0

    def add(act: Act, label: str, length_s: float) -> None:
        nonlocal clock
        end_s = min(clock + length_s, seconds)
        if clock < end_s:
            parts.append(Part(act, label, clock, end_s))
            clock = end_s

    away_m = half_width_m + REACH_M + 0.15
    from_m = random.pick((-away_m, away_m))
    while clock < seconds:
        # A person who would have to leave at once does not come.
        length_s = random.uniform(1.2, 3.0) if seconds - clock > 2 * LEAVING_S else seconds - clock
        add(Walk(random, from_m, from_m, 1.0), NOBODY, length_s)
        if clock >= seconds:
            break
        coming = Walk(random, from_m, 0.0, random.uniform(0.6, 1.4))
        add(coming, NO_GESTURE, coming.seconds + 0.1)
        for number in range(3 + random.bits() % 5):
            if seconds - clock < 2 * LEAVING_S:
                break
            if number == 0 or random.uniform(0, 1) < 0.6:
                add(everyday(random.pick(tuple(EVERYDAY)), person, random), NO_GESTURE, random.uniform(1.2, 3.0))
            todo = todo or _shuffled(random)
            gesture = todo.pop()
            add(Gesture(gesture, person, random), GESTURES[gesture], random.uniform(1.5, 4.0))
        add(everyday("stand", person, random), NO_GESTURE, random.uniform(0.3, 1.0))
        from_m = random.pick((-away_m, away_m))  # and next time the person comes from where it went
        going = Walk(random, 0.0, from_m, random.uniform(0.6, 1.4))
        add(going, NO_GESTURE, going.seconds + 0.1)
    return Visit(parts)


def passing(person: Person, random: PortableRandom, *, seconds: float, half_width_m: float) -> Visit:
    """Draw people who walk through the picture, again and again, and sometimes stop on the way."""
    parts: list[Part] = []
    clock, away_m = 0.0, half_width_m + REACH_M + 0.15
    side = random.pick((-1, 1))
    while clock < seconds:
        stop_m = random.uniform(-0.2, 0.2)
        halves = [(side * away_m, stop_m), (stop_m, -side * away_m)]
        for start, end in halves:
            walk = Walk(random, start, end, random.uniform(0.6, 1.6))
            parts.append(Part(walk, NO_GESTURE, clock, clock + walk.seconds))
            clock += walk.seconds
            if end == stop_m and random.uniform(0, 1) < 0.5:
                still_s = random.uniform(0.5, 2.0)
                act = _at(everyday(random.pick(tuple(EVERYDAY)), person, random), stop_m)
                parts.append(Part(act, NO_GESTURE, clock, clock + still_s))
                clock += still_s
        side = -side
    return Visit(parts)


def sitting_and_standing(random: PortableRandom, *, seconds: float) -> Visit:
    """Draw a person who sits down and stands up, again and again, with a rest at each end."""
    parts: list[Part] = []
    clock, down, low_m = 0.0, False, random.uniform(0.25, 0.4)
    while clock < seconds:
        start, end = (low_m, 0.0) if down else (0.0, low_m)
        length_s = random.uniform(1.5, 4.0)
        parts.append(Part(Lower(random, start, end), NO_GESTURE, clock, clock + length_s))
        clock, down = clock + length_s, not down
    return Visit(parts)


def staying(names: Sequence[str], person: Person, random: PortableRandom, *, seconds: float) -> Visit:
    """Draw a person who stays in the picture and does these everyday acts, in random order."""
    parts: list[Part] = []
    clock = 0.0
    while clock < seconds:
        length_s = random.uniform(2.0, 5.0)
        act = everyday(random.pick(names), person, random)
        parts.append(Part(act, NO_GESTURE, clock, clock + length_s))
        clock += length_s
    return Visit(parts)


@dataclass(frozen=True, slots=True)
class _Moved:
    act: Act
    right_m: float

    def at(self, t_s: Floats) -> Motion:
        paths, beat, place = self.act.at(t_s)
        return paths, beat, place + np.array((self.right_m, 0.0, 0.0))


def _at(act: Act, right_m: float) -> Act:
    """Return the act, done to the right of the usual place."""
    return _Moved(act, right_m)


def _shuffled(random: PortableRandom) -> list[int]:
    return sorted(range(len(GESTURES)), key=lambda _: random.bits())
