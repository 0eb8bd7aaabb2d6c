"""A person in a pose, as shapes in the picture for the scene to draw, from the farthest to the nearest.

Every part of the body is a rounded, tapered bar between two points. Arms bend at the elbow by the law of cosines;
parts nearer to the camera are larger.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eventveil.replay.simulation.gestures import CAMERA_M
from eventveil.replay.simulation.person import Person
from eventveil.replay.simulation.portable_random import Floats, sine
from eventveil.replay.simulation.wrist_paths import Paths

PLAIN, ALONG, ACROSS, CHECKED = range(4)
TEXTURES = {"hoops": ALONG, "stripes": ACROSS, "checks": CHECKED}
FOLDS = (CHECKED, 0.07, 0.25)  # of plain cloth: texture, its wavelength in metres, its contrast
CREASES_M = 0.03  # wavelength of the texture of skin: knuckles, veins and shadows
FINGERS = (-0.42, -0.15, 0.1, 0.35)  # spread of each, as a share of its length
ARM_PARTS = 8  # upper arm, forearm, palm, four fingers, thumb


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """The person's place in the picture: `scale` in pixels per metre, and `x` and `y` of the neck in pixels."""

    scale: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class BodyShapes:
    """The shapes of a person in n frames.

    Attributes:
        shapes: (n, parts, 6): x and y of both ends, and the half width at both, pixels.
        looks: (parts, 5): lightness, texture, its wavelength in pixels, its contrast, and strength of round shading.
        order: (n, parts): indices of the parts in drawing order.
    """

    shapes: Floats
    looks: Floats
    order: npt.NDArray[np.int64]


class Body:
    """Turns the wrist paths of one person into shapes."""

    def __init__(self, person: Person, view: Viewpoint) -> None:
        self._person = person
        self._view = view
        self._ends: list[Floats] = []
        self._halves: list[float] = []
        self._looks: list[tuple[float, ...]] = []

    def figure(self, paths: Paths, beat: Floats, t_s: Floats, place: Floats | None = None) -> BodyShapes:
        """Return the shapes at the times `t_s` (n,), with the wrists as near to `paths` as the arms reach.

        Args:
            paths: paths of the wrists and fingers.
            beat: (n,), which the head follows.
            t_s: seconds (n,).
            place: metres (n, 3) by which the whole person has moved; None for the usual place.
        """
        person = self._person
        self._ends, self._halves, self._looks = [], [], []
        lean = person.sway * np.stack(
            (sine(t_s * person.sway_hz), 0.4 * sine(t_s * 0.27), sine(t_s * person.sway_hz * 0.6)), axis=-1
        )
        head = lean * 1.5 + np.stack((0.3 * beat, beat, 0 * beat), axis=-1) * person.nod
        if place is not None:
            lean, head = lean + place, head + place
        self._trunk(lean)
        if person.seated:
            self._legs(lean)
        self._head(head)
        body_parts = len(self._looks)
        for side, wrist in zip((-1, 1), paths, strict=True):
            self._arm(side, wrist[:, :3] + lean, lean, wrist[:, 3:])
        order = np.tile(np.arange(len(self._looks)), (len(t_s), 1))
        # The arm nearer to the camera is drawn last.
        swapped = paths[0][:, 2] > paths[1][:, 2]
        order[swapped, body_parts:] = np.roll(order[swapped, body_parts:], ARM_PARTS, axis=1)
        return BodyShapes(self._project(), np.array(self._looks), order)

    def _bar(self, a: Floats, b: Floats, half_a: float, half_b: float, look: tuple[float, ...]) -> None:
        """Add a bar between two points in metres (n, 3), with half widths in metres."""
        self._ends += (a, b)
        self._halves += (half_a, half_b)
        self._looks.append(look)

    def _project(self) -> Floats:
        """Return the bars in pixels (n, parts, 6)."""
        view = self._view
        ends = np.stack(self._ends, axis=1)
        nearness = view.scale / (1 - ends[..., 2] / CAMERA_M)
        half = nearness * np.array(self._halves)
        x, y = view.x + ends[..., 0] * nearness, view.y + ends[..., 1] * nearness
        first, second = slice(0, None, 2), slice(1, None, 2)
        return np.stack(
            (x[:, first], y[:, first], x[:, second], y[:, second], half[:, first], half[:, second]), axis=-1
        )

    def _cloth(self) -> tuple[float, ...]:
        person = self._person
        if person.pattern not in TEXTURES:
            return self._textured(person.shirt_light, FOLDS)
        return self._textured(person.shirt_light, (TEXTURES[person.pattern], person.period, person.contrast))

    def _textured(self, light: float, texture: tuple[int, float, float]) -> tuple[float, ...]:
        kind, wavelength, contrast = texture
        return (light, kind, wavelength * self._view.scale, contrast, 0.35)

    def _plain(self, light: float, round_: float = 0.35) -> tuple[float, ...]:
        return (light, PLAIN, 1.0, 0.0, round_)

    def _trunk(self, lean: Floats) -> None:
        person, cloth = self._person, self._cloth()
        wide, waist = person.shoulder, person.girth * person.shoulder
        self._bar(_from(lean, 0, 0.17, 0), _from(lean, 0, person.torso, 0), 0.95 * wide, waist, cloth)
        self._bar(_from(lean, -0.85 * wide, 0.07, 0), _from(lean, 0.85 * wide, 0.07, 0), 0.06, 0.06, cloth)
        if person.pattern == "print":
            mark = self._plain(person.shirt_light * (1 - person.contrast), 0.0)
            self._bar(
                _from(lean, -0.05, 0.22, 0.1), _from(lean, 0.05, 0.22, 0.1), person.period / 2, person.period / 2, mark
            )
        skin = self._plain(person.skin_light * 0.8)
        self._bar(
            _from(lean, 0, -0.08, 0), _from(lean, 0, 0.03, 0), 0.3 * person.head_width, 0.34 * person.head_width, skin
        )

    def _legs(self, lean: Floats) -> None:
        """Add the thighs of a seated person, who faces the camera."""
        hips, knees, cloth = self._person.torso, self._person.torso + 0.06, self._plain(self._person.shirt_light * 0.6)
        for side in (-1, 1):
            self._bar(_from(lean, side * 0.1, hips, 0.05), _from(lean, side * 0.15, knees, 0.4), 0.09, 0.065, cloth)

    def _head(self, head: Floats) -> None:
        person = self._person
        half, hair = person.head_width / 2, self._plain(person.hair_light)
        chin = -0.06 - 0.4 * half
        brow = chin - person.head_height + 1.8 * half
        crown = brow - 0.25 * half
        if person.hair == "long":
            self._bar(_from(head, 0, crown, -0.02), _from(head, 0, 0.05, -0.02), 1.12 * half, 1.25 * half, hair)
        if person.hair == "bun":
            self._bar(
                _from(head, 0, crown - 1.2 * half, 0),
                _from(head, 0, crown - 1.3 * half, 0),
                0.4 * half,
                0.4 * half,
                hair,
            )
        if person.hair != "none":
            lift = 0.5 if person.hair == "high" else 0.15
            self._bar(_from(head, 0, crown - lift * half, 0), _from(head, 0, brow, 0), 1.08 * half, 1.08 * half, hair)
        self._bar(
            _from(head, 0, brow + 0.1 * half, 0.05),
            _from(head, 0, chin, 0.05),
            0.94 * half,
            0.7 * half,
            self._plain(person.skin_light),
        )
        self._face(head, brow + 0.3 * half, half)

    def _face(self, head: Floats, eyes: float, half: float) -> None:
        person = self._person
        dark, skin = self._plain(0.06, 0.0), self._plain(person.skin_light, 0.0)
        for side in (-1, 1):
            eye = _from(head, side * 0.4 * half, eyes, 0.08)
            if person.glasses:
                self._bar(eye, eye, 0.34 * half, 0.34 * half, dark)
                self._bar(eye, eye, 0.22 * half, 0.22 * half, skin)
            self._bar(_from(eye, -0.1 * half, 0, 0), _from(eye, 0.1 * half, 0, 0), 0.09 * half, 0.09 * half, dark)
        mouth = _from(head, 0, eyes + 0.85 * half, 0.08)
        self._bar(
            _from(mouth, -0.25 * half, 0, 0),
            _from(mouth, 0.25 * half, 0, 0),
            0.07 * half,
            0.07 * half,
            self._plain(person.skin_light / 2, 0.0),
        )

    def _arm(self, side: int, wrist: Floats, lean: Floats, fingers: Floats) -> None:
        person, limb = self._person, self._person.limb
        shoulder = _from(lean, side * 0.95 * person.shoulder, 0.06, 0.02)
        outwards = np.array([side * (0.3 + person.elbow), 1.0, -0.3])
        if person.natural:
            # The elbow hangs where the hand is on its own side, and points outwards where it is before the chest.
            crossing = 1 - side * (wrist - lean)[:, 0] / person.shoulder
            aside = side * (0.2 + person.elbow * np.clip(crossing, 0, 1))
            outwards = np.stack((aside, np.full(len(aside), 1.0), np.full(len(aside), -0.3)), axis=-1)
        elbow, wrist = bend(shoulder, wrist, person.upper_arm, person.forearm, outwards)
        cloth, skin = self._cloth(), self._textured(person.skin_light, (CHECKED, CREASES_M, person.creases))
        self._bar(shoulder, elbow, 1.5 * limb, 1.2 * limb, cloth)
        self._bar(elbow, wrist, 1.1 * limb, 0.75 * limb, cloth if person.long_sleeves else skin)
        opening = fingers if person.natural else np.ones_like(fingers)
        self._hand(side, wrist, _unit(wrist - elbow), skin, opening)

    def _hand(self, side: int, wrist: Floats, ahead: Floats, skin: tuple[float, ...], fingers: Floats) -> None:
        """Add a hand; `fingers` (n, 1) are 1 stretched out and 0 in a fist."""
        size, limb = self._person.hand, self._person.limb
        across = _unit(ahead[:, [1, 0, 2]] * (-1, 1, 0) + (1e-6, 0, 0))
        palm = wrist + 0.5 * size * ahead
        self._bar(wrist + 0.15 * size * ahead, palm, 0.8 * limb, 1.0 * limb, skin)
        for spread in FINGERS:
            root = palm + 1.8 * spread * limb * across
            tip = root + 0.5 * size * fingers * (ahead + spread * across)
            self._bar(root, tip, 0.011, 0.009, skin)
        thumb = wrist + 0.3 * size * ahead
        self._bar(thumb, thumb + 0.35 * size * fingers * (0.6 * ahead - side * across), 0.013, 0.01, skin)


def _from(point: Floats, x: float, y: float, z: float) -> Floats:
    moved: Floats = point + np.array((x, y, z))
    return moved


def bend(shoulder: Floats, wrist: Floats, upper_arm: float, forearm: float, outwards: Floats) -> tuple[Floats, Floats]:
    """Find the elbow of an arm, and the point that its wrist reaches.

    Args:
        shoulder: metres (n, 3).
        wrist: the target, metres (n, 3); out of reach, the wrist comes as near as the arm allows.
        upper_arm: metres.
        forearm: metres.
        outwards: (3,) or (n, 3), the direction in which the elbow bends.

    Returns:
        elbow and wrist, metres (n, 3).
    """
    away = wrist - shoulder
    # A distance below a centimetre has no useful direction; a joint opens until it is nearly straight.
    distance = np.maximum(_length(away), 0.01)
    reach = np.clip(distance, abs(upper_arm - forearm) + 0.02, 0.995 * (upper_arm + forearm))
    along = away / distance
    foot = (upper_arm * upper_arm - forearm * forearm + reach * reach) / (2 * reach)
    rise = np.sqrt(np.maximum(upper_arm * upper_arm - foot * foot, 0))
    aside = _unit(outwards - _inner(along, outwards) * along)
    return shoulder + foot * along + rise * aside, shoulder + reach * along


def _inner(a: Floats, b: Floats) -> Floats:
    """Inner products (n, 1); written out, because matrix products differ in their last bits between machines."""
    product = a * b
    inner: Floats = product[..., 0:1] + product[..., 1:2] + product[..., 2:3]
    return inner


def _length(a: Floats) -> Floats:
    length: Floats = np.sqrt(_inner(a, a))
    return length


def _unit(a: Floats) -> Floats:
    unit: Floats = a / np.maximum(_length(a), 1e-9)
    return unit
